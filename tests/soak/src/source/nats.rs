//! NATS: a pull consumer of a JetStream stream, and core NATS, which keeps nothing.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{self, Stream};
use async_nats::jetstream::{self, Context};
use integration::faults::Kind;
use integration::proxy::Proxy;
use integration::{Launch, until};
use ledger_checker::plan::{Broker, Message, Ordering, Settling};
use tokio::time::sleep;

use super::{
    CONCURRENCY, Disk, Drops, Event, LEASE_SECONDS, Process, Promise, Publisher, Source, Unsure,
    single,
};
use crate::feed::Rate;
use crate::overload::CALM;

const STREAM: &str = "S";
const SUBJECTS: &str = "s.>";
const CONSUMER: &str = "d";
/// The stream of dead letters, and their subject.
const LETTERS: (&str, &str) = ("L", "letters");
/// Where a letter has the subject that its message came on.
const LETTER_SUBJECT: &str = "X-Dead-Letter-Subject";
/// How long until a message is sent again that the server has not confirmed.
const AGAIN: Duration = Duration::from_millis(50);

/// The connector as a JetStream consumer.
pub(crate) struct JetStream {
    process: Process,
    proxied: String,
    feed_of_calm: Feed,
}

async fn connect(process: &Process) -> Client {
    let options = async_nats::ConnectOptions::with_user_and_password("feed".into(), "feed".into());
    let options = options.retry_on_initial_connect();
    options.connect(process.address()).await.expect("it goes on trying")
}

/// What the connector may do, in the server's words: everything, and nothing. Subscribing, answers among others, is nothing
/// without asking.
const EVERYTHING: &str = "publish: { allow: \">\" }";
const NOTHING: &str = "publish: { deny: \">\" }";

/// A server that keeps what it has confirmed. Whoever does not say who it is is the connector.
fn server(proxy: &Proxy, disk: Disk) -> (Process, String) {
    let connector = format!("{{ user: connector, password: p, permissions: {{ {EVERYTHING} }} }}");
    let settings = [
        format!("authorization={{ users: [ {{ user: feed, password: feed }}, {connector} ] }}"),
        "no_auth_user=connector".to_owned(),
    ];
    let process = Process::start("nats", disk, &settings);
    proxy.leads_to(process.address());
    (process, proxy.address())
}

/// Lets the connector do everything, or nothing but subscribe: neither ask for messages nor acknowledge them.
fn permit(process: &Process, permitted: bool) {
    let (is, becomes) = if permitted { (NOTHING, EVERYTHING) } else { (EVERYTHING, NOTHING) };
    process.reconfigure("server.conf", |text| text.replace(is, becomes));
}

impl Source for JetStream {
    const CONNECTOR: &str = "nats";
    type Publisher = Feed;

    async fn start(proxy: &Proxy, disk: Disk) -> Self {
        let (process, proxied) = server(proxy, disk);
        let context = jetstream::new(connect(&process).await);
        let stream = create(&context, STREAM, SUBJECTS).await;
        let config = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            ack_wait: Duration::from_secs(LEASE_SECONDS),
            max_deliver: -1,
            ..Default::default()
        };
        stream.create_consumer(config).await.expect("the server creates the consumer");
        create(&context, CALM, &format!("{CALM}.>")).await;
        let feed_of_calm = Feed { context: context.clone(), root: CALM };
        Self { process, proxied, feed_of_calm }
    }

    async fn letterbox(&mut self) -> Option<String> {
        let (stream, subject) = LETTERS;
        create(&jetstream::new(connect(&self.process).await), stream, subject).await;
        Some(format!("subject:{subject}"))
    }

    fn promise(&self) -> Promise {
        Promise {
            name: "JetStream",
            broker: Broker::JetStream,
            ordering: Ordering::None,
            settling: single(),
            lane_window: 2 * CONCURRENCY,
        }
    }

    fn topic(&self) -> String {
        SUBJECTS.to_owned()
    }

    fn settings(&self, launch: Launch) -> Launch {
        launch
            .set("broker_host", &self.proxied)
            // Streams are looked up, so that there may be another.
            .set("durable", CONSUMER)
            .set("asynchronous_invocation", "false")
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn permit(&mut self, permitted: bool, _link: &Proxy) {
        permit(&self.process, permitted);
    }

    /// In a stream of its own, which has a consumer of its own.
    fn calm(&self) -> Option<(String, Feed)> {
        Some((format!("{CALM}.>"), self.feed_of_calm.clone()))
    }

    async fn publisher(&self) -> Feed {
        Feed { context: jetstream::new(connect(&self.process).await), root: "s" }
    }

    async fn unsettled(&self) -> Option<u64> {
        let context = jetstream::new(connect(&self.process).await);
        let stream = context.get_stream(STREAM).await.ok()?;
        let info = stream.consumer_info(CONSUMER).await.ok()?;
        Some(info.num_pending + info.num_ack_pending as u64)
    }

    async fn left(&self) -> u64 {
        until("the consumer", || self.unsettled(), Option::is_some).await.unwrap_or(u64::MAX)
    }

    async fn letters(&self) -> Vec<Message> {
        let context = jetstream::new(connect(&self.process).await);
        let stream = context.get_stream(LETTERS.0).await.expect("the server keeps its streams");
        let mut letters = Vec::new();
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let letter = stream.get_raw_message(sequence).await.expect("nobody deletes letters");
            letters.push(letter_of(&letter));
        }
        letters
    }
}

async fn create(context: &Context, name: &str, subject: &str) -> Stream {
    let subjects = vec![subject.to_owned()];
    let config = stream::Config { name: name.to_owned(), subjects, ..Default::default() };
    context.create_stream(config).await.expect("the server creates the stream")
}

/// A letter with the key that its message's subject ended with, and all headers but those for the server.
fn letter_of(letter: &StreamMessage) -> Message {
    let headers = letter.headers.iter().flat_map(|(name, values)| {
        values.iter().map(move |value| (name.to_string(), value.to_string()))
    });
    let headers: Vec<_> = headers.filter(|(name, _)| !name.starts_with("Nats-")).collect();
    let subject = headers.iter().find(|(name, _)| name == LETTER_SUBJECT);
    let key = subject.and_then(|(_, subject)| subject.split_once('.'));
    Message::of(key.map_or("", |(_, key)| key), &letter.payload, headers.clone())
}

/// Who sends to a stream.
#[derive(Clone)]
pub(crate) struct Feed {
    context: Context,
    /// What its subjects begin with.
    root: &'static str,
}

impl Publisher for Feed {
    /// By its id the server stores a message once, however often it is sent.
    async fn publish(&mut self, events: Vec<Event>) -> Result<(), Unsure> {
        for event in events {
            loop {
                let message = PublishMessage::build()
                    .payload(event.payload.clone().into())
                    .message_id(event.number.to_string());
                let headers = event.headers().into_iter();
                let message =
                    headers.fold(message, |message, (name, value)| message.header(name, value));
                let subject = format!("{}.{}", self.root, event.key);
                let sent = self.context.send_publish(subject, message).await;
                if let Ok(sent) = sent
                    && sent.await.is_ok()
                {
                    break;
                }
                sleep(AGAIN).await;
            }
        }
        Ok(())
    }
}

/// The connector as a subscriber of core NATS.
pub(crate) struct CoreNats {
    process: Process,
    proxied: String,
}

impl Source for CoreNats {
    const CONNECTOR: &str = "nats";
    type Publisher = Client;

    const DROPS: Option<Drops> =
        Some(Drops { metric: "tributary_nats_lost_total", reasons: &["full", "stopped"] });

    async fn start(proxy: &Proxy, _disk: Disk) -> Self {
        let (process, proxied) = server(proxy, Disk::Shared);
        Self { process, proxied }
    }

    fn promise(&self) -> Promise {
        Promise {
            name: "core NATS",
            broker: Broker::CoreNats,
            ordering: Ordering::None,
            settling: Settling::Never,
            // What is on its way when a connection ends, and what waits in the connector.
            lane_window: 1_000 + 2 * CONCURRENCY,
        }
    }

    fn topic(&self) -> String {
        SUBJECTS.to_owned()
    }

    fn settings(&self, launch: Launch) -> Launch {
        launch.set("broker_host", &self.proxied).set("asynchronous_invocation", "false")
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A subscriber needs no right but to subscribe, which is asked for once. Nothing is written to a disk.
    fn unfit(&self) -> &[Kind] {
        &[Kind::RevokeRights, Kind::FillDisk]
    }

    async fn permit(&mut self, _permitted: bool, _link: &Proxy) {}

    /// So few that what is called late fits into the connector, which drops what does not. How far ahead they are tells
    /// nothing: what is lost is never called.
    fn rate(&self) -> Rate {
        Rate::EachSecond(200)
    }

    async fn publisher(&self) -> Client {
        connect(&self.process).await
    }

    async fn left(&self) -> u64 {
        0
    }
}

impl Publisher for Client {
    async fn publish(&mut self, events: Vec<Event>) -> Result<(), Unsure> {
        for event in events {
            let subject = format!("s.{}", event.key);
            // What is lost here was published during a fault.
            drop(Self::publish(self, subject, event.payload.into()).await);
        }
        drop(self.flush().await);
        Ok(())
    }
}
