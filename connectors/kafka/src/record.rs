//! From a Kafka record to an event.
//!
//! Everything is copied out of the record once: a record that is kept pins the whole fetch it came
//! with, and borrows the consumer.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use connector_core::headers::{ALWAYS, OwnHeader};
use connector_core::{Attribute, Event, EventId, OrderKey};
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::config::Ordering;
use crate::progress::Place;
use crate::raw;

const PARTITION: OwnHeader =
    OwnHeader::new("x-kafka-partition", ALWAYS, "The partition that the record is in.", "3");
const OFFSET: OwnHeader =
    OwnHeader::new("x-kafka-offset", ALWAYS, "The record's offset in it.", "1207");
const KEY: OwnHeader = OwnHeader::new(
    "x-kafka-key",
    "the record has a key",
    "The key. One that no header can carry is base64, with `X-Kafka-Key-Enc: b64` beside it.",
    "user-17",
);
const TIMESTAMP: OwnHeader = OwnHeader::new(
    "x-kafka-timestamp",
    "the record has a timestamp",
    "Milliseconds since 1970.",
    "1700000000123",
);

/// Tells a record without a value (a tombstone) from one whose value is empty: as the body of a
/// request the two look the same.
pub(crate) const TOMBSTONE: OwnHeader = OwnHeader::new(
    "x-kafka-tombstone",
    "the record has no value, which is not the same as an empty one",
    "`true`.",
    "true",
);

/// What functions are told about a record beside its own headers.
pub(crate) fn own_headers() -> Vec<OwnHeader> {
    vec![PARTITION, OFFSET, KEY, TIMESTAMP, TOMBSTONE]
}

/// The most that an event tells of its record in text, beside the topic: `kafka:`, partition, offset
/// and timestamp.
const TOLD: usize = 64;

/// One record, no longer bound to the consumer.
pub(crate) struct Record {
    pub(crate) offset: i64,
    /// Milliseconds since 1970; -1 when it has none.
    timestamp: i64,
    epoch: i32,
    /// The value, the key behind it, and room for what an event tells of its record: all in one
    /// piece, because thousands of records wait and pieces cost more than what is in them.
    bytes: Vec<u8>,
    /// How long the value is; `None`: it has none.
    value: Option<usize>,
    /// How long the key is; `None`: it has none.
    key: Option<usize>,
    headers: Vec<Attribute>,
}

impl Record {
    pub(crate) fn copy(message: &BorrowedMessage<'_>) -> Self {
        let (value, key) = (message.payload(), message.key());
        let whole = [value, key].map(Option::unwrap_or_default);
        let length: usize = whole.iter().map(|part| part.len()).sum();
        let mut bytes = Vec::with_capacity(length + message.topic().len() + TOLD);
        whole.iter().for_each(|part| bytes.extend_from_slice(part));
        Self {
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            epoch: raw::leader_epoch(message),
            bytes,
            value: value.map(<[u8]>::len),
            key: key.map(<[u8]>::len),
            headers: raw::headers(message),
        }
    }

    /// A record without headers, as a model has it.
    #[cfg(test)]
    pub(crate) fn of(offset: i64, timestamp: i64, key: &[u8], value: &[u8]) -> Self {
        Self {
            offset,
            timestamp,
            epoch: 0,
            bytes: [value, key].concat(),
            value: Some(value.len()),
            key: Some(key.len()),
            headers: Vec::new(),
        }
    }

    /// How many bytes of `buffer_bytes` it takes: value, key and headers.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.headers.iter().map(Attribute::bytes).sum::<usize>()
    }

    /// Where it stands, `previous` being the offset of the record received before it.
    pub(crate) fn place(&self, previous: i64) -> Place {
        Place { offset: self.offset, previous, timestamp: self.timestamp, epoch: self.epoch }
    }

    /// The event that functions are called for.
    pub(crate) fn into_event(self, topic: &Arc<str>, partition: i32, ordering: Ordering) -> Event {
        let Self { offset, timestamp, epoch, mut bytes, value, key, headers: attributes } = self;
        let value_at = 0..value.unwrap_or(0);
        let key_at = key.map(|length| value_at.end..value_at.end + length);
        let mut written = |part: fmt::Arguments<'_>| {
            let begin = bytes.len();
            bytes.write_fmt(part).expect("memory takes everything");
            begin..bytes.len()
        };
        // The id has the numbers that the headers repeat.
        let id_begins = written(format_args!("kafka:{topic}/")).start;
        let partition_at = written(format_args!("{partition}"));
        written(format_args!("@"));
        let offset_at = written(format_args!("{offset}"));
        let id_at = id_begins..offset_at.end;
        let timestamp_at = (timestamp >= 0).then(|| written(format_args!("{timestamp}")));

        let bytes = Bytes::from(bytes);
        let key = key_at.map(|at| bytes.slice(at));
        let mut headers = Vec::with_capacity(4 + usize::from(value.is_none()));
        headers.push((PARTITION.name, bytes.slice(partition_at)));
        headers.push((OFFSET.name, bytes.slice(offset_at)));
        headers.extend(key.clone().map(|key| (KEY.name, key)));
        headers.extend(timestamp_at.map(|at| (TIMESTAMP.name, bytes.slice(at))));
        if value.is_none() {
            headers.push((TOMBSTONE.name, Bytes::from_static(b"true")));
        }

        let id = EventId::shared(bytes.slice(id_at));
        let mut event = Event::new(id, Arc::clone(topic), bytes.slice(value_at));
        // A topic that was deleted and created again counts its offsets from zero: these two tell
        // the records apart. Negative ones stand for "none" and stay distinct as they are.
        event.stamp = (timestamp.cast_unsigned(), u64::from(epoch.cast_unsigned()));
        event.content_type = attributes
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(b"content-type"))
            .and_then(|header| header.value.clone());
        event.occurred_at = u64::try_from(timestamp)
            .ok()
            .and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        event.order_key = match ordering {
            Ordering::None => None,
            Ordering::Partition => Some(OrderKey::of(topic, Some(partition))),
            // Records without a key count as one key, which is not the empty one.
            Ordering::Key => Some(OrderKey::with(topic, Some(partition), key.as_deref())),
        };
        event.headers = headers;
        event.attributes = attributes;
        event.key = key;
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
        Record {
            offset: 1207,
            timestamp: 1_700_000_000_123,
            epoch: 4,
            bytes: [value, key].map(Option::unwrap_or_default).concat(),
            value: value.map(<[u8]>::len),
            key: key.map(<[u8]>::len),
            headers: vec![Attribute {
                name: Bytes::from_static(b"Content-Type"),
                value: Some(Bytes::from_static(b"application/json")),
            }],
        }
    }

    #[test]
    fn an_event_carries_all_of_its_record() {
        let record = record(Some(b"\xff\x00"), Some(b"{}"));
        let event = record.into_event(&"orders".into(), 3, Ordering::Partition);
        assert_eq!(event.payload, b"{}".as_slice());
        assert_eq!(event.id.as_str(), "kafka:orders/3@1207");
        assert_eq!(event.stamp, (1_700_000_000_123, 4));
        assert_eq!(event.content_type.as_deref(), Some(b"application/json".as_slice()));
        assert_eq!(event.key.as_deref(), Some(b"\xff\x00".as_slice()));
        assert_eq!(event.attributes.len(), 1);
        let value = |name| event.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_ref());
        assert_eq!(value(PARTITION.name), Some(b"3".as_slice()));
        assert_eq!(value(OFFSET.name), Some(b"1207".as_slice()));
        assert_eq!(value(KEY.name), Some(b"\xff\x00".as_slice()));
        assert_eq!(value(TIMESTAMP.name), Some(b"1700000000123".as_slice()));
        assert_eq!(value(TOMBSTONE.name), None);
    }

    #[test]
    fn all_that_a_record_holds_is_counted() {
        assert_eq!(record(Some(b"key"), Some(b"value")).size(), 3 + 5 + 12 + 16);
        assert_eq!(record(None, None).size(), 12 + 16);
    }

    #[test]
    fn a_tombstone_is_told_from_an_empty_value() {
        let tombstone = record(Some(b"k"), None);
        let empty = record(Some(b"k"), Some(b""));
        let says = |record: Record| {
            let event = record.into_event(&"orders".into(), 3, Ordering::None);
            assert!(event.payload.is_empty());
            event.headers.iter().any(|(name, _)| *name == TOMBSTONE.name)
        };
        assert!(says(tombstone));
        assert!(!says(empty));
    }

    #[test]
    fn keys_order_by_themselves_and_no_key_is_one_key() {
        let key = |key: Option<&'static [u8]>, ordering| {
            record(key, Some(b"{}")).into_event(&"orders".into(), 3, ordering).order_key
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
