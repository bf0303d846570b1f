//! What brokers deliver, and tell of it.

use std::collections::BTreeMap;
use std::str::from_utf8;

use bytes::Bytes;
use connector_core::Attribute;
use kafka_connector::testing::metadata_again;
use nats_connector::testing::{delivered, refused, skipped, stored_headers};
use sqs_connector::testing::{Attributes, letter, received};

use crate::{attribute, halves, letters};

/// What is found with a commit. Input: the committed offset as a decimal number, and on the next
/// line the metadata.
pub(crate) fn kafka_metadata(data: &[u8]) {
    let cut = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let committed = from_utf8(&data[..cut]).ok().and_then(|text| text.parse().ok());
    let Some(committed) = committed else { return };
    let Some(again) = metadata_again(data.get(cut + 1..).unwrap_or_default(), committed) else {
        return;
    };
    assert!(again.is_ascii() && again.len() <= 4_096, "no broker takes {again}");
    let twice = metadata_again(again.as_bytes(), committed);
    assert_eq!(twice.as_ref(), Some(&again), "what is written is not read as the same");
}

/// A message of MQTT 5. Input: its topic, the topic for the answer, and user properties as lines
/// `name=value`.
pub(crate) fn mqtt(data: &[u8]) {
    let Some((topic, rest)) = halves(data) else { return };
    let (response, properties) = rest.split_once('\n').unwrap_or((rest, ""));
    let properties: Vec<_> = properties.lines().filter_map(|line| line.split_once('=')).collect();
    let owned = properties.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let (event, reply_to) =
        mqtt_connector::testing::event(topic, Some(response.to_owned()), owned.collect());
    assert_eq!(&*event.topic, topic);
    let found = event.attributes.iter().map(|it| (&*it.name, it.value.as_deref().expect("text")));
    assert!(found.eq(properties.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))));
    assert_eq!(event.wants_reply, reply_to.is_some());
    // An answer to a pattern would end the connection, and to nothing as well.
    let fits = !response.is_empty() && !response.contains(['+', '#', '\0']);
    assert_eq!(reply_to.as_deref(), fits.then_some(response));
}

/// Where a message of JetStream stands: the subject that it is acknowledged on.
pub(crate) fn nats_delivery(data: &[u8]) {
    let Some(reply) = from_utf8(data).ok().filter(|text| !text.contains(char::is_whitespace))
    else {
        return;
    };
    let tokens: Vec<_> = reply.split('.').collect();
    // Of old, and with the domain and the account before the stream.
    let place = match &*tokens {
        ["$JS", "ACK", _, _, _, _, _, _, _] => &tokens[2..],
        ["$JS", "ACK", _, _, _, _, _, _, _, _, _, ..] => &tokens[4..11],
        _ => &[],
    };
    let number = |at: usize| place.get(at).and_then(|it: &&str| it.parse::<u32>().ok());
    let Some(event) = delivered(reply) else {
        let numbers = (2..7).all(|at| number(at).is_some());
        assert!(!numbers, "{reply} is a delivery");
        return;
    };
    assert!(!place.is_empty(), "{reply} is no delivery");
    let id = event.id.as_str().to_owned();
    assert!(id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
    if let Some(sequence) = number(3) {
        assert_eq!(id.rsplit('/').next(), Some(&*sequence.to_string()));
    }
    if let Some(count) = number(2) {
        assert_eq!(event.delivery_count, Some(count));
    }
}

/// The headers of a message as its stream keeps them; also as the words of a refusal, and as what
/// tells that a message was given up on.
pub(crate) fn nats_headers(data: &[u8]) {
    let (headers, is_readable) = stored_headers(data);
    let mut head = b"NATS/1.0\r\n".to_vec();
    for Attribute { name, value } in &headers {
        head.extend_from_slice(name);
        if let Some(value) = value {
            head.extend([b": ", &**value].concat());
        }
        head.extend(b"\r\n");
    }
    assert_eq!(stored_headers(&head).0, headers, "{}", head.escape_ascii());
    let is_text = |bytes: &Bytes| from_utf8(bytes).is_ok();
    assert!(
        !is_readable || headers.iter().all(|it| is_text(&it.name) && it.value.iter().all(is_text))
    );

    if let Some((sequence, _)) = skipped(data) {
        assert!(String::from_utf8_lossy(data).contains(&sequence.to_string()));
    }
    let Ok(text) = from_utf8(data) else { return };
    drop(refused(text));
    if !text.contains('"') {
        let words = format!("Permissions Violation for Publish to \"{text}\"");
        assert_eq!(refused(&words).as_deref(), Some(text));
    }
}

/// A message of SQS, and its dead letter. Input: how often it was received, and below it attributes
/// as lines `name=type value`.
pub(crate) fn sqs(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Ok(count) = from_utf8(lines.next().unwrap_or_default()) else { return };
    let own: Option<Attributes> = lines.map(attribute).map(sqs_attribute).collect();
    let Some(own) = own else { return };
    let system = [("ApproximateReceiveCount", count), ("SentTimestamp", count)];
    let received = received(&own, &system).expect("it has an id and a handle");

    let event = &received.event;
    assert_eq!(event.delivery_count, count.parse().ok());
    let found = event.attributes.iter().map(|it| (&*it.name, it.value.as_deref().expect("set")));
    assert!(found.eq(own.iter().map(|(name, (_, value))| (name.as_bytes(), &**value))));

    let about = letters::about(event.clone(), count.to_owned());
    let (kept, noted) = letter(&about, &received).expect("what SQS gave it takes");
    assert_eq!(kept, own, "a letter is not what its message was");
    assert!(noted.len() <= own.len().max(10), "SQS takes ten");
    let notes: BTreeMap<_, _> = noted.iter().filter(|(name, _)| !own.contains_key(*name)).collect();
    for (_, text) in notes.values() {
        let text = from_utf8(text).expect("a note is text");
        assert!(!text.is_empty() && !text.contains(|c: char| c.is_control() && c != '\n'));
    }
}

/// Name, type and value. `None`: no message has it.
fn sqs_attribute(attribute: Attribute) -> Option<(String, (String, Vec<u8>))> {
    let name = from_utf8(&attribute.name).ok()?.to_owned();
    let value = attribute.value?;
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (data_type, value) = (from_utf8(&value[..space]).ok()?, &value[space + 1..]);
    let fits = data_type.starts_with("Binary") || from_utf8(value).is_ok();
    fits.then(|| (name, (data_type.to_owned(), value.to_vec())))
}
