//! The requests made for one queue, and what their answers mean.
//!
//! Every request is made once: who waits, and how long, is decided by the caller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesOutput;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
};

use crate::account::{Account, Generation};
use crate::queue::{Home, QueueRef};
use crate::trouble::{Kind, Trouble, is_throttle};

/// The most entries of one batch.
pub(crate) const BATCH: usize = 10;
/// What a receive may take beyond the time it waits for messages.
const BEYOND_WAIT: Duration = Duration::from_secs(10);
/// The most bytes of a message in a queue that does not tell.
const USUAL_LARGEST: usize = 256 << 10;
const USUAL_LEASE: Duration = Duration::from_secs(30);

/// One queue that has been found.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) queue: QueueRef,
    pub(crate) url: String,
    account: Arc<Account>,
}

/// What a queue says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// How long it lends messages unless told otherwise.
    pub(crate) lease: Duration,
    /// The most bytes of one message.
    pub(crate) largest: usize,
    /// Where it moves messages that keep coming back.
    pub(crate) redrive: Option<RedrivePolicy>,
}

/// A queue's rule about messages that keep coming back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedrivePolicy {
    /// The ARN of the queue that takes them.
    pub(crate) target: String,
    /// After how many deliveries.
    pub(crate) deliveries: u32,
}

/// How many messages a queue has, and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) waiting: i64,
    pub(crate) lent: i64,
    pub(crate) delayed: i64,
    /// After how many seconds the queue deletes a message; `None`: it does not tell.
    pub(crate) retention: Option<i64>,
}

/// An entry of a batch that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its position in the batch.
    pub(crate) at: usize,
    /// Asking again will not help: the handle is void.
    pub(crate) void: bool,
    pub(crate) why: String,
}

impl Api {
    /// Finds the queue.
    pub(crate) async fn find(account: Arc<Account>, queue: QueueRef) -> Result<Self, Trouble> {
        let url = match queue.home() {
            Home::Url { url, .. } => url.clone(),
            home => {
                let (client, generation) = account.client(&queue)?;
                let mut request = client.get_queue_url().queue_name(queue.name());
                if let Home::Arn { account, .. } = home {
                    request = request.queue_owner_aws_account_id(account);
                }
                let answer = heard(&account, generation, request.send().await).await;
                let answer = answer.map_err(|trouble| missing(&client, trouble))?;
                answer.queue_url.ok_or_else(|| {
                    Trouble::new(Kind::Service, "GetQueueUrl answered without a URL")
                })?
            }
        };
        Ok(Self { queue, url, account })
    }

    /// The account it is asked through.
    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// What the queue says of itself, and how many messages it has.
    pub(crate) async fn attributes(&self) -> Result<(Attributes, Backlog), Trouble> {
        let (client, generation) = self.account.client(&self.queue)?;
        let answer = client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::All)
            .send()
            .await;
        let answer = heard(&self.account, generation, answer).await?;
        Ok((Attributes::read(&answer), Backlog::read(&answer)))
    }

    /// Waits up to `wait` for messages, at most `most` of them, lent for `lease`.
    ///
    /// Not cancel-safe: messages of an answer that nobody hears stay lent.
    pub(crate) async fn receive(
        &self,
        most: usize,
        lease: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, Trouble> {
        let (client, generation) = self.account.client(&self.queue)?;
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(wait + BEYOND_WAIT).build();
        let answer = client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(whole(most as u64))
            .visibility_timeout(whole(lease.as_secs()))
            .wait_time_seconds(whole(wait.as_secs()))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .customize()
            .config_override(aws_sdk_sqs::config::Config::builder().timeout_config(timeouts))
            .send()
            .await;
        let answer = heard(&self.account, generation, answer).await?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Deletes messages, at most [`BATCH`] of them. Returns the entries that were refused.
    pub(crate) async fn delete(&self, handles: &[String]) -> Result<Vec<Refused>, Trouble> {
        let (client, generation) = self.account.client(&self.queue)?;
        let entries = entries(handles, |at, handle| {
            DeleteMessageBatchRequestEntry::builder().id(at).receipt_handle(handle).build()
        })?;
        let answer = client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await;
        Ok(Refused::all(&heard(&self.account, generation, answer).await?.failed))
    }

    /// Changes for how long, from now on, messages stay hidden; at most [`BATCH`] of them. Returns
    /// the entries that were refused.
    pub(crate) async fn hide(
        &self,
        changes: &[(String, Duration)],
    ) -> Result<Vec<Refused>, Trouble> {
        let (client, generation) = self.account.client(&self.queue)?;
        let entries = entries(changes, |at, (handle, hidden)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at)
                .receipt_handle(handle)
                .visibility_timeout(whole(hidden.as_secs()))
                .build()
        })?;
        let answer = client
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await;
        Ok(Refused::all(&heard(&self.account, generation, answer).await?.failed))
    }

    /// Sends a message and returns when the queue has given it an id.
    pub(crate) async fn send(&self, message: Outgoing) -> Result<(), Trouble> {
        let (client, generation) = self.account.client(&self.queue)?;
        let answer = client
            .send_message()
            .queue_url(&self.url)
            .message_body(message.body)
            .set_message_attributes(Some(message.attributes).filter(|all| !all.is_empty()))
            .set_message_group_id(message.group)
            .set_message_deduplication_id(message.deduplication)
            .send()
            .await;
        let answer = heard(&self.account, generation, answer).await?;
        match answer.message_id {
            Some(_) => Ok(()),
            None => Err(Trouble::new(Kind::Service, "SendMessage answered without an id")),
        }
    }
}

/// A message to send.
pub(crate) struct Outgoing {
    pub(crate) body: String,
    pub(crate) attributes: HashMap<String, aws_sdk_sqs::types::MessageAttributeValue>,
    pub(crate) group: Option<String>,
    pub(crate) deduplication: Option<String>,
}

/// Says where a queue was looked for that is not there: most often that is the mistake.
fn missing(client: &Client, trouble: Trouble) -> Trouble {
    match client.config().region() {
        Some(region) if trouble.kind == Kind::UnknownQueue => {
            Trouble::new(Kind::UnknownQueue, format!("not in region {region}: {}", trouble.why))
        }
        _ => trouble,
    }
}

/// The entries of a batch, each named by its position in it.
fn entries<T, E>(
    all: &[T],
    build: impl Fn(String, &T) -> Result<E, BuildError>,
) -> Result<Vec<E>, Trouble> {
    let entries = all.iter().enumerate().map(|(at, one)| build(at.to_string(), one));
    let entries: Result<_, BuildError> = entries.collect();
    entries.map_err(|error| Trouble::new(Kind::Setup, error.to_string()))
}

/// Takes in the answer to a request. Where the credentials it was made with were refused, looks for
/// new ones; the request is then made again by whoever needs it.
async fn heard<T, E>(
    account: &Account,
    generation: Generation,
    answer: Result<T, SdkError<E, HttpResponse>>,
) -> Result<T, Trouble>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let answer = answer.map_err(Trouble::from);
    if let Err(Trouble { kind: Kind::Credentials, .. }) = &answer {
        account.renew(generation).await;
    }
    answer
}

/// SQS' numbers are 32 bits wide; all of ours are small.
fn whole(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Refused {
    fn all(entries: &[BatchResultErrorEntry]) -> Vec<Self> {
        entries.iter().filter_map(Self::read).collect()
    }

    fn read(entry: &BatchResultErrorEntry) -> Option<Self> {
        let code = entry.code();
        let why = match entry.message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
        let void = entry.sender_fault() && !is_throttle(code);
        Some(Self { at: entry.id().parse().ok()?, void, why })
    }
}

impl Attributes {
    /// What is believed of a queue that may not be asked.
    pub(crate) fn usual() -> Self {
        Self { lease: USUAL_LEASE, largest: USUAL_LARGEST, redrive: None }
    }

    fn read(answer: &GetQueueAttributesOutput) -> Self {
        let text = |name: &QueueAttributeName| answer.attributes()?.get(name).map(String::as_str);
        let usual = Self::usual();
        let lease = text(&QueueAttributeName::VisibilityTimeout).and_then(|t| t.parse().ok());
        let largest = text(&QueueAttributeName::MaximumMessageSize).and_then(|t| t.parse().ok());
        Self {
            lease: lease.map_or(usual.lease, Duration::from_secs),
            largest: largest.unwrap_or(usual.largest),
            redrive: text(&QueueAttributeName::RedrivePolicy).and_then(RedrivePolicy::read),
        }
    }
}

impl RedrivePolicy {
    /// `{"deadLetterTargetArn":"arn:...","maxReceiveCount":"5"}`, the number quoted or not. A flat
    /// object of two fields whose values hold no escapes is not worth a JSON parser.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let (_, after) = text.split_once(&format!("\"{name}\""))?;
            let after = after.trim_start().strip_prefix(':')?.trim_start();
            match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').map(|(value, _)| value),
                None => after.split([',', '}']).next().map(str::trim),
            }
        };
        let target = field("deadLetterTargetArn")?.to_owned();
        let deliveries = field("maxReceiveCount")?.parse().ok()?;
        Some(Self { target, deliveries })
    }
}

impl Backlog {
    fn read(answer: &GetQueueAttributesOutput) -> Self {
        let told = |name: &QueueAttributeName| answer.attributes()?.get(name)?.parse().ok();
        let count = |name: &QueueAttributeName| told(name).unwrap_or(0);
        Self {
            waiting: count(&QueueAttributeName::ApproximateNumberOfMessages),
            lent: count(&QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            delayed: count(&QueueAttributeName::ApproximateNumberOfMessagesDelayed),
            retention: told(&QueueAttributeName::MessageRetentionPeriod),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_policy_is_read_however_it_is_written() {
        let policy = RedrivePolicy { target: "arn:aws:sqs:eu-west-1:1:dead".into(), deliveries: 5 };
        for text in [
            r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:1:dead","maxReceiveCount":5}"#,
            r#"{"maxReceiveCount":"5", "deadLetterTargetArn" : "arn:aws:sqs:eu-west-1:1:dead"}"#,
            r#"{ "maxReceiveCount" : 5 , "deadLetterTargetArn":"arn:aws:sqs:eu-west-1:1:dead" }"#,
        ] {
            assert_eq!(RedrivePolicy::read(text).as_ref(), Some(&policy), "{text}");
        }
        for text in ["", "{}", r#"{"maxReceiveCount":"5"}"#, r#"{"deadLetterTargetArn":"#] {
            assert_eq!(RedrivePolicy::read(text), None, "{text}");
        }
    }
}
