//! Kafka: one topic, order by key, 1,000 keys.

use integration::{Broker, Gateway, Launch, Record, unique};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;
use serde_json::json;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{PAYLOAD, Place, RUNNING, Sender, Source};
use crate::figures::{Row, ratio};
use crate::latency::{now, stamp};
use crate::run::Run;

const KEYS: usize = 1_000;
/// What is written with one call, and so in memory at the same time.
const PORTION: u64 = 50_000;

pub(crate) struct Kafka(Broker);

impl Source for Kafka {
    const NAME: &str = "kafka";
    const CONNECTOR: &str = "kafka";
    const TITLE: &str = "Kafka";
    const WIDTHS: &str = "partitions";
    const WIDTH: usize = 6;
    const EVENTS: u64 = 75_000;
    const MOST: u64 = 1_000_000;
    const LARGEST: usize = 1_000_000;
    const PACE: u64 = 1_000;
    const RECEIVES: &str = "partitions assigned";
    const CLIENT: Option<&str> = Some("rdk:");

    type Sender = Producer;

    async fn start() -> Self {
        Self(Broker::private("bench", &["message.max.bytes=2000000"]).await)
    }

    fn address(&self) -> String {
        self.0.address().to_owned()
    }

    async fn place(&self, width: usize, _: &Gateway) -> Place {
        let partitions = i32::try_from(width).expect("few partitions");
        Place::named(self.0.topic("bench", partitions).await, width)
    }

    fn launch(&self, place: &Place) -> Launch {
        Launch::new("kafka")
            .set("broker_hosts", self.0.address())
            .set("group", unique("bench"))
            .set("topics", &place.name)
            .set("ordering", "key")
    }

    async fn publish(&self, place: &Place, bytes: usize, count: u64) {
        // No more bytes at the same time than the producer's queue may hold.
        let portion = PORTION.min(100_000_000 / bytes as u64);
        for begin in (0..count).step_by(portion as usize) {
            let numbers = begin..count.min(begin + portion);
            let records = numbers.map(|number| {
                let key = key(number);
                let partition = i32::try_from(key % place.width).expect("few partitions");
                let record = Record::of(vec![b'x'; bytes]);
                record.key(format!("key-{key}")).partition(partition)
            });
            self.0.produce_all(&place.name, records).await;
        }
    }

    async fn sender(&self, place: &Place) -> Producer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.0.address()).set("acks", "all").set("linger.ms", "0");
        let client = config.create().expect("the producer's settings are right");
        Producer { client, topic: place.name.clone() }
    }

    fn receiver(&self, place: &Place, count: u64) -> Option<JoinHandle<Vec<(u64, u64)>>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.0.address()).set("group.id", unique("bare"));
        let consumer: BaseConsumer = config.create().expect("the consumer's settings are right");
        let mut all = TopicPartitionList::new();
        for partition in 0..place.width {
            let partition = i32::try_from(partition).expect("few partitions");
            all.add_partition_offset(&place.name, partition, Offset::Beginning)
                .expect("it is an offset");
        }
        consumer.assign(&all).expect("the partitions are there");
        Some(spawn_blocking(move || {
            let mut received = Vec::new();
            while (received.len() as u64) < count {
                let Some(Ok(record)) = consumer.poll(Timeout::Never) else { continue };
                received.push((stamp(record.payload().unwrap_or_default()), now()));
            }
            received
        }))
    }

    fn headers(&self, place: &Place) -> Vec<String> {
        vec![
            format!("X-Topic: {}", place.name),
            format!("X-Event-Id: kafka:{}/3@120761", place.name),
            "Content-Type: application/octet-stream".to_owned(),
            "X-Connector: kafka-connector".to_owned(),
            "X-Event-Attempt: 1".to_owned(),
            "X-Kafka-Partition: 3".to_owned(),
            "X-Kafka-Offset: 120761".to_owned(),
            "X-Kafka-Key: key-123".to_owned(),
            "X-Kafka-Timestamp: 1760000000000".to_owned(),
            "User-Agent: tributary-kafka-connector/0.1.0".to_owned(),
        ]
    }

    /// How much faster one partition is when equal keys are in order than when all of it is.
    async fn more(&self) -> Vec<Row> {
        let mut rates = Vec::new();
        for (ordering, events) in [("key", 30_000), ("partition", 1_500)] {
            let gateway = Gateway::start(None).await;
            let place = self.place(1, &gateway).await;
            gateway.deploy("work", &place.asked).await;
            gateway.fault("work", &json!({ "delay_ms": 5 })).await;
            self.publish(&place, PAYLOAD, events).await;
            let launch = self.launch(&place).set("ordering", ordering);
            rates.push(Run::of::<Self>(launch, &gateway, RUNNING, events).await.rate());
            gateway.end().await;
        }
        let [key, partition] = rates[..] else { unreachable!("there are two") };
        vec![
            Row::new(
                "one partition, 5 ms function, 1,000 keys: `ordering=key`, `partition`",
                format!("{key:.0}/s, {partition:.0}/s"),
            ),
            Row::new("ratio of the two", ratio(key / partition)),
        ]
    }
}

/// Records of a key are not neighbours.
fn key(number: u64) -> usize {
    (number as usize).wrapping_mul(7_919) % KEYS
}

/// Sends at once what it is given.
pub(crate) struct Producer {
    client: FutureProducer,
    topic: String,
}

impl Sender for Producer {
    async fn send(&mut self, number: u64, payload: String) {
        let key = format!("key-{}", key(number));
        let record = FutureRecord::to(&self.topic).key(&key).payload(&payload);
        let sent = self.client.send_result(record).map_err(|(error, _)| error);
        // Whether it arrives the gateway tells.
        drop(sent.expect("the client has room for a record"));
    }
}
