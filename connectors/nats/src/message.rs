//! From a message to an event.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use connector_core::headers::OwnHeader;
use connector_core::{Attribute, Event, EventId};

use crate::stored::Stored;

const STREAM: OwnHeader =
    OwnHeader::new("x-nats-stream", KEPT, "The stream that keeps the message.", "ORDERS");
const SEQUENCE: OwnHeader =
    OwnHeader::new("x-nats-sequence", KEPT, "Its number in the stream.", "1207");
const DELIVERED: OwnHeader = OwnHeader::new(
    "x-nats-delivered",
    KEPT,
    "How often the consumer has delivered it, this time included.",
    "1",
);

/// Which messages have the headers above.
const KEPT: &str = "the message comes from JetStream";

/// What functions are told about a delivery beside the message's own headers.
pub(crate) fn own_headers() -> Vec<OwnHeader> {
    vec![STREAM, SEQUENCE, DELIVERED]
}

/// Payloads up to this many bytes are copied: a slice would keep the connection's whole read
/// buffer in memory for as long as the event lives.
const COPIED: usize = 32 * 1024;

/// A message's own headers.
pub(crate) type Headers = Vec<Attribute>;

/// Where a message stands in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) stream: Arc<str>,
    pub(crate) sequence: u64,
    /// In nanoseconds since 1970: a stream that was deleted and created again counts from one.
    pub(crate) published: u64,
    /// How often the consumer has delivered the message, this time included.
    pub(crate) delivered: u32,
}

/// The event of a message that no broker keeps.
pub(crate) fn passing(message: Message, wants_reply: bool) -> Event {
    let Message { subject, payload, headers, .. } = message;
    let mut event = event(EventId::unique("nats"), &subject, payload, read(headers));
    event.wants_reply = wants_reply;
    event
}

/// The event of a message that a stream has delivered.
pub(crate) fn kept(message: Message, position: &Position) -> Event {
    let Message { subject, payload, headers, .. } = message;
    at(position, &subject, payload, read(headers))
}

/// The event of a message that was fetched from its stream.
pub(crate) fn fetched(message: Stored) -> Event {
    let Stored { subject, position, headers, payload, .. } = message;
    at(&position, &subject, payload, headers)
}

fn at(position: &Position, subject: &str, payload: Bytes, headers: Headers) -> Event {
    let id = format!("nats:{}/{}", visible(&position.stream), position.sequence);
    let mut event = event(EventId::new(id), subject, payload, headers);
    event.stamp = (position.published, 0);
    event.occurred_at = Some(time(position.published));
    event.delivery_count = Some(position.delivered);
    let number = |number: u64| Bytes::from(number.to_string());
    event.headers = vec![
        (STREAM.name, Bytes::copy_from_slice(position.stream.as_bytes())),
        (SEQUENCE.name, number(position.sequence)),
        (DELIVERED.name, number(position.delivered.into())),
    ];
    event
}

fn event(id: EventId, subject: &str, payload: Bytes, headers: Headers) -> Event {
    let payload = if payload.len() <= COPIED { Bytes::copy_from_slice(&payload) } else { payload };
    let mut event = Event::new(id, Arc::from(subject), payload);
    event.content_type = content_type(&headers);
    event.attributes = headers;
    event
}

/// Header names have case in NATS; whoever sets a content type writes it in one of these ways.
fn content_type(headers: &Headers) -> Option<Bytes> {
    let named = |name: &'static str| headers.iter().find(move |header| header.name == name);
    named("Content-Type").or_else(|| named("content-type"))?.value.clone()
}

/// By name, since the library does not keep the order of different names; that of one name's
/// values is kept.
fn read(headers: Option<HeaderMap>) -> Headers {
    let Some(headers) = headers else { return Headers::new() };
    let mut named: Vec<_> =
        headers.iter().map(|(name, values)| (name.to_string(), values)).collect();
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut read = Headers::new();
    for (name, values) in named {
        let name = Bytes::from(name);
        read.extend(values.iter().map(|value| Attribute {
            name: name.clone(),
            value: Some(Bytes::copy_from_slice(value.as_str().as_bytes())),
        }));
    }
    read
}

/// Visible ASCII, as an event's id must be: stream names may be anything.
fn visible(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn time(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: Option<HeaderMap>) -> Message {
        Message {
            subject: "orders.eu".into(),
            reply: Some("_INBOX.x".into()),
            payload: Bytes::from_static(b"\0\xff"),
            headers,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_kept_message_is_named_by_its_place_and_told_apart_by_its_time() {
        let position = Position {
            stream: "ORDERS 1".into(),
            sequence: 7,
            published: 1_700_000_000_123_456_789,
            delivered: 2,
        };
        let event = kept(message(None), &position);
        assert_eq!(event.id.as_str(), "nats:ORDERS%201/7");
        assert_eq!(event.stamp, (1_700_000_000_123_456_789, 0));
        assert_eq!(event.delivery_count, Some(2));
        assert_eq!(&*event.topic, "orders.eu");
        assert_eq!(&event.payload[..], b"\0\xff");
        let named: Vec<_> = event.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, own_headers().iter().map(|own| own.name.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn headers_keep_their_case_and_the_order_of_their_values() {
        let mut headers = HeaderMap::new();
        headers.append("Trace", "2");
        headers.append("Trace", "1");
        headers.append("Content-Type", "text/csv");
        let event = passing(message(Some(headers)), true);
        assert_eq!(event.content_type.as_deref(), Some(&b"text/csv"[..]));
        let pairs: Vec<_> = event
            .attributes
            .iter()
            .map(|a| (String::from_utf8_lossy(&a.name).into_owned(), a.value.clone().unwrap()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("Content-Type".to_owned(), Bytes::from("text/csv")),
                ("Trace".to_owned(), Bytes::from("2")),
                ("Trace".to_owned(), Bytes::from("1")),
            ]
        );
        assert!(event.wants_reply);
        assert!(event.id.as_str().starts_with("nats:"));
    }
}
