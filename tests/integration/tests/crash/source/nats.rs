//! NATS: a stream with a bound consumer, and plain subjects.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context};
use integration::{Connector, Launch, Scripted};

use super::Source;
use crate::work::Event;

const SUBJECTS: &str = "crash.>";
const LETTERS: &str = "letters";
const DURABLE: &str = "crash";

/// Messages that a stream keeps: they come again two seconds after they were delivered.
pub(crate) struct JetStream {
    server: Server,
    stream: Stream,
}

/// Messages that nobody keeps.
pub(crate) struct CoreNats(Server);

/// A server that keeps dead letters.
struct Server {
    server: Scripted,
    context: Context,
    letters: Stream,
}

impl Server {
    async fn start() -> Self {
        let server = Scripted::start("nats", &[]);
        let client = async_nats::connect(&server.address).await.expect("the server takes us");
        let context = jetstream::new(client);
        let letters = create(&context, "LETTERS", LETTERS).await;
        Self { server, context, letters }
    }

    fn connector(&self) -> Launch {
        Launch::new("nats")
            .set("broker_host", &self.server.address)
            .set("topics", SUBJECTS)
            .set("asynchronous_invocation", "false")
            .set("dead_letter", format!("subject:{LETTERS}"))
    }

    async fn letters(&self) -> Vec<String> {
        let state = self.letters.get_info().await.expect("the stream is there").state;
        let mut letters = Vec::new();
        for sequence in 1..=state.last_sequence {
            let letter = self.letters.get_raw_message(sequence).await;
            let letter = letter.expect("nobody deletes letters");
            letters.push(String::from_utf8_lossy(&letter.payload).into_owned());
        }
        letters
    }
}

impl JetStream {
    pub(crate) async fn set() -> Self {
        let server = Server::start().await;
        let stream = create(&server.context, "CRASH", SUBJECTS).await;
        let consumer = pull::Config {
            durable_name: Some(DURABLE.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(2),
            ..Default::default()
        };
        stream.create_consumer(consumer).await.expect("the server creates the consumer");
        Self { server, stream }
    }
}

impl Source for JetStream {
    const ORDERED: bool = false;

    fn topic(&self) -> String {
        SUBJECTS.to_owned()
    }

    fn connector(&self) -> Launch {
        self.server.connector().set("stream", "CRASH").set("durable", DURABLE).set("bind", "true")
    }

    async fn publish(&self, events: &[Event]) {
        for event in events {
            let sent = self.server.context.publish(subject(event), event.text().into()).await;
            sent.expect("the connection stands").await.expect("the server stores it");
        }
    }

    async fn left(&self) -> usize {
        let info = self.stream.consumer_info(DURABLE).await.expect("the consumer is there");
        info.num_ack_pending + usize::try_from(info.num_pending).expect("few")
    }

    async fn letters(&self) -> Vec<String> {
        self.server.letters().await
    }
}

impl CoreNats {
    pub(crate) async fn set() -> Self {
        Self(Server::start().await)
    }
}

impl Source for CoreNats {
    const ORDERED: bool = false;

    fn topic(&self) -> String {
        SUBJECTS.to_owned()
    }

    fn connector(&self) -> Launch {
        self.0.connector()
    }

    /// Ready is a connector that knows its topics and has its connection: what it subscribes to comes after that.
    async fn subscribed(&self, connector: &Connector) {
        connector.line("subscribed").await;
    }

    async fn publish(&self, events: &[Event]) {
        let client = self.0.context.client();
        for event in events {
            let sent = client.publish(subject(event), event.text().into()).await;
            sent.expect("the connection stands");
        }
        client.flush().await.expect("the server has read it");
    }

    async fn left(&self) -> usize {
        0
    }

    async fn letters(&self) -> Vec<String> {
        self.0.letters().await
    }
}

fn subject(event: &Event) -> String {
    SUBJECTS.replace('>', &event.key.to_string())
}

async fn create(context: &Context, name: &str, subject: &str) -> Stream {
    let subjects = vec![subject.to_owned()];
    let config = Config { name: name.to_owned(), subjects, ..Default::default() };
    context.create_stream(config).await.expect("the server creates the stream")
}
