//! JetStream: a stream with one durable consumer; each message is acknowledged on its own.

use async_nats::jetstream::{self, Context, stream};
use bytes::Bytes;
use futures_util::future::try_join_all;
use integration::{Gateway, Launch, script, unique};

use super::{Place, Sender, Source};

/// How many messages are published before their confirmations are waited for.
const BURST: u64 = 500;

pub(crate) struct JetStream {
    name: String,
    address: String,
    context: Context,
}

impl Source for JetStream {
    const NAME: &str = "jetstream";
    const CONNECTOR: &str = "nats";
    const TITLE: &str = "NATS JetStream";
    const WIDTHS: &str = "subjects";
    const WIDTH: usize = 1;
    const EVENTS: u64 = 75_000;
    const MOST: u64 = 1_000_000;
    const LARGEST: usize = 1_000_000;
    const PACE: u64 = 1_000;
    const RECEIVES: &str = "serving";

    type Sender = Publisher;

    async fn start() -> Self {
        let name = unique("bench");
        let address = script("nats", "up", &name, [])["ADDRESS"].clone();
        let client = async_nats::connect(&address).await.expect("the server takes us");
        Self { name, address, context: jetstream::new(client) }
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    async fn place(&self, width: usize, _: &Gateway) -> Place {
        let name = unique("bench");
        let asked = format!("{name}.>");
        let subjects = vec![asked.clone()];
        let config = stream::Config { name: name.clone(), subjects, ..Default::default() };
        self.context.create_stream(config).await.expect("the server creates the stream");
        Place { name, asked, width }
    }

    fn launch(&self, place: &Place) -> Launch {
        Launch::new("nats")
            .set("broker_host", &self.address)
            .set("stream", &place.name)
            .set("topics", &place.asked)
            .set("asynchronous_invocation", "false")
    }

    async fn publish(&self, place: &Place, bytes: usize, count: u64) {
        let payload = Bytes::from("x".repeat(bytes));
        for begin in (0..count).step_by(BURST as usize) {
            let mut confirmed = Vec::new();
            for number in begin..count.min(begin + BURST) {
                let subject = format!("{}.{}", place.name, number % place.width as u64);
                let sent = self.context.publish(subject, payload.clone()).await;
                confirmed.push(sent.expect("the connection stands").into_future());
            }
            try_join_all(confirmed).await.expect("the server stores them");
        }
    }

    async fn sender(&self, place: &Place) -> Publisher {
        Publisher { context: self.context.clone(), subject: format!("{}.0", place.name) }
    }

    fn headers(&self, place: &Place) -> Vec<String> {
        vec![
            format!("X-Topic: {}.0", place.name),
            format!("X-Event-Id: nats:{}@120761", place.name),
            "Content-Type: application/octet-stream".to_owned(),
            "X-Connector: nats-connector".to_owned(),
            "X-Event-Attempt: 1".to_owned(),
            format!("X-Nats-Stream: {}", place.name),
            "X-Nats-Sequence: 120761".to_owned(),
            "X-Nats-Delivered: 1".to_owned(),
            "User-Agent: tributary-nats-connector/0.1.0".to_owned(),
        ]
    }
}

impl Drop for JetStream {
    fn drop(&mut self) {
        script("nats", "wipe", &self.name, []);
    }
}

pub(crate) struct Publisher {
    context: Context,
    subject: String,
}

impl Sender for Publisher {
    async fn send(&mut self, _: u64, payload: String) {
        let sent = self.context.publish(self.subject.clone(), payload.into()).await;
        // Whether it was stored the gateway tells.
        drop(sent.expect("the connection stands"));
    }
}
