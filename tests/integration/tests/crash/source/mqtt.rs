//! MQTT, by Mosquitto: a topic for each key in one session, which is there before the connector is.

use std::sync::atomic::{AtomicUsize, Ordering};

use integration::{Launch, Mosquitto, unique};

use super::Source;
use crate::work::{Event, KEYS};

const FILTER: &str = "crash/+";
const LETTERS: &str = "letters";
const KEEPER: &str = "keeper";

pub(crate) struct Mqtt {
    broker: Mosquitto,
    version: &'static str,
    qos: &'static str,
    id: String,
    published: AtomicUsize,
}

impl Mqtt {
    pub(crate) async fn set(version: &'static str, qos: &'static str) -> Self {
        let (broker, id) = (Mosquitto::start(&[]), unique("crash"));
        if qos != "0" {
            broker.keep(&id, FILTER);
        }
        broker.keep(KEEPER, LETTERS);
        Self { broker, version, qos, id, published: AtomicUsize::new(0) }
    }
}

impl Source for Mqtt {
    const ORDERED: bool = true;

    fn topic(&self) -> String {
        FILTER.to_owned()
    }

    fn connector(&self) -> Launch {
        Launch::new("mqtt")
            .set("broker", format!("tcp://127.0.0.1:{}", self.broker.port()))
            .set("id", &self.id)
            .set("qos", self.qos)
            .set("protocol_version", self.version)
            .set("topics", FILTER)
            .set("dead_letter", format!("topic:{LETTERS}"))
    }

    async fn publish(&self, events: &[Event]) {
        for key in 0..KEYS {
            let events = events.iter().filter(|event| event.key == key);
            let lines: String = events.map(|event| event.text() + "\n").collect();
            self.broker.publish_at(self.qos, &FILTER.replace('+', &key.to_string()), &lines);
        }
        self.published.fetch_add(events.len(), Ordering::Relaxed);
    }

    async fn left(&self) -> usize {
        if self.qos == "0" {
            return 0;
        }
        let acknowledged = self.broker.acknowledged(&self.id);
        self.published.load(Ordering::Relaxed).saturating_sub(acknowledged)
    }

    async fn letters(&self) -> Vec<String> {
        self.broker.kept(KEEPER, LETTERS)
    }
}
