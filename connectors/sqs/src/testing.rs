//! What tests outside of this crate look at.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use connector_core::Event;
use connector_core::dead_letter::Letter;

use crate::api::RedrivePolicy;
use crate::dead_letter::{own_attributes, with_notes};
use crate::message::{DataTypes, Origin};

/// The attributes of a message by name: the type, and the bytes of the value.
pub type Attributes = BTreeMap<String, (String, Vec<u8>)>;

/// What was received, as an event, with what its letter needs to know.
pub struct Received {
    /// The event.
    pub event: Event,
    types: DataTypes,
}

/// Receives a message with these attributes of its own, and of the queue's.
///
/// # Panics
/// When a value is not text and its type does not begin with `Binary`: SQS takes no such message.
#[must_use]
pub fn received(own: &Attributes, system: &[(&str, &str)]) -> Option<Received> {
    let value = |(data_type, bytes): &(String, Vec<u8>)| {
        let value = MessageAttributeValue::builder().data_type(data_type);
        let value = match data_type.starts_with("Binary") {
            true => value.binary_value(Blob::new(bytes.clone())),
            false => value.string_value(str::from_utf8(bytes).expect("it is text")),
        };
        value.build().expect("it has a type")
    };
    let own: HashMap<_, _> = own.iter().map(|(name, it)| (name.clone(), value(it))).collect();
    let system = system.iter();
    let system =
        system.map(|(name, text)| (MessageSystemAttributeName::from(*name), (*text).into()));
    let message = Message::builder()
        .message_id("m-1")
        .receipt_handle("r-1")
        .set_message_attributes(Some(own))
        .set_attributes(Some(system.collect()))
        .build();
    let url = "http://sqs:9324/1/orders.fifo";
    let origin = Origin { topic: "orders.fifo".into(), url: url.into(), topic_attribute: None };
    let received = origin.take(message)?;
    Some(Received { event: received.event, types: received.types.unwrap_or_default() })
}

/// The attributes of a letter: those of its message, and those with the notes.
///
/// # Errors
/// Why there is none.
pub fn letter(letter: &Letter, received: &Received) -> Result<(Attributes, Attributes), String> {
    let own = own_attributes(letter, &received.types).map_err(|trouble| trouble.why)?;
    let noted = with_notes(own.clone(), letter).map_err(|trouble| trouble.why)?;
    Ok((plain(own), plain(noted)))
}

fn plain(attributes: HashMap<String, MessageAttributeValue>) -> Attributes {
    let plain = |value: MessageAttributeValue| {
        let bytes = match (value.string_value, value.binary_value) {
            (Some(text), _) => text.into_bytes(),
            (None, bytes) => bytes.map(Blob::into_inner).unwrap_or_default(),
        };
        (value.data_type, bytes)
    };
    attributes.into_iter().map(|(name, value)| (name, plain(value))).collect()
}

/// Where a queue moves messages that keep coming back, and after how many deliveries.
#[must_use]
pub fn redrive_policy(text: &str) -> Option<(String, u32)> {
    RedrivePolicy::read(text).map(|policy| (policy.target, policy.deliveries))
}
