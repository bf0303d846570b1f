//! The list of cases that every source passes.

use integration::conformance::{Capabilities, Message, Setup, Stage, StoredLetter};
use integration::{Broker, Launch, Record, unique};

use super::scene::short_intervals;

struct Kafka {
    broker: Broker,
    topic: String,
    letters: String,
    group: String,
}

integration::conformance!(Kafka);

impl Stage for Kafka {
    const CAPABILITIES: Capabilities = Capabilities {
        redelivers: true,
        dead_letters: true,
        holds: true,
        follows_annotations: true,
        shares: true,
        restarts: true,
        largest_payload: 1_000_000,
    };

    async fn set(setup: Setup) -> Self {
        let broker = match setup.private {
            true => Broker::private("conforms", &[]).await,
            false => Broker::shared().await,
        };
        let partitions = i32::try_from(setup.lanes).expect("a topic has few partitions");
        let topic = broker.topic("conforms", partitions).await;
        let stage =
            Self { broker, letters: format!("{topic}-letters"), topic, group: unique("group") };
        if !setup.refuses_letters {
            stage.accept_letters().await;
        }
        stage
    }

    fn topic(&self) -> &str {
        &self.topic
    }

    fn launch(&self) -> Launch {
        short_intervals(&self.broker, &self.group)
            .set("topics", &self.topic)
            .set("ordering", "key")
            .set("dead_letter", format!("topic:{}", self.letters))
    }

    async fn publish(&self, messages: &[Message]) {
        self.broker.produce_all(&self.topic, messages.iter().map(record)).await;
    }

    async fn publish_elsewhere(&self, messages: &[Message]) -> String {
        let topic = self.broker.topic("elsewhere", 1).await;
        self.broker.produce_all(&topic, messages.iter().map(record)).await;
        topic
    }

    async fn unsettled(&self) -> usize {
        let committed = self.broker.committed(&self.group, &self.topic).await;
        let settled =
            |partition, offset| committed.get(&partition).is_some_and(|c| offset < c.offset);
        let stored = self.broker.read(&self.topic).await;
        stored.iter().filter(|one| !settled(one.partition, one.offset)).count()
    }

    async fn letters(&self) -> Vec<StoredLetter> {
        let stored = self.broker.read(&self.letters).await;
        let letters = stored.into_iter().map(|one| {
            let reason = one.record.header_value("X-Dead-Letter-Reason").unwrap_or_default();
            StoredLetter {
                reason: String::from_utf8_lossy(reason).into_owned(),
                message: Message {
                    key: one.record.key.unwrap_or_default(),
                    payload: one.record.payload.unwrap_or_default(),
                },
            }
        });
        letters.collect()
    }

    async fn accept_letters(&self) {
        self.broker.create_topic(&self.letters, 1, &[]).await;
    }

    async fn restart_broker(&self) {
        self.broker.kill();
        self.broker.restart().await;
    }
}

fn record(message: &Message) -> Record {
    Record::of(message.payload.clone()).key(message.key.clone())
}
