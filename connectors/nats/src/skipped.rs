//! Messages that a bound consumer's server gave up on.
//!
//! A consumer with a delivery limit drops what was delivered so often without an acknowledgement:
//! after a crash in the last delivery nobody would ever see the message again. The server says so
//! in an advisory, once, to whoever listens. So that it is heard by a connector that is not there
//! at that moment, a stream keeps the advisories, and a consumer of ours reads them like any other
//! messages: each is acknowledged when the message it names has been called or dead-lettered.

use async_nats::jetstream::consumer::{DeliverPolicy, Info};
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{self, RetentionPolicy, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use connector_core::log::Chain;

use crate::binding::{self, Terms};
use crate::stored::{Stored, Which, fetch};
use crate::subject::Filter;

/// More advisories than this are not kept: the oldest go first.
const KEPT: i64 = 100_000;

/// Finds what one consumer's server gave up on.
#[derive(Clone)]
pub(crate) struct Skipped {
    /// The stream that has the messages.
    pub(crate) stream: Stream,
}

/// What an advisory leads to.
pub(crate) enum Found {
    /// The message, still in its stream.
    Message(Box<Stored>),
    /// It is gone: acknowledged after all, deleted, or past the stream's limits.
    Gone,
    /// It could not be asked for now.
    Later(String),
}

impl Skipped {
    /// Reads an advisory and fetches the message that it names.
    pub(crate) async fn find(&self, context: &Context, advisory: &[u8]) -> Found {
        let Some((sequence, deliveries)) = read(advisory) else { return Found::Gone };
        let stream = &self.stream.cached_info().config.name;
        match fetch(context, stream, Which::at(sequence)).await {
            Ok(Some(mut message)) => {
                message.position.delivered = deliveries;
                Found::Message(Box::new(message))
            }
            Ok(None) => Found::Gone,
            Err(why) => Found::Later(why),
        }
    }

    /// A work queue keeps a message until its consumer acknowledges it, which cannot be done any
    /// more: what is done with is deleted. Elsewhere the message may be another consumer's too.
    pub(crate) async fn done(&self, sequence: u64) {
        if self.stream.cached_info().config.retention == RetentionPolicy::WorkQueue
            && let Err(error) = self.stream.delete_message(sequence).await
        {
            tracing::warn!(sequence, error = %Chain(&error), "a message that is done with stays in its work queue");
        }
    }
}

/// The sequence of the message and how often it was delivered.
pub(crate) fn read(advisory: &[u8]) -> Option<(u64, u32)> {
    let advisory: serde_json::Value = serde_json::from_slice(advisory).ok()?;
    let sequence = advisory.get("stream_seq")?.as_u64()?;
    let deliveries = advisory.get("deliveries").and_then(serde_json::Value::as_u64).unwrap_or(1);
    Some((sequence, u32::try_from(deliveries).unwrap_or(u32::MAX)))
}

/// The consumer that reads the advisories about `of`, made where there is none, with the stream
/// that keeps them.
///
/// # Errors
/// Why the advisories cannot be kept.
pub(crate) async fn advisories(
    context: &Context,
    of: &Terms,
    replicas: usize,
) -> Result<Info, String> {
    let subject =
        format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{}.{}", of.stream, of.consumer);
    let name = format!("tributary-skipped-{}-{}", of.stream, of.consumer);
    let filter = Filter::parse(&subject)?;
    let (stream, from) = match context.get_stream(&name).await {
        Ok(stream) => (stream, DeliverPolicy::All),
        Err(_) => keep(context, &name, &subject, replicas).await?,
    };
    let config = binding::created(&name, &filter, from);
    let consumer = config.durable_name.clone().unwrap_or_default();
    if let Ok(info) = stream.consumer_info(&consumer).await {
        return Ok(info);
    }
    let made = stream.create_consumer_strict(config).await;
    Ok(made.map_err(|error| Chain(&error).to_string())?.cached_info().clone())
}

/// Makes the stream, or takes the operator's own that keeps the advisories already; what that one
/// has from before is not ours to call for.
async fn keep(
    context: &Context,
    name: &str,
    subject: &str,
    replicas: usize,
) -> Result<(Stream, DeliverPolicy), String> {
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        description: Some("nats-connector: what its consumer's delivery limit skips".to_owned()),
        max_messages: KEPT,
        num_replicas: replicas.max(1),
        ..stream::Config::default()
    };
    match context.create_stream(config).await {
        Ok(stream) => Ok((stream, DeliverPolicy::All)),
        Err(error) => {
            let overlaps = matches!(
                error.kind(),
                CreateStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP
            );
            let why = Chain(&error).to_string();
            if !overlaps {
                return Err(why);
            }
            let theirs = context.stream_by_subject(subject).await.map_err(|_| why.clone())?;
            let theirs = context.get_stream(theirs).await.map_err(|_| why)?;
            Ok((theirs, DeliverPolicy::New))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advisory_names_the_message() {
        let text = br#"{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"x","timestamp":"2026-01-05T10:00:00Z","stream":"S","consumer":"C","stream_seq":42,"deliveries":3}"#;
        assert_eq!(read(text), Some((42, 3)));
        assert_eq!(read(b"{}"), None);
        assert_eq!(read(b"what?"), None);
    }
}
