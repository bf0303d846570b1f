//! SQS, by ElasticMQ: a queue, standard or FIFO, whose messages come again two seconds after they were received.

use integration::Launch;
use integration::sqs::{self, Message, Queue};

use super::Source;
use crate::work::Event;

/// `FIFO`: keys are groups.
pub(crate) struct Sqs<const FIFO: bool> {
    endpoint: String,
    queue: Queue,
    letters: Queue,
}

impl<const FIFO: bool> Sqs<FIFO> {
    pub(crate) async fn set() -> Self {
        let endpoint = sqs::shared();
        let attributes: &[_] = if FIFO { &[sqs::FIFO] } else { &[] };
        let queue = Queue::create(&endpoint, "crash", attributes).await;
        let letters = Queue::create(&endpoint, "crash-letters", attributes).await;
        Self { endpoint, queue, letters }
    }
}

impl<const FIFO: bool> Source for Sqs<FIFO> {
    const ORDERED: bool = FIFO;

    fn topic(&self) -> String {
        self.queue.name.clone()
    }

    fn connector(&self) -> Launch {
        Launch::new("sqs")
            .set("endpoint_url", &self.endpoint)
            .set("queue_url", &self.queue.name)
            .set("AWS_ACCESS_KEY_ID", "key")
            .set("AWS_SECRET_ACCESS_KEY", "secret")
            .set("AWS_REGION", "eu-west-1")
            .set("AWS_EC2_METADATA_DISABLED", "true")
            .set("visibility_timeout", "2s")
            .set("wait_time", "1s")
            .set("dead_letter", format!("queue:{}", self.letters.name))
    }

    async fn publish(&self, events: &[Event]) {
        let message = |event: &Event| Message {
            body: event.text(),
            group: FIFO.then(|| event.key.to_string()),
        };
        self.queue.send_all(&events.iter().map(message).collect::<Vec<_>>()).await;
    }

    async fn left(&self) -> usize {
        self.queue.count().await
    }

    async fn letters(&self) -> Vec<String> {
        self.letters.drain().await
    }
}
