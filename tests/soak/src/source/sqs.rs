//! SQS, by ElasticMQ: a standard queue, or a FIFO queue whose groups are the keys.
//!
//! The server is frozen and never restarted, which a full disk would take too: when it comes back it has sometimes lost what it had confirmed, and always the
//! order of groups.

use std::fmt::Write as _;
use std::time::Duration;

use integration::Launch;
use ledger_checker::plan::{Broker, Ordering};

use super::{
    CONCURRENCY, Disk, Event, LEASE_SECONDS, Process, Promise, Publisher, Source, Unsure, single,
};
use crate::overload::{CALM, Flood};
use crate::proxy::{Proxy, Weather};
use crate::schedule::Kind;

/// How many messages SQS takes at a time.
const TOGETHER: usize = 10;

pub(crate) struct Sqs<const FIFO: bool> {
    process: Process,
    proxied: String,
    queue: Queue,
}

impl<const FIFO: bool> Sqs<FIFO> {
    const NAME: &str = if FIFO { "soak.fifo" } else { "soak" };
}

impl<const FIFO: bool> Source for Sqs<FIFO> {
    const CONNECTOR: &str = "sqs";
    type Publisher = Queue;

    async fn start(proxy: &Proxy, _disk: Disk) -> Self {
        let process = Process::start("elasticmq", Disk::Shared, &[]);
        proxy.leads_to(process.address());
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::new();
        let server = format!("http://{}", process.address());
        let mut create = format!("Action=CreateQueue&QueueName={}", Self::NAME);
        if FIFO {
            create += "&Attribute.1.Name=FifoQueue&Attribute.1.Value=true";
        }
        ask(&client, &server, create).await.expect("the server creates the queue");
        let create = format!("Action=CreateQueue&QueueName={CALM}");
        ask(&client, &server, create).await.expect("the server creates the queue");
        let url = format!("{server}/000000000000/{}", Self::NAME);
        let proxied = format!("http://{}", proxy.address());
        Self { process, proxied, queue: Queue { client, url, fifo: FIFO } }
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
            .set("wait_time", "2s")
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
        let url = self.queue.url.replace(Self::NAME, CALM);
        Some((CALM.to_owned(), Queue { url, fifo: false, ..self.queue.clone() }))
    }

    async fn publisher(&self) -> Queue {
        self.queue.clone()
    }

    async fn left(&self) -> u64 {
        let asked = "Action=GetQueueAttributes&AttributeName.1=All".to_owned();
        let told = ask(&self.queue.client, &self.queue.url, asked).await.unwrap_or_default();
        let count = |name: &str| {
            let (_, rest) = told.split_once(&format!("<Name>{name}</Name>"))?;
            let (_, rest) = rest.split_once("<Value>")?;
            rest.split_once('<')?.0.parse::<u64>().ok()
        };
        let waiting = count("ApproximateNumberOfMessages");
        let lent = count("ApproximateNumberOfMessagesNotVisible");
        waiting.zip(lent).map_or(u64::MAX, |(waiting, lent)| waiting + lent)
    }
}

/// A queue, as whoever sends sees it.
#[derive(Clone)]
pub(crate) struct Queue {
    client: reqwest::Client,
    url: String,
    fifo: bool,
}

impl Publisher for Queue {
    async fn publish(&mut self, mut events: Vec<Event>) -> Result<(), Unsure> {
        while !events.is_empty() {
            let batch = &events[..events.len().min(TOGETHER)];
            if ask(&self.client, &self.url, self.batch(batch)).await.is_none() {
                return Err(Unsure(events));
            }
            events.drain(..events.len().min(TOGETHER));
        }
        Ok(())
    }
}

impl Queue {
    /// A batch, in the form that needs no client library.
    fn batch(&self, events: &[Event]) -> String {
        let mut form = "Action=SendMessageBatch".to_owned();
        for (number, event) in (1..).zip(events) {
            let entry = format!("SendMessageBatchRequestEntry.{number}");
            let body = event.payload.replace(' ', "%20");
            let written = write!(form, "&{entry}.Id={number}&{entry}.MessageBody={body}");
            written.expect("it is a string");
            if self.fifo {
                let (group, number) = (&event.key, event.number);
                let written = write!(
                    form,
                    "&{entry}.MessageGroupId={group}&{entry}.MessageDeduplicationId={number}"
                );
                written.expect("it is a string");
            }
        }
        form
    }
}

/// The answer to a request, if it is a good one.
async fn ask(client: &reqwest::Client, url: &str, form: String) -> Option<String> {
    let request = client.post(url).header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form).timeout(Duration::from_secs(30)).send().await.ok()?;
    let (good, text) = (answer.status().is_success(), answer.text().await.ok()?);
    (good && !text.contains("BatchResultErrorEntry")).then_some(text)
}
