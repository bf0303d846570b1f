//! Three brokers that are one cluster, each of which may be hurt.
//!
//! Every node is controller and broker at once, and a private broker to its script. What they hold
//! is on all three, and stored once two have it: any one may be away.

use futures_util::future::join_all;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::Consumer as _;

use super::clients::ANSWER;
use super::{Broker, script};
use crate::unique;

const NODES: usize = 3;
/// How many partitions the topic of commits has, as `tests/brokers/kafka/server.properties` says.
const COMMIT_PARTITIONS: i32 = 4;
const COMMITS: &str = "__consumer_offsets";

/// A running cluster. It is wiped when it is dropped.
pub struct Cluster {
    nodes: Vec<Broker>,
    all: Broker,
}

impl Cluster {
    /// Starts three brokers; returns when all serve.
    ///
    /// # Panics
    /// When they cannot be started, saying what to run.
    pub async fn start(purpose: &str) -> Self {
        let names: Vec<_> = (0..NODES).map(|_| unique(purpose)).collect();
        // A quorum is of addresses, so each node has to have its ports before any is started.
        let mut ports = Vec::new();
        for name in &names {
            let state = script("claim", Some(name), &[]).await;
            ports.push(state["PORT"].parse::<u16>().expect("a port is a number"));
        }
        let voters: Vec<_> =
            (1..).zip(&ports).map(|(id, port)| format!("{id}@127.0.0.1:{}", port + 1)).collect();
        let shared = [
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("cluster.id={}", &uuid::Uuid::new_v4().simple().to_string()[..22]),
            "default.replication.factor=3".to_owned(),
            "min.insync.replicas=2".to_owned(),
            "offsets.topic.replication.factor=3".to_owned(),
            "transaction.state.log.replication.factor=3".to_owned(),
            "transaction.state.log.min.isr=2".to_owned(),
            // Who does not answer is gone after this, and has caught up before it leads again.
            "replica.lag.time.max.ms=5000".to_owned(),
        ];
        let start = |(id, name): (usize, String)| {
            let mut settings = vec![format!("node.id={id}")];
            settings.extend_from_slice(&shared);
            async move {
                let settings: Vec<_> = settings.iter().map(String::as_str).collect();
                Broker::up(Some(name), &settings).await
            }
        };
        // Together: the first does not serve before there is a second.
        let nodes = join_all((1..).zip(names).map(start)).await;
        let address = nodes.iter().map(Broker::address).collect::<Vec<_>>().join(",");
        Self { nodes, all: Broker::at(&address) }
    }

    /// The whole of it, to be asked and written to. It cannot be hurt: its [`nodes`](Self::nodes)
    /// can.
    #[must_use]
    pub fn all(&self) -> &Broker {
        &self.all
    }

    /// The brokers.
    #[must_use]
    pub fn nodes(&self) -> &[Broker] {
        &self.nodes
    }

    /// The node that leads a partition; `None` while none does.
    pub async fn leader(&self, topic: &str, partition: i32) -> Option<&Broker> {
        let topic = topic.to_owned();
        let leader = self.all.ask(Default::default(), move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let partitions = metadata.topics().iter().flat_map(|found| found.partitions());
            Ok(partitions
                .filter(|found| found.id() == partition)
                .map(|found| found.leader())
                .next())
        });
        // Node ids count from 1.
        let index = usize::try_from(leader.await?).ok()?.checked_sub(1)?;
        self.nodes.get(index)
    }

    /// Creates a topic with one partition on each node, in their order, and no copy of any; gives
    /// its name.
    ///
    /// # Panics
    /// When the cluster refuses.
    pub async fn topic_without_copies(&self, purpose: &str) -> String {
        let name = unique(purpose);
        let nodes = TopicReplication::Variable(&[&[1], &[2], &[3]]);
        let partitions = i32::try_from(NODES).expect("few");
        let topic = NewTopic::new(&name, partitions, nodes).set("min.insync.replicas", "1");
        self.all.create(topic).await;
        name
    }

    /// The node that coordinates a group; `None` while none does.
    pub async fn coordinator(&self, group: &str) -> Option<&Broker> {
        // As Kafka finds it: Java's hash of the name, without its sign.
        let hash = group
            .encode_utf16()
            .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        self.leader(COMMITS, (hash & i32::MAX) % COMMIT_PARTITIONS).await
    }

    /// Waits until every partition of these topics, and of the commits, is on all three nodes
    /// again.
    ///
    /// # Panics
    /// When that does not come about.
    pub async fn whole(&self, topics: &[&str]) {
        for topic in topics.iter().copied().chain([COMMITS]) {
            let short = async || self.short_partitions(topic).await;
            crate::until(&format!("{topic} to be on all nodes"), short, |short| *short == 0).await;
        }
    }

    /// How many partitions of a topic are not on all nodes.
    async fn short_partitions(&self, topic: &str) -> usize {
        let topic = topic.to_owned();
        let short = self.all.ask(Default::default(), move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let partitions = metadata.topics().iter().flat_map(|found| found.partitions());
            Ok(partitions.filter(|found| found.isr().len() < NODES).count())
        });
        short.await
    }
}
