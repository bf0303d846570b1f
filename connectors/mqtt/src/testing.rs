//! What tests outside of this crate look at.

use bytes::Bytes;
use connector_core::Event;
use connector_core::dead_letter::Letter;

use crate::client::{PublishProperties, Received};
use crate::dead_letter;
use crate::filter::{Filter, trimmed};
use crate::message::Reading;

/// Whether the first of two filters covers the second, and whether they overlap. `None`: one of them
/// is no filter.
#[must_use]
pub fn relation(one: &str, other: &str) -> Option<(bool, bool)> {
    let (one, other) = (Filter::parse(one).ok()?, Filter::parse(other).ok()?);
    Some((one.covers(&other), one.overlaps(&other)))
}

/// Whether a filter matches a topic once both have lost their first level, and that topic.
#[must_use]
pub fn matches_trimmed<'a>(filter: &str, topic: &'a str) -> Option<(bool, &'a str)> {
    let topic = trimmed(topic);
    Some((Filter::parse(filter).ok()?.trimmed().matches(topic), topic))
}

/// The event of a message on `topic` with these user properties, and where its answer goes.
#[must_use]
pub fn event(
    topic: &str,
    response_topic: Option<String>,
    user_properties: Vec<(String, String)>,
) -> (Event, Option<String>) {
    let reading = Reading { trim_channel_key: false, max_packet_bytes: 1 << 20, among: None };
    let message = Received {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::new(),
        bytes: 0,
        qos: 1,
        retain: false,
        dup: false,
        properties: Some(PublishProperties {
            response_topic,
            user_properties,
            ..PublishProperties::default()
        }),
        place: None,
    };
    let (event, reply_to) = reading.event(topic, message);
    (event, reply_to.map(|to| to.topic))
}

/// The user properties of a letter.
#[must_use]
pub fn letter(letter: &Letter) -> Vec<(String, String)> {
    dead_letter::properties(letter).user_properties
}
