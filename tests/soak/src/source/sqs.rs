//! SQS, by ElasticMQ: a standard queue, or a FIFO queue whose groups are the keys.
//!
//! The server is frozen and never restarted, which a full disk would take too: when it comes back it has sometimes lost what it had confirmed, and always the
//! order of groups.

use std::time::Duration;

use integration::Launch;
use integration::faults::Kind;
use integration::proxy::{Proxy, Weather};
use ledger_checker::plan::{Broker, Message, Ordering};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{
    Bare, CONCURRENCY, Disk, Event, LEASE_SECONDS, Process, Promise, Publisher, Source, Tally,
    Unsure, single,
};
use crate::overload::{CALM, Flood};

/// How many messages SQS takes and gives at a time.
const TOGETHER: usize = 10;
/// How long a receive waits at an idle queue, in seconds.
const WAIT_SECONDS: u64 = 2;
/// The queue of the client without a connector.
const BARE: &str = "bare";
/// How many receives that client has at most: as many as the connector has for one queue, whose window is twice what is
/// called of a function.
const RECEIVES: usize = (2 * CONCURRENCY).div_ceil(TOGETHER);
/// How long until it asks again when it has had no answer.
const AGAIN: Duration = Duration::from_millis(50);
/// The attribute that is the key of a message where there are no groups.
const KEY: &str = "Key";
/// The attribute that says all of what a letter is, a line each, where there is no room for more of them.
const ALL_NOTES: &str = "X-Dead-Letter";

pub(crate) struct Sqs<const FIFO: bool> {
    process: Process,
    proxied: String,
    queue: Queue,
}

impl<const FIFO: bool> Sqs<FIFO> {
    const NAME: &str = if FIFO { "soak.fifo" } else { "soak" };
    const LETTERS: &str = if FIFO { "letters.fifo" } else { "letters" };
}

impl<const FIFO: bool> Source for Sqs<FIFO> {
    const CONNECTOR: &str = "sqs";
    type Publisher = Queue;

    async fn start(proxy: &Proxy, _disk: Disk) -> Self {
        let process = Process::start("elasticmq", Disk::Shared, &[]);
        proxy.leads_to(process.address());
        drop(rustls::crypto::ring::default_provider().install_default());
        let queue = Queue::create(&process, Self::NAME).await;
        Queue::create(&process, CALM).await;
        let proxied = format!("http://{}", proxy.address());
        Self { process, proxied, queue }
    }

    async fn letterbox(&mut self) -> Option<String> {
        Queue::create(&self.process, Self::LETTERS).await;
        Some(format!("queue:{}", Self::LETTERS))
    }

    fn promise(&self) -> Promise {
        Promise {
            name: if FIFO { "SQS FIFO" } else { "SQS" },
            broker: Broker::Sqs,
            ordering: if FIFO { Ordering::Settled } else { Ordering::None },
            settling: single(),
            lane_window: 2 * CONCURRENCY,
        }
    }

    fn topic(&self) -> String {
        Self::NAME.to_owned()
    }

    fn settings(&self, launch: Launch) -> Launch {
        launch
            .set("endpoint_url", &self.proxied)
            .set("AWS_ACCESS_KEY_ID", "key")
            .set("AWS_SECRET_ACCESS_KEY", "secret")
            .set("AWS_REGION", "eu-west-1")
            .set("AWS_EC2_METADATA_DISABLED", "true")
            .set("wait_time", format!("{WAIT_SECONDS}s"))
            .set("visibility_timeout", format!("{LEASE_SECONDS}s"))
            // Where there is a third function, it has a share of its own.
            .set("max_inflight", (3 * CONCURRENCY).to_string())
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The server lets everybody do everything, so the link says no in its stead.
    async fn permit(&mut self, permitted: bool, link: &Proxy) {
        link.set(if permitted { Weather::Fair } else { Weather::Refusing });
    }

    fn unfit(&self) -> &[Kind] {
        &[Kind::RestartBroker, Kind::FillDisk]
    }

    /// With 10,000 messages waiting the server takes and gives a few in a second.
    fn flood(&self) -> Flood {
        Flood::SLOW
    }

    fn calm(&self) -> Option<(String, Queue)> {
        Some((CALM.to_owned(), self.queue.beside(CALM)))
    }

    async fn bare(&self) -> Option<(Queue, Bare)> {
        let queue = Queue::create(&self.process, BARE).await;
        let received = Tally::default();
        let receiving = tokio::spawn(queue.clone().drain(received.clone()));
        Some((queue, Bare { receiving, received }))
    }

    async fn publisher(&self) -> Queue {
        self.queue.clone()
    }

    async fn unsettled(&self) -> Option<u64> {
        self.queue.left().await
    }

    async fn left(&self) -> u64 {
        self.unsettled().await.unwrap_or(u64::MAX)
    }

    async fn letters(&self) -> Vec<Message> {
        let queue = self.queue.beside(Self::LETTERS);
        let mut letters = Vec::new();
        while queue.left().await != Some(0) {
            // At once, for what is lent keeps back the rest of its group.
            let taken = queue.take(0).await.expect("nothing is broken any more");
            letters.extend(taken.iter().map(letter_of));
        }
        letters
    }
}

/// A queue, as whoever sends sees it.
#[derive(Clone)]
pub(crate) struct Queue {
    client: reqwest::Client,
    server: String,
    name: &'static str,
}

impl Publisher for Queue {
    async fn publish(&mut self, mut events: Vec<Event>) -> Result<(), Unsure> {
        while !events.is_empty() {
            let batch = &events[..events.len().min(TOGETHER)];
            let entries: Vec<_> = batch.iter().map(|event| self.entry(event)).collect();
            if self.ask("SendMessageBatch", json!({ "Entries": entries })).await.is_none() {
                return Err(Unsure(events));
            }
            events.drain(..events.len().min(TOGETHER));
        }
        Ok(())
    }
}

impl Queue {
    /// Has the server make one.
    async fn create(process: &Process, name: &'static str) -> Self {
        let (client, server) = (reqwest::Client::new(), format!("http://{}", process.address()));
        let queue = Self { client, server, name };
        let attributes = if queue.is_fifo() { json!({ "FifoQueue": "true" }) } else { json!({}) };
        let order = json!({ "QueueName": name, "Attributes": attributes });
        queue.ask("CreateQueue", order).await.expect("the server creates the queue");
        queue
    }

    /// Another one of the same server.
    fn beside(&self, name: &'static str) -> Self {
        Self { name, ..self.clone() }
    }

    fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }

    /// An event as an entry of a batch.
    fn entry(&self, event: &Event) -> Value {
        let mut headers = event.headers();
        if !self.is_fifo() {
            headers.push((KEY.to_owned(), event.key.clone()));
        }
        let attribute = |value| json!({ "DataType": "String", "StringValue": value });
        let attributes = headers.into_iter().map(|(name, value)| (name, attribute(value)));
        let mut entry = json!({
            "Id": event.number.to_string(),
            "MessageBody": event.payload,
            "MessageAttributes": attributes.collect::<Map<_, _>>(),
        });
        if self.is_fifo() {
            entry["MessageGroupId"] = json!(event.key);
            entry["MessageDeduplicationId"] = json!(event.number.to_string());
        }
        entry
    }

    /// How many messages it has, those that are lent to somebody included.
    async fn left(&self) -> Option<u64> {
        let told = self.ask("GetQueueAttributes", json!({ "AttributeNames": ["All"] })).await?;
        let count = |name: &str| told["Attributes"][name].as_str()?.parse::<u64>().ok();
        let lent = count("ApproximateNumberOfMessagesNotVisible")?;
        Some(count("ApproximateNumberOfMessages")? + lent)
    }

    /// Takes messages out for ever, with one receive at an idle queue, and with more while answers come back full: as the
    /// connector does.
    async fn drain(self, taken: Tally) {
        let mut receives = JoinSet::new();
        loop {
            if receives.is_empty() {
                receives.spawn(self.clone().take_waiting());
            }
            let Some(Ok(Some(got))) = receives.join_next().await else {
                // Nothing is broken in such a run; if receiving fails all the same, its pace shows it.
                sleep(AGAIN).await;
                continue;
            };
            taken.add(got);
            let more = match got {
                0 => 0,
                TOGETHER if receives.len() + 1 < RECEIVES => 2,
                _ => 1,
            };
            for _ in 0..more {
                receives.spawn(self.clone().take_waiting());
            }
        }
    }

    /// Waits for messages and takes them out: how many.
    async fn take_waiting(self) -> Option<usize> {
        self.take(WAIT_SECONDS).await.map(|messages| messages.len())
    }

    /// Takes some messages out, if there are any by then.
    async fn take(&self, wait_seconds: u64) -> Option<Vec<Value>> {
        let all = json!({
            "MaxNumberOfMessages": TOGETHER,
            "WaitTimeSeconds": wait_seconds,
            "VisibilityTimeout": LEASE_SECONDS,
            "AttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        let mut answer = self.ask("ReceiveMessage", all).await?;
        let messages = match answer["Messages"].take() {
            Value::Array(messages) if !messages.is_empty() => messages,
            _ => return Some(Vec::new()),
        };
        let handle = |(id, message): (usize, &Value)| json!({ "Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"] });
        let entries: Vec<_> = messages.iter().enumerate().map(handle).collect();
        self.ask("DeleteMessageBatch", json!({ "Entries": entries })).await?;
        Some(messages)
    }

    /// The answer to a request, if it is a good one.
    async fn ask(&self, action: &str, mut request: Value) -> Option<Value> {
        request["QueueUrl"] = json!(format!("{}/000000000000/{}", self.server, self.name));
        let post =
            self.client.post(&self.server).header("content-type", "application/x-amz-json-1.0");
        let post = post.header("x-amz-target", format!("AmazonSQS.{action}"));
        let post = post.body(request.to_string()).timeout(Duration::from_secs(30));
        let answer = post.send().await.ok()?;
        let (good, text) = (answer.status().is_success(), answer.text().await.ok()?);
        let answer: Value =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).ok()? };
        let refused = answer["Failed"].as_array().is_some_and(|refused| !refused.is_empty());
        (good && !refused).then_some(answer)
    }
}

/// A letter with the key of its message, and a header for each note however they came.
fn letter_of(letter: &Value) -> Message {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut key = text(&letter["Attributes"]["MessageGroupId"]);
    let mut headers = Vec::new();
    for (name, value) in letter["MessageAttributes"].as_object().into_iter().flatten() {
        let value = text(&value["StringValue"]);
        match name.as_str() {
            KEY => key = value,
            ALL_NOTES => {
                let notes = value.lines().filter_map(|line| line.split_once(": "));
                headers.extend(notes.map(|(name, text)| (name.to_owned(), text.to_owned())));
            }
            _ => headers.push((name.clone(), value)),
        }
    }
    Message::of(&key, text(&letter["Body"]).as_bytes(), headers)
}
