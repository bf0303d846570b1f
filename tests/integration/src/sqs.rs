//! A queue of SQS, for tests that have no need of a client library: requests as forms, with no more of a signature
//! than stand-ins for SQS look at.

use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::{script, unique};

/// By the service that it names moto tells its own apart; nobody looks at the signature.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/sqs/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// The attribute of a queue whose groups are in order.
pub const FIFO: (&str, &str) = ("FifoQueue", "true");

/// The most entries of one request.
const BATCH: usize = 10;

/// A queue at an endpoint.
#[derive(Debug, Clone)]
pub struct Queue {
    url: String,
    /// Its name, which nothing else has.
    pub name: String,
}

/// A message to send, of what stands for itself in a form: letters, digits, dashes.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its payload.
    pub body: String,
    /// Its group, where the queue is FIFO.
    pub group: Option<String>,
}

/// The endpoint of the ElasticMQ that tests share.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn shared() -> String {
    format!("http://{}", script("elasticmq", "up", "shared", [])["ADDRESS"])
}

impl Queue {
    /// Creates one with these attributes, such as [`FIFO`].
    pub async fn create(endpoint: &str, purpose: &str, attributes: &[(&str, &str)]) -> Self {
        let suffix = if attributes.contains(&FIFO) { ".fifo" } else { "" };
        let name = unique(purpose) + suffix;
        let mut form = format!("Action=CreateQueue&QueueName={name}");
        for (number, (attribute, value)) in (1..).zip(attributes) {
            let entry = format!("Attribute.{number}");
            write!(form, "&{entry}.Name={attribute}&{entry}.Value={value}")
                .expect("it is a string");
        }
        Self::named(endpoint, name, &form).await
    }

    /// The queue of this name, which exists.
    pub async fn find(endpoint: &str, name: &str) -> Self {
        let form = format!("Action=GetQueueUrl&QueueName={name}");
        Self::named(endpoint, name.to_owned(), &form).await
    }

    /// The queue whose URL answers this question.
    async fn named(endpoint: &str, name: String, form: &str) -> Self {
        let answer = ask(endpoint, form).await;
        let url = element(&answer, "QueueUrl").expect("a queue has a URL");
        // By the name that we reach it by, which need not be the one it gives itself.
        let path = url.splitn(4, '/').nth(3).expect("a URL has a path");
        Self { url: format!("{endpoint}/{path}"), name }
    }

    /// Sends this body, which needs no escaping, at least so many times.
    pub async fn send(&self, body: &str, count: usize) {
        let message = Message { body: body.to_owned(), group: None };
        let batch = batch(&vec![message; BATCH.min(count)]);
        for _ in 0..count.div_ceil(BATCH) {
            ask(&self.url, &batch).await;
        }
    }

    /// Sends each of these, in order.
    ///
    /// # Panics
    /// When the broker does not take one.
    pub async fn send_all(&self, messages: &[Message]) {
        for messages in messages.chunks(BATCH) {
            let answer = ask(&self.url, &batch(messages)).await;
            let taken = answer.matches("<SendMessageBatchResultEntry>").count();
            assert_eq!(taken, messages.len(), "{answer}");
        }
    }

    /// How many messages it has, those that are lent to somebody included.
    ///
    /// # Panics
    /// When the broker does not say.
    pub async fn count(&self) -> usize {
        let answer = ask(&self.url, "Action=GetQueueAttributes&AttributeName.1=All").await;
        let count = |name: &str| {
            let (_, after) = answer.split_once(&format!("<Name>{name}</Name>"))?;
            element(after, "Value")?.parse::<usize>().ok()
        };
        let counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        counts.iter().map(|name| count(name).expect("a queue counts its messages")).sum()
    }

    /// Takes out everything that can be received now, and gives the bodies.
    pub async fn drain(&self) -> Vec<String> {
        let receive = format!("Action=ReceiveMessage&MaxNumberOfMessages={BATCH}");
        let mut bodies = Vec::new();
        loop {
            let answer = ask(&self.url, &receive).await;
            let messages: Vec<&str> = answer.split("<Message>").skip(1).collect();
            if messages.is_empty() {
                return bodies;
            }
            for message in messages {
                let part = |name| element(message, name).expect("a message has it").to_owned();
                bodies.push(part("Body"));
                // At once: what is lent keeps back the rest of its group.
                let handle = part("ReceiptHandle").replace('#', "%23");
                ask(&self.url, &format!("Action=DeleteMessage&ReceiptHandle={handle}")).await;
            }
        }
    }

    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The request that sends these.
fn batch(messages: &[Message]) -> String {
    let mut form = "Action=SendMessageBatch".to_owned();
    for (number, Message { body, group }) in (1..).zip(messages) {
        let entry = format!("&SendMessageBatchRequestEntry.{number}");
        write!(form, "{entry}.Id={number}{entry}.MessageBody={body}").expect("it is a string");
        if let Some(group) = group {
            let id = unique("message");
            write!(form, "{entry}.MessageGroupId={group}{entry}.MessageDeduplicationId={id}")
                .expect("it is a string");
        }
    }
    form
}

/// What stands in the first element of this name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    after.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
}

async fn ask(url: &str, form: &str) -> String {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let client = CLIENT.get_or_init(|| {
        drop(rustls::crypto::ring::default_provider().install_default());
        reqwest::Client::builder()
            // Clients outlive the runtime of a single test, connections do not.
            .pool_max_idle_per_host(0)
            .build()
            .expect("the client's settings are right")
    });
    let request = client
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", SIGNED);
    let answer = request.body(form.to_owned()).send().await.expect("the broker answers");
    assert!(answer.status().is_success(), "{form}: {}", answer.status());
    answer.text().await.expect("the answer is text")
}
