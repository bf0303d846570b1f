//! What a test asks of a broker beside records: topics, and what groups have committed.
//!
//! librdkafka's answers to such questions block, so they are asked on a thread for that.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::Broker;
use crate::unique;

/// How long the broker may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(20);

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The commit's metadata.
    pub metadata: String,
}

/// The clients of one broker, made when first asked for.
pub(super) struct Clients {
    pub(super) config: ClientConfig,
    producer: std::sync::OnceLock<FutureProducer>,
    admin: std::sync::OnceLock<AdminClient<DefaultClientContext>>,
}

impl Clients {
    pub(super) fn new(address: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address);
        // After a restart the broker is to be found again at once.
        config.set("reconnect.backoff.max.ms", "500");
        Self { config, producer: Default::default(), admin: Default::default() }
    }

    pub(super) fn producer(&self) -> &FutureProducer {
        self.producer.get_or_init(|| {
            let mut config = self.config.clone();
            config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "1");
            config.set("message.max.bytes", "2000000");
            config.create().expect("the producer's settings are right")
        })
    }

    fn admin(&self) -> &AdminClient<DefaultClientContext> {
        self.admin.get_or_init(|| self.config.create().expect("the admin's settings are right"))
    }
}

impl Broker {
    /// Creates a topic under a name of its own and gives the name.
    pub async fn topic(&self, purpose: &str, partitions: i32) -> String {
        let name = unique(purpose);
        self.create_topic(&name, partitions, &[]).await;
        name
    }

    /// Creates a topic, with settings such as `("cleanup.policy", "compact")`.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        // As many copies as the broker makes by default.
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        self.create(topic).await;
    }

    /// Creates a topic as it is described.
    pub(super) async fn create(&self, topic: NewTopic<'_>) {
        let (name, partitions) = (topic.name, topic.num_partitions);
        let created = self.clients().admin().create_topics([&topic], &admin_options()).await;
        for one in created.expect("the broker answers") {
            one.unwrap_or_else(|error| panic!("topic {} is not created: {}", error.0, error.1));
        }
        // The answer comes before every part of the broker knows of it.
        let known = name.to_owned();
        crate::until(
            "the topic to be known",
            async || self.partitions(&known).await,
            |found| i32::try_from(*found) == Ok(partitions),
        )
        .await;
    }

    /// Adds partitions to a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn grow_topic(&self, name: &str, partitions: usize) {
        let more = NewPartitions::new(name, partitions);
        let grown = self.clients().admin().create_partitions([&more], &admin_options()).await;
        for one in grown.expect("the broker answers") {
            one.unwrap_or_else(|error| panic!("topic {} does not grow: {}", error.0, error.1));
        }
        crate::until(
            "the topic to grow",
            async || self.partitions(name).await,
            |found| *found == partitions,
        )
        .await;
        // The producer would find out by itself, within minutes.
        let (producer, name) = (self.clients().producer().clone(), name.to_owned());
        let refresh = move || producer.client().fetch_metadata(Some(&name), ANSWER).map(drop);
        let refreshed = tokio::task::spawn_blocking(refresh).await;
        refreshed.expect("the thread does not panic").expect("the broker answers");
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn delete_topic(&self, name: &str) {
        let deleted = self.clients().admin().delete_topics(&[name], &admin_options()).await;
        for one in deleted.expect("the broker answers") {
            one.unwrap_or_else(|error| panic!("topic {} is not deleted: {}", error.0, error.1));
        }
    }

    /// Deletes the records of a partition before an offset, as retention does.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        let set = offsets.add_partition_offset(topic, partition, Offset::Offset(offset));
        set.expect("it is an offset");
        let deleted = self.clients().admin().delete_records(&offsets, &admin_options()).await;
        for one in deleted.expect("the broker answers").elements() {
            one.error().expect("the broker deletes the records");
        }
    }

    /// How many partitions a topic has; 0 when it does not exist.
    pub async fn partitions(&self, topic: &str) -> usize {
        let topic = topic.to_owned();
        self.ask(ClientConfig::new(), move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            Ok(found.filter(|t| t.error().is_none()).map_or(0, |t| t.partitions().len()))
        })
        .await
    }

    /// What `group` has committed, by partition; partitions without a commit are left out.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, Committed> {
        let topic = topic.to_owned();
        let mut config = ClientConfig::new();
        config.set("group.id", group);
        self.ask(config, move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
            let mut asked = TopicPartitionList::new();
            for number in 0..partitions {
                asked.add_partition(&topic, i32::try_from(number).expect("few partitions"));
            }
            let told = consumer.committed_offsets(asked, ANSWER)?;
            let each = told.elements().into_iter().filter_map(|one| match one.offset() {
                Offset::Offset(offset) => {
                    let metadata = one.metadata().to_owned();
                    Some((one.partition(), Committed { offset, metadata }))
                }
                _ => None,
            });
            Ok(each.collect())
        })
        .await
    }

    /// Commits for a group without members, whatever the log has.
    ///
    /// # Panics
    /// When the broker refuses: the group has members.
    pub async fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let mut config = ClientConfig::new();
        config.set("group.id", group);
        let mut offsets = TopicPartitionList::new();
        let set = offsets.add_partition_offset(topic, partition, Offset::Offset(offset));
        set.expect("it is an offset");
        self.ask(config, move |consumer| consumer.commit(&offsets, CommitMode::Sync)).await;
    }

    /// Waits until the group has committed exactly `offset` for a partition.
    ///
    /// # Panics
    /// When it does not, or commits beyond it.
    pub async fn wait_for_commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let look = async || self.committed(group, topic).await.remove(&partition);
        let what = format!("{group} to commit {offset} of {topic}/{partition}");
        crate::until(&what, look, |now| {
            let now = now.as_ref().map(|committed| committed.offset);
            assert!(now <= Some(offset), "{group} has committed {now:?} of {topic}, past {offset}");
            now == Some(offset)
        })
        .await;
    }

    /// Asks on a thread that may block, with a consumer of its own.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        more: ClientConfig,
        ask: impl FnOnce(&BaseConsumer) -> Result<T, KafkaError> + Send + 'static,
    ) -> T {
        let mut config = self.clients().config.clone();
        // A group of no account: asking joins none.
        config.set("group.id", "the-tests").set("enable.auto.commit", "false");
        for (key, value) in more.config_map() {
            config.set(key, value);
        }
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer =
                config.create().expect("the consumer's settings are right");
            ask(&consumer)
        });
        asked.await.expect("the thread does not panic").expect("the broker answers")
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER))
}
