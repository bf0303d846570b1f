//! Kafka: one broker, six partitions, equal keys in order.

use std::path::{Path, PathBuf};

use integration::kafka::{Broker, Record, Sampler};
use integration::proxy::Proxy;
use integration::{Launch, unique};
use ledger_checker::plan::{self, Ordering, Settling};

use super::{CONCURRENCY, Disk, Event, Process, Promise, Publisher, Source, Unsure};

/// What the connector is to the broker; everybody else is nobody, who may do everything.
const CONNECTOR: &str = "connector";
const LOGIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const PARTITIONS: usize = 6;
const COMMIT_INTERVAL_MS: u64 = 1_000;
const LANE_WINDOW: usize = 200;

pub(crate) struct Kafka {
    process: Process,
    /// The file with the connector's name, which is its password too.
    who: PathBuf,
    clients: Broker,
    proxied: String,
    topic: String,
    calm: String,
    group: String,
    /// The topic of dead letters, if there are any.
    letters: Option<String>,
}

impl Source for Kafka {
    const CONNECTOR: &str = "kafka";
    type Publisher = Producer;

    async fn start(proxy: &Proxy, disk: Disk) -> Self {
        // The connector is told to come through the proxy, everybody else is not.
        let port = proxy.port();
        let process = Process::start(
            "kafka",
            disk,
            &[
                "listeners=BROKER://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@,PROXIED://127.0.0.1:@PORT+2@".to_owned(),
                format!("advertised.listeners=BROKER://127.0.0.1:@PORT@,PROXIED://127.0.0.1:{port}"),
                "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:SASL_PLAINTEXT".to_owned(),
                "listener.name.proxied.sasl.enabled.mechanisms=PLAIN".to_owned(),
                format!("listener.name.proxied.plain.sasl.jaas.config={LOGIN} required user_{CONNECTOR}=\"{CONNECTOR}\";"),
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
                "allow.everyone.if.no.acl.found=true".to_owned(),
                "super.users=User:ANONYMOUS".to_owned(),
            ],
        );
        let who = process.folder().join("connector");
        std::fs::write(&who, CONNECTOR).expect("the folder is ours");
        let clients = Broker::at(process.address());
        proxy.leads_to(&clients.listener(2));
        let topic = clients.topic("soak", i32::try_from(PARTITIONS).expect("few")).await;
        let calm = clients.topic("calm", 1).await;
        Self {
            calm,
            process,
            who,
            clients,
            proxied: proxy.address(),
            topic,
            group: unique("soak"),
            letters: None,
        }
    }

    async fn letterbox(&mut self) -> Option<String> {
        let topic = self.clients.topic("letters", 1).await;
        Some(format!("topic:{}", self.letters.insert(topic)))
    }

    fn promise(&self) -> Promise {
        Promise {
            name: "Kafka",
            broker: plan::Broker::Kafka {
                address: self.process.address().to_owned(),
                topic: self.topic.clone(),
                group: self.group.clone(),
                dead_letters: self.letters.clone(),
            },
            ordering: Ordering::Key,
            settling: Settling::Interval { ms: COMMIT_INTERVAL_MS },
            lane_window: LANE_WINDOW,
        }
    }

    fn topic(&self) -> String {
        self.topic.clone()
    }

    fn settings(&self, launch: Launch) -> Launch {
        launch
            .set("broker_hosts", &self.proxied)
            .set("username_file", self.who.to_string_lossy())
            .set("password_file", self.who.to_string_lossy())
            .set("sasl_mechanism", "PLAIN")
            .set("group", &self.group)
            .set("ordering", "key")
            .set("lane_window", LANE_WINDOW.to_string())
            .set("commit_interval", format!("{COMMIT_INTERVAL_MS}ms"))
            .set("group_instance_id", "the-first")
            .set("session_timeout", "3s")
            .set("max_inflight", (3 * CONCURRENCY).to_string())
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn permit(&mut self, permitted: bool, _link: &Proxy) {
        let principal = format!("User:{CONNECTOR}");
        let verb = if permitted { "--remove" } else { "--add" };
        let mut rule = vec!["acls", verb, "--deny-principal", &principal, "--operation", "All"];
        rule.extend(["--topic", &self.topic, "--group", &self.group, "--force"]);
        self.process.tool(&rule).await;
    }

    fn calm(&self) -> Option<(String, Producer)> {
        let producer =
            Producer { broker: self.clients.clone(), topic: self.calm.clone(), partitions: 1 };
        Some((self.calm.clone(), producer))
    }

    async fn publisher(&self) -> Producer {
        Producer { broker: self.clients.clone(), topic: self.topic.clone(), partitions: PARTITIONS }
    }

    fn watch(&self, folder: &Path) -> Option<Sampler> {
        let topic = (&*self.topic, PARTITIONS);
        Some(Sampler::start(
            folder,
            self.process.address(),
            topic,
            &self.group,
            self.letters.as_deref(),
        ))
    }

    /// The judge asks for what is committed itself.
    async fn left(&self) -> u64 {
        0
    }
}

pub(crate) struct Producer {
    broker: Broker,
    topic: String,
    partitions: usize,
}

impl Publisher for Producer {
    /// The client repeats what has no answer, and the broker stores it once. A broker whose disk is full answers that it
    /// does not know what is wrong, which the client takes for final.
    async fn publish(&mut self, events: Vec<Event>) -> Result<(), Unsure> {
        let record = |event: &Event| {
            let partition = i32::try_from(event.number % self.partitions).expect("few");
            let headers = event.headers().into_iter();
            let record = Record::of(event.payload.clone()).key(event.key.clone());
            headers
                .fold(record, |record, (name, value)| record.header(&name, value))
                .partition(partition)
        };
        let records: Vec<_> = events.iter().map(record).collect();
        let confirmed = self.broker.confirmed(&self.topic, &records).await;
        let mut unsure = events;
        let mut confirmed = confirmed.into_iter();
        unsure.retain(|_| confirmed.next() == Some(false));
        if unsure.is_empty() { Ok(()) } else { Err(Unsure(unsure)) }
    }
}
