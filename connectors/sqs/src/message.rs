//! From a received message to an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use bytes::Bytes;
use connector_core::headers::{ALWAYS, OwnHeader};
use connector_core::{Attribute, Event, EventId, OrderKey};

use crate::queue::QueueRef;

const MESSAGE_ID: OwnHeader = OwnHeader::new(
    "x-sqs-message-id",
    ALWAYS,
    "The message's id, which it keeps however often it is received.",
    "5fea7756-0ea4-451a-a703-a558b933e274",
);
const QUEUE_URL: OwnHeader = OwnHeader::new(
    "x-sqs-queue-url",
    ALWAYS,
    "The queue it was received from.",
    "https://sqs.eu-west-1.amazonaws.com/123456789012/orders",
);
const RECEIVE_COUNT: OwnHeader = OwnHeader::new(
    "x-sqs-receive-count",
    ALWAYS,
    "How often SQS has handed it out, this time included.",
    "1",
);
const GROUP: OwnHeader = OwnHeader::new(
    "x-sqs-group",
    "the message has a group, as on a FIFO queue",
    "The message group.",
    "customer-17",
);

/// What functions are told about a delivery beside the message's own attributes.
pub(crate) fn own_headers() -> Vec<OwnHeader> {
    vec![MESSAGE_ID, QUEUE_URL, RECEIVE_COUNT, GROUP]
}

/// The types of those attributes of a message that are not plain `String`s, by name.
pub(crate) type DataTypes = HashMap<String, String>;

/// What the events of one queue have in common.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The queue's name, which functions are matched on.
    pub(crate) topic: Arc<str>,
    pub(crate) url: Arc<str>,
    /// The attribute by which a message names another topic.
    pub(crate) topic_attribute: Option<Arc<str>>,
}

/// A message, taken apart.
pub(crate) struct Received {
    /// What identifies the message, whoever receives it and how often.
    pub(crate) id: String,
    /// What identifies this receipt of it.
    pub(crate) handle: String,
    pub(crate) event: Event,
    /// `None`: all attributes are plain.
    pub(crate) types: Option<DataTypes>,
}

impl Origin {
    /// Takes a message apart. `None`: it has no id or no handle, which SQS never does.
    pub(crate) fn take(&self, message: Message) -> Option<Received> {
        let (id, handle) = (message.message_id?, message.receipt_handle?);
        let body = Bytes::from(message.body.unwrap_or_default());
        let mut event =
            Event::new(EventId::new(format!("sqs:{id}")), Arc::clone(&self.topic), body);
        let mut system = message.attributes.unwrap_or_default();

        event.headers.push((MESSAGE_ID.name, Bytes::from(id.clone())));
        event.headers.push((QUEUE_URL.name, Bytes::copy_from_slice(self.url.as_bytes())));
        if let Some(count) = system.remove(&MessageSystemAttributeName::ApproximateReceiveCount) {
            event.delivery_count = count.parse().ok();
            event.headers.push((RECEIVE_COUNT.name, Bytes::from(count)));
        }
        if let Some(group) = system.remove(&MessageSystemAttributeName::MessageGroupId) {
            // Standard queues may have groups too, but promise them no order.
            if self.topic.ends_with(".fifo") {
                event.order_key = Some(OrderKey::with(&self.url, None, Some(group.as_bytes())));
            }
            let group = Bytes::from(group);
            event.headers.push((GROUP.name, group.clone()));
            event.key = Some(group);
        }
        let sent = system.remove(&MessageSystemAttributeName::SentTimestamp);
        event.occurred_at = sent
            .and_then(|millis| millis.parse().ok())
            .map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis));

        let types = attributes(message.message_attributes.unwrap_or_default(), &mut event);
        if let Some(topic) = self.topic_attribute.as_deref().and_then(|name| text(&event, name)) {
            // By any of a queue's names it means that queue, as in a function's annotation.
            event.topic = match topic.parse::<QueueRef>() {
                Ok(queue) => queue.name().into(),
                Err(_) => topic.into(),
            };
        }
        Some(Received { id, handle, event, types })
    }
}

/// The text of an attribute. `None`: there is none, or it is empty or binary.
fn text<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    let attribute = event.attributes.iter().find(|it| *it.name == *name.as_bytes())?;
    let text = std::str::from_utf8(attribute.value.as_deref()?).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

fn attributes(
    attributes: HashMap<String, MessageAttributeValue>,
    event: &mut Event,
) -> Option<DataTypes> {
    let mut types = DataTypes::new();
    let mut attributes: Vec<_> = attributes.into_iter().collect();
    // The same on every delivery.
    attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in attributes {
        let data_type = value.data_type;
        if data_type != "String" {
            types.insert(name.clone(), data_type);
        }
        let value = match (value.string_value, value.binary_value) {
            (Some(text), _) => Some(Bytes::from(text)),
            (None, Some(bytes)) => Some(Bytes::from(bytes.into_inner())),
            (None, None) => None,
        };
        if name.eq_ignore_ascii_case("content-type") {
            event.content_type.clone_from(&value);
        }
        event.attributes.push(Attribute { name: Bytes::from(name), value });
    }
    Some(types).filter(|types| !types.is_empty())
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;

    use super::*;

    fn origin(name: &str) -> Origin {
        let url = format!("http://sqs:9324/1/{name}").into();
        Origin { topic: name.into(), url, topic_attribute: None }
    }

    fn message() -> aws_sdk_sqs::types::builders::MessageBuilder {
        Message::builder()
            .message_id("m-1")
            .receipt_handle("r-1")
            .body("héllo")
            .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "3")
            .attributes(MessageSystemAttributeName::SentTimestamp, "1700000000123")
            .attributes(MessageSystemAttributeName::MessageGroupId, "g")
    }

    fn value(data_type: &str, text: &str) -> MessageAttributeValue {
        MessageAttributeValue::builder()
            .data_type(data_type)
            .string_value(text)
            .build()
            .expect("complete")
    }

    #[test]
    fn a_message_becomes_an_event() {
        let image = MessageAttributeValue::builder()
            .data_type("Binary.png")
            .binary_value(Blob::new([0_u8, 255]))
            .build()
            .expect("complete");
        let message = message()
            .message_attributes("n", value("Number", "7"))
            .message_attributes("Content-Type", value("String", "application/json"))
            .message_attributes("image", image)
            .build();
        let received = origin("orders").take(message).expect("whole");
        let event = received.event;
        assert_eq!((&*received.id, &*received.handle), ("m-1", "r-1"));
        assert_eq!(event.id.as_str(), "sqs:m-1");
        assert_eq!(&*event.payload, "héllo".as_bytes());
        assert_eq!(event.delivery_count, Some(3));
        assert_eq!(event.order_key, None, "a standard queue promises no order");
        assert_eq!(event.content_type.as_deref(), Some(&b"application/json"[..]));
        let since = event.occurred_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        assert_eq!(since, Some(Duration::from_millis(1_700_000_000_123)));
        let headers: Vec<_> = event.headers.iter().map(|(n, v)| (n.as_str(), &**v)).collect();
        assert_eq!(
            headers,
            [
                ("x-sqs-message-id", &b"m-1"[..]),
                ("x-sqs-queue-url", b"http://sqs:9324/1/orders"),
                ("x-sqs-receive-count", b"3"),
                ("x-sqs-group", b"g"),
            ]
        );
        let names: Vec<_> = event.attributes.iter().map(|a| &*a.name).collect();
        assert_eq!(names, [&b"Content-Type"[..], b"image", b"n"]);
        let types = received.types.expect("not all plain");
        assert_eq!((types.len(), &*types["n"], &*types["image"]), (2, "Number", "Binary.png"));
    }

    #[test]
    fn a_message_may_name_its_topic() {
        let origin = Origin { topic_attribute: Some("Topic".into()), ..origin("orders") };
        let topic_of = |name: &str, text: &str| {
            let message = message().message_attributes(name, value("String", text)).build();
            origin.take(message).expect("whole").event.topic
        };
        assert_eq!(&*topic_of("Topic", "order.paid"), "order.paid");
        assert_eq!(&*topic_of("topic", "order.paid"), "orders", "names are exact");
        assert_eq!(&*topic_of("Topic", ""), "orders");
        assert_eq!(&*topic_of("Topic", "http://sqs:9324/1/refunds"), "refunds");
        let message = message().message_attributes("Topic", value("String", "order.paid")).build();
        let event = self::origin("orders").take(message).expect("whole").event;
        assert_eq!(&*event.topic, "orders", "unless that is asked for");
    }

    #[test]
    fn groups_of_a_fifo_queue_are_ordered_and_those_of_two_queues_are_not_one() {
        let key =
            |queue: &str| origin(queue).take(message().build()).expect("whole").event.order_key;
        assert!(key("a.fifo").is_some());
        assert_eq!(key("a.fifo"), key("a.fifo"));
        assert_ne!(key("a.fifo"), key("b.fifo"));
    }
}
