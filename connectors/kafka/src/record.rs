//! From a Kafka record to an event.
//!
//! Everything is copied out of the record once: a record that is kept pins the whole fetch it came
//! with, and borrows the consumer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use connector_core::{Attribute, Event, EventId, OrderKey};
use http::HeaderName;
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::config::Ordering;
use crate::progress::Place;
use crate::raw;

const PARTITION: HeaderName = HeaderName::from_static("x-kafka-partition");
const OFFSET: HeaderName = HeaderName::from_static("x-kafka-offset");
const KEY: HeaderName = HeaderName::from_static("x-kafka-key");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-kafka-timestamp");

/// Tells a record without a value (a tombstone) from one whose value is empty: as the body of a
/// request the two look the same.
pub(crate) const TOMBSTONE: HeaderName = HeaderName::from_static("x-kafka-tombstone");

/// Those of the above that a record may lack: none of its own headers poses as one of them.
pub(crate) const OWN_HEADERS: &[&str] = &["x-kafka-key", "x-kafka-timestamp", "x-kafka-tombstone"];

/// One record, no longer bound to the consumer.
pub(crate) struct Record {
    pub(crate) offset: i64,
    /// Milliseconds since 1970; -1 when it has none.
    timestamp: i64,
    epoch: i32,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<Attribute>,
}

impl Record {
    pub(crate) fn copy(message: &BorrowedMessage<'_>) -> Self {
        Self {
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            epoch: raw::leader_epoch(message),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: raw::headers(message),
        }
    }

    /// How many bytes of payload it holds.
    pub(crate) fn payload_len(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }

    /// Where it stands, `previous` being the offset of the record received before it.
    pub(crate) fn place(&self, previous: i64) -> Place {
        Place { offset: self.offset, previous, timestamp: self.timestamp, epoch: self.epoch }
    }

    /// The event that functions are called for.
    pub(crate) fn into_event(self, topic: &Arc<str>, partition: i32, ordering: Ordering) -> Event {
        // One text, of which the id and each header show their part: one allocation, not many.
        let mut text = String::with_capacity(topic.len() + 64);
        let mut written = |part: std::fmt::Arguments<'_>| {
            let begin = text.len();
            text.write_fmt(part).expect("a string takes everything");
            begin..text.len()
        };
        written(format_args!("kafka:{topic}/"));
        let partition_at = written(format_args!("{partition}"));
        written(format_args!("@"));
        let offset_at = written(format_args!("{}", self.offset));
        let id_at = 0..offset_at.end;
        let timestamp_at =
            (self.timestamp >= 0).then(|| written(format_args!("{}", self.timestamp)));
        let text = Bytes::from(text);
        let id = EventId::shared(text.slice(id_at));
        let mut headers = Vec::with_capacity(4 + usize::from(self.value.is_none()));
        headers.push((PARTITION, text.slice(partition_at)));
        headers.push((OFFSET, text.slice(offset_at)));
        headers.extend(self.key.clone().map(|key| (KEY, key)));
        headers.extend(timestamp_at.map(|at| (TIMESTAMP, text.slice(at))));
        if self.value.is_none() {
            headers.push((TOMBSTONE, Bytes::from_static(b"true")));
        }

        let mut event = Event::new(id, Arc::clone(topic), self.value.unwrap_or_default());
        // A topic that was deleted and created again counts its offsets from zero: these two tell
        // the records apart. Negative ones stand for "none" and stay distinct as they are.
        event.stamp = (self.timestamp.cast_unsigned(), u64::from(self.epoch.cast_unsigned()));
        event.content_type = self
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(b"content-type"))
            .and_then(|header| header.value.clone());
        event.occurred_at = u64::try_from(self.timestamp)
            .ok()
            .and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        event.order_key = match ordering {
            Ordering::None => None,
            Ordering::Partition => Some(OrderKey::of(topic, Some(partition))),
            // Records without a key count as one key, which is not the empty one.
            Ordering::Key => Some(OrderKey::with(topic, Some(partition), self.key.as_deref())),
        };
        event.headers = headers;
        event.attributes = self.headers;
        event.key = self.key;
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            offset: 1207,
            timestamp: 1_700_000_000_123,
            epoch: 4,
            key: Some(Bytes::from_static(b"\xff\x00")),
            value: Some(Bytes::from_static(b"{}")),
            headers: vec![Attribute {
                name: Bytes::from_static(b"Content-Type"),
                value: Some(Bytes::from_static(b"application/json")),
            }],
        }
    }

    #[test]
    fn an_event_carries_all_of_its_record() {
        let event = record().into_event(&"orders".into(), 3, Ordering::Partition);
        assert_eq!(event.id.as_str(), "kafka:orders/3@1207");
        assert_eq!(event.stamp, (1_700_000_000_123, 4));
        assert_eq!(event.content_type.as_deref(), Some(b"application/json".as_slice()));
        assert_eq!(event.key.as_deref(), Some(b"\xff\x00".as_slice()));
        assert_eq!(event.attributes.len(), 1);
        let value = |name| event.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_ref());
        assert_eq!(value(PARTITION), Some(b"3".as_slice()));
        assert_eq!(value(OFFSET), Some(b"1207".as_slice()));
        assert_eq!(value(KEY), Some(b"\xff\x00".as_slice()));
        assert_eq!(value(TIMESTAMP), Some(b"1700000000123".as_slice()));
        assert_eq!(value(TOMBSTONE), None);
    }

    #[test]
    fn a_tombstone_is_told_from_an_empty_value() {
        let tombstone = Record { value: None, ..record() };
        let empty = Record { value: Some(Bytes::new()), ..record() };
        let says = |record: Record| {
            let event = record.into_event(&"orders".into(), 3, Ordering::None);
            assert!(event.payload.is_empty());
            event.headers.iter().any(|(name, _)| *name == TOMBSTONE)
        };
        assert!(says(tombstone));
        assert!(!says(empty));
    }

    #[test]
    fn keys_order_by_themselves_and_no_key_is_one_key() {
        let key = |key: Option<&'static [u8]>, ordering| {
            Record { key: key.map(Bytes::from_static), ..record() }
                .into_event(&"orders".into(), 3, ordering)
                .order_key
        };
        assert_eq!(key(Some(b"a"), Ordering::Key), key(Some(b"a"), Ordering::Key));
        assert_ne!(key(Some(b"a"), Ordering::Key), key(Some(b"b"), Ordering::Key));
        assert_eq!(key(None, Ordering::Key), key(None, Ordering::Key));
        assert_ne!(key(None, Ordering::Key), key(Some(b""), Ordering::Key));
        assert_ne!(key(None, Ordering::Key), key(Some(b"\0"), Ordering::Key));
        assert_eq!(key(Some(b"a"), Ordering::Partition), key(None, Ordering::Partition));
        assert_eq!(key(Some(b"a"), Ordering::None), None);
    }
}
