//! A queue of SQS, for tests that have no need of a client library: requests as forms, with no more of a signature
//! than stand-ins for SQS look at.

use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::unique;

/// By the service that it names moto tells its own apart; nobody looks at the signature.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/sqs/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// The most entries of one request.
const BATCH: usize = 10;

/// A queue at an endpoint.
#[derive(Debug, Clone)]
pub struct Queue {
    url: String,
    /// Its name, which nothing else has.
    pub name: String,
}

impl Queue {
    /// Creates one with these attributes.
    pub async fn create(endpoint: &str, purpose: &str, attributes: &[(&str, &str)]) -> Self {
        let name = unique(purpose);
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
        let (_, after) = answer.split_once("<QueueUrl>").expect("a queue has a URL");
        let (url, _) = after.split_once("</QueueUrl>").expect("the element ends");
        // By the name that we reach it by, which need not be the one it gives itself.
        let path = url.splitn(4, '/').nth(3).expect("a URL has a path");
        Self { url: format!("{endpoint}/{path}"), name }
    }

    /// Sends this body, which needs no escaping, at least so many times.
    pub async fn send(&self, body: &str, count: usize) {
        let mut batch = "Action=SendMessageBatch".to_owned();
        for number in 1..=BATCH.min(count) {
            let entry = format!("SendMessageBatchRequestEntry.{number}");
            write!(batch, "&{entry}.Id={number}&{entry}.MessageBody={body}")
                .expect("it is a string");
        }
        for _ in 0..count.div_ceil(BATCH) {
            ask(&self.url, &batch).await;
        }
    }

    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
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
