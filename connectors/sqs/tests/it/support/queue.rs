//! Queues, and the client that tests send and look with.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::types::builders::SendMessageBatchRequestEntryBuilder;
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use super::{PATIENCE, broker, unique};

/// The most messages that SQS takes at a time.
const BATCH: usize = 10;

/// A client for the service at `endpoint`, in a region, as somebody.
pub(crate) fn client(endpoint: &str, region: &str, (key, secret): (&str, &str)) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_sqs::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new(key, secret, None, None, "test"))
        .http_client(http)
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

/// One queue at a broker.
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) url: String,
    client: Client,
}

impl Queue {
    pub(crate) async fn standard(stem: &str) -> Self {
        Self::create(broker(), &unique(stem), &[]).await
    }

    pub(crate) async fn fifo(stem: &str) -> Self {
        let fifo = [(QueueAttributeName::FifoQueue, "true")];
        Self::create(broker(), &format!("{}.fifo", unique(stem)), &fifo).await
    }

    pub(crate) async fn create(
        endpoint: &str,
        name: &str,
        attributes: &[(QueueAttributeName, &str)],
    ) -> Self {
        Self::create_as(client(endpoint, "eu-west-1", ("key", "secret")), name, attributes).await
    }

    pub(crate) async fn create_as(
        client: Client,
        name: &str,
        attributes: &[(QueueAttributeName, &str)],
    ) -> Self {
        let mut request = client.create_queue().queue_name(name);
        for (attribute, value) in attributes {
            request = request.attributes(attribute.clone(), *value);
        }
        let url = request.send().await.unwrap().queue_url.unwrap();
        Self { name: name.to_owned(), url, client }
    }

    /// Moves messages to another queue after so many deliveries.
    pub(crate) async fn redrive(&self, to: &str, deliveries: u32) {
        let policy = format!(
            r#"{{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:000000000000:{to}","maxReceiveCount":"{deliveries}"}}"#
        );
        let request = self.client.set_queue_attributes().queue_url(&self.url);
        request.attributes(QueueAttributeName::RedrivePolicy, policy).send().await.unwrap();
    }

    pub(crate) async fn send(&self, body: &str) -> String {
        let sent = self.client.send_message().queue_url(&self.url).message_body(body);
        sent.send().await.unwrap().message_id.unwrap()
    }

    /// Sends these bodies.
    pub(crate) async fn send_all(&self, bodies: impl IntoIterator<Item = String>) {
        let entry = SendMessageBatchRequestEntry::builder;
        self.send_entries(bodies.into_iter().map(|body| entry().message_body(body))).await;
    }

    /// Sends numbers; with groups `<group>:<n>`, n counting up within each.
    pub(crate) async fn fill(&self, numbers: Range<usize>, groups: Option<usize>) {
        let entries = numbers.map(|number| {
            let entry = SendMessageBatchRequestEntry::builder();
            let Some(groups) = groups else { return entry.message_body(number.to_string()) };
            let (group, n) = (number % groups, number / groups);
            let entry = entry.message_body(format!("{group}:{n}"));
            entry.message_group_id(group.to_string()).message_deduplication_id(number.to_string())
        });
        self.send_entries(entries).await;
    }

    async fn send_entries(
        &self,
        entries: impl Iterator<Item = SendMessageBatchRequestEntryBuilder>,
    ) {
        let entries = entries.enumerate().map(|(at, it)| it.id(at.to_string()).build().unwrap());
        let entries: Vec<_> = entries.collect();
        for batch in entries.chunks(BATCH) {
            let request = self.client.send_message_batch().queue_url(&self.url);
            let sent = request.set_entries(Some(batch.to_vec())).send().await.unwrap();
            assert!(sent.failed.is_empty(), "{:?}", sent.failed);
        }
    }

    pub(crate) async fn send_with(
        &self,
        body: &str,
        attributes: impl IntoIterator<Item = (&str, MessageAttributeValue)>,
    ) {
        let mut request = self.client.send_message().queue_url(&self.url).message_body(body);
        for (name, value) in attributes {
            request = request.message_attributes(name, value);
        }
        request.send().await.unwrap();
    }

    pub(crate) async fn send_to_group(&self, group: &str, body: &str) {
        let request = self.client.send_message().queue_url(&self.url).message_body(body);
        let request = request.message_group_id(group).message_deduplication_id(unique("d"));
        request.send().await.unwrap();
    }

    /// How many messages are waiting, and how many are lent to somebody.
    pub(crate) async fn counts(&self) -> (u32, u32) {
        self.try_counts().await.unwrap()
    }

    /// The same where the queue may not be there yet.
    pub(crate) async fn try_counts(&self) -> Result<(u32, u32), SdkError<GetQueueAttributesError>> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.attribute_names(QueueAttributeName::All).send().await?;
        let count = |name| answer.attributes().unwrap()[&name].parse::<u32>().unwrap();
        Ok((
            count(QueueAttributeName::ApproximateNumberOfMessages),
            count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        ))
    }

    /// Waits until no message is left, waiting or lent.
    pub(crate) async fn wait_until_empty(&self) {
        self.wait_until_empty_within(PATIENCE).await;
    }

    pub(crate) async fn wait_until_empty_within(&self, patience: Duration) {
        let mut last = (0, 0);
        let empty = async {
            loop {
                last = self.counts().await;
                if last == (0, 0) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            panic!("queue {}: {} waiting and {} lent are left", self.name, last.0, last.1);
        }
    }

    /// Receives one message, waiting for it.
    pub(crate) async fn receive(&self) -> Message {
        let look = async {
            loop {
                // Short waits: ElasticMQ tells a receive that waits of what is sent, not of what
                // another queue's policy moves here.
                let request = self.client.receive_message().queue_url(&self.url);
                let request = request
                    .wait_time_seconds(1)
                    .message_attribute_names("All")
                    .message_system_attribute_names(MessageSystemAttributeName::All);
                let messages = request.send().await.unwrap().messages.unwrap_or_default();
                if let Some(message) = messages.into_iter().next() {
                    return message;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(message) => message,
            Err(_) => panic!("queue {} has no message", self.name),
        }
    }

    pub(crate) async fn delete_queue(&self) {
        self.client.delete_queue().queue_url(&self.url).send().await.unwrap();
    }
}

pub(crate) fn text(value: &str) -> MessageAttributeValue {
    let value = MessageAttributeValue::builder().data_type("String").string_value(value);
    value.build().unwrap()
}
