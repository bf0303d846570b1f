//! Kafka: a topic of four partitions, ordered by key.

use dev_gateway::DevGateway;
use integration::{Broker, Launch, Record, unique};

use super::Source;
use crate::work::Event;

pub(crate) struct Kafka {
    broker: Broker,
    topic: String,
    letters: String,
    group: String,
}

impl Kafka {
    pub(crate) async fn set() -> Self {
        let broker = Broker::shared().await;
        let topic = broker.topic("crash", 4).await;
        let letters = broker.topic("crash-letters", 1).await;
        Self { broker, topic, letters, group: unique("crash") }
    }
}

impl Source for Kafka {
    const ORDERED: bool = true;

    fn topic(&self) -> String {
        self.topic.clone()
    }

    fn connector(&self) -> Launch {
        Launch::new("kafka")
            .set("broker_hosts", self.broker.address())
            .set("group", &self.group)
            .set("topics", &self.topic)
            .set("ordering", "key")
            .set("commit_interval", "50ms")
            // A member that comes back is given its partitions at once.
            .set("group_instance_id", "the-only")
            .set("dead_letter", format!("topic:{}", self.letters))
    }

    fn replica(&self, gateway: &DevGateway) -> Launch {
        self.launch(gateway).unset("group_instance_id").set("session_timeout", "6s")
    }

    async fn publish(&self, events: &[Event]) {
        let record = |event: &Event| Record::of(event.text()).key(event.key.to_string());
        self.broker.produce_all(&self.topic, events.iter().map(record)).await;
    }

    async fn left(&self) -> usize {
        let committed = self.broker.committed(&self.group, &self.topic).await;
        let stored = self.broker.read(&self.topic).await;
        let is_left = |partition, offset| {
            committed.get(&partition).is_none_or(|committed| offset >= committed.offset)
        };
        stored.iter().filter(|one| is_left(one.partition, one.offset)).count()
    }

    async fn letters(&self) -> Vec<String> {
        let letters = self.broker.read(&self.letters).await;
        letters.iter().map(|letter| letter.record.text()).collect()
    }
}
