//! Kafka: one broker, six partitions, equal keys in order.

use std::path::Path;

use integration::kafka::{Broker, Record, Sampler};
use integration::{Launch, unique};
use ledger_checker::plan::{self, Ordering, Settling};

use super::{CONCURRENCY, Event, Process, Promise, Publisher, Source, Unsure};
use crate::proxy::Proxy;

const PARTITIONS: usize = 6;
const COMMIT_INTERVAL_MS: u64 = 1_000;
const LANE_WINDOW: usize = 200;

pub(crate) struct Kafka {
    process: Process,
    clients: Broker,
    proxied: String,
    topic: String,
    group: String,
}

impl Source for Kafka {
    const CONNECTOR: &str = "kafka";
    type Publisher = Producer;

    async fn start(proxy: &Proxy) -> Self {
        // The connector is told to come through the proxy, everybody else is not.
        let port = proxy.port();
        let process = Process::start(
            "kafka",
            &[
                "listeners=BROKER://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@,PROXIED://127.0.0.1:@PORT+2@".to_owned(),
                format!("advertised.listeners=BROKER://127.0.0.1:@PORT@,PROXIED://127.0.0.1:{port}"),
                "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT".to_owned(),
            ],
        );
        let clients = Broker::at(process.address());
        proxy.leads_to(&clients.listener(2));
        let topic = clients.topic("soak", i32::try_from(PARTITIONS).expect("few")).await;
        Self { process, clients, proxied: proxy.address(), topic, group: unique("soak") }
    }

    fn promise(&self) -> Promise {
        Promise {
            name: "Kafka",
            broker: plan::Broker::Kafka {
                address: self.process.address().to_owned(),
                topic: self.topic.clone(),
                group: self.group.clone(),
                dead_letters: None,
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
            .set("group", &self.group)
            .set("ordering", "key")
            .set("lane_window", LANE_WINDOW.to_string())
            .set("commit_interval", format!("{COMMIT_INTERVAL_MS}ms"))
            .set("group_instance_id", "the-first")
            .set("session_timeout", "3s")
            .set("max_inflight", (2 * CONCURRENCY).to_string())
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn publisher(&self) -> Producer {
        Producer { broker: self.clients.clone(), topic: self.topic.clone() }
    }

    fn watch(&self, folder: &Path) -> Option<Sampler> {
        let topic = (&*self.topic, PARTITIONS);
        Some(Sampler::start(folder, self.process.address(), topic, &self.group, None))
    }

    /// The judge asks for what is committed itself.
    async fn left(&self) -> u64 {
        0
    }
}

pub(crate) struct Producer {
    broker: Broker,
    topic: String,
}

impl Publisher for Producer {
    /// The client repeats what is not confirmed, and the broker stores it once.
    async fn publish(&mut self, events: Vec<Event>) -> Result<(), Unsure> {
        let records = events.into_iter().map(|event| {
            let partition = i32::try_from(event.number % PARTITIONS).expect("few");
            Record::of(event.payload).key(event.key).partition(partition)
        });
        self.broker.produce_all(&self.topic, records).await;
        Ok(())
    }
}
