//! From a message as the broker delivers it to an event.

use std::sync::Arc;

use bytes::Bytes;
use connector_core::event::{Among, Attribute, Event, EventId, OrderKey};
use connector_core::headers::{ALWAYS, OwnHeader};

use crate::client::{PublishProperties, Received};
use crate::filter;

const QOS: OwnHeader =
    OwnHeader::new("x-mqtt-qos", ALWAYS, "The quality of service that this delivery has.", "1");
const RETAIN: OwnHeader = OwnHeader::new(
    "x-mqtt-retain",
    ALWAYS,
    "Whether the broker had kept the message for whoever subscribes.",
    "false",
);
const DUP: OwnHeader = OwnHeader::new(
    "x-mqtt-dup",
    ALWAYS,
    "Whether the broker says that it may have delivered the message before.",
    "false",
);
const PAYLOAD_FORMAT: OwnHeader = OwnHeader::new(
    "x-mqtt-payload-format",
    "the message says it (MQTT 5)",
    "1: the payload is UTF-8 text. 0: it is bytes.",
    "1",
);
const MESSAGE_EXPIRY: OwnHeader = OwnHeader::new(
    "x-mqtt-message-expiry",
    "the message expires (MQTT 5)",
    "How many seconds were left when the broker delivered it.",
    "60",
);
const RESPONSE_TOPIC: OwnHeader = OwnHeader::new(
    "x-mqtt-response-topic",
    "the message is a question (MQTT 5)",
    "Where its answer is published.",
    "answers/17",
);
const CORRELATION_DATA: OwnHeader = OwnHeader::new(
    "x-mqtt-correlation-data",
    "the message has such data (MQTT 5)",
    "What its publisher knows the answer by.",
    "question-17",
);

/// What functions are told about a delivery beside the message's user properties.
pub(crate) fn own_headers() -> Vec<OwnHeader> {
    vec![QOS, RETAIN, DUP, PAYLOAD_FORMAT, MESSAGE_EXPIRY, RESPONSE_TOPIC, CORRELATION_DATA]
}

/// A payload up to this size is copied: it is a slice of the connection's read buffer, which a
/// small one would keep from being used again.
const COPIED: usize = 4096;

/// Where the publisher waits for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    pub(crate) topic: String,
    pub(crate) correlation_data: Option<Bytes>,
}

/// How messages of one session become events.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) trim_channel_key: bool,
    pub(crate) max_packet_bytes: usize,
    /// The functions the session is for; without it, all that match.
    pub(crate) among: Option<Among>,
}

impl Reading {
    /// Reads one message on `topic`, which has been found to be text.
    pub(crate) fn event(&self, topic: &str, message: Received) -> (Event, Option<ReplyTo>) {
        let shown = if self.trim_channel_key { filter::trimmed(topic) } else { topic };
        let payload = match message.payload.len() {
            ..=COPIED => Bytes::copy_from_slice(&message.payload),
            _ => message.payload,
        };
        let mut event = Event::new(EventId::unique("mqtt"), Arc::from(shown), payload);
        event.order_key = Some(OrderKey::of(topic, None));
        event.among = self.among.clone();
        event.oversize = (message.bytes > self.max_packet_bytes).then_some(self.max_packet_bytes);
        let qos: &'static [u8] = match message.qos {
            0 => b"0",
            1 => b"1",
            _ => b"2",
        };
        event.headers = vec![
            (QOS.name, Bytes::from_static(qos)),
            (RETAIN.name, truth(message.retain)),
            (DUP.name, truth(message.dup)),
        ];
        let reply_to = message.properties.and_then(|properties| add(&mut event, properties));
        event.wants_reply = reply_to.is_some();
        (event, reply_to)
    }
}

/// Adds what only MQTT 5 has.
fn add(event: &mut Event, properties: PublishProperties) -> Option<ReplyTo> {
    let PublishProperties {
        payload_format_indicator,
        message_expiry_interval,
        response_topic,
        correlation_data,
        user_properties,
        content_type,
        // An affair between broker and client.
        topic_alias: _,
        subscription_identifiers: _,
    } = properties;
    event.content_type = content_type.map(Bytes::from);
    if let Some(format) = payload_format_indicator {
        event.headers.push((PAYLOAD_FORMAT.name, format.to_string().into()));
    }
    if let Some(seconds) = message_expiry_interval {
        event.headers.push((MESSAGE_EXPIRY.name, seconds.to_string().into()));
    }
    if let Some(topic) = &response_topic {
        event.headers.push((RESPONSE_TOPIC.name, Bytes::copy_from_slice(topic.as_bytes())));
    }
    if let Some(data) = &correlation_data {
        event.headers.push((CORRELATION_DATA.name, data.clone()));
    }
    event.attributes = user_properties
        .into_iter()
        .map(|(name, value)| Attribute { name: name.into(), value: Some(value.into()) })
        .collect();
    let topic = response_topic.filter(|topic| filter::check_topic(topic).is_ok())?;
    Some(ReplyTo { topic, correlation_data })
}

fn truth(yes: bool) -> Bytes {
    Bytes::from_static(if yes { b"true" } else { b"false" })
}

#[cfg(test)]
mod tests {
    use connector_core::event::FunctionName;
    use std::collections::BTreeMap;

    use super::*;

    const READING: Reading =
        Reading { trim_channel_key: false, max_packet_bytes: 100, among: None };

    fn received(properties: Option<PublishProperties>) -> Received {
        Received {
            topic: Bytes::from_static(b"key/t"),
            payload: Bytes::from_static(b"\0\xff"),
            bytes: 10,
            qos: 1,
            retain: true,
            dup: false,
            properties,
            place: None,
        }
    }

    fn headers(event: &Event) -> BTreeMap<&str, &[u8]> {
        event.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect()
    }

    #[test]
    fn a_message_of_3_1_1() {
        let (event, reply_to) = READING.event("key/t", received(None));
        assert_eq!((&*event.topic, &event.payload[..]), ("key/t", &b"\0\xff"[..]));
        assert_eq!(reply_to, None);
        assert_eq!(
            headers(&event),
            BTreeMap::from([
                ("x-mqtt-qos", &b"1"[..]),
                ("x-mqtt-retain", b"true"),
                ("x-mqtt-dup", b"false"),
            ])
        );
        assert_eq!(event.order_key, Some(OrderKey::of("key/t", None)));
        assert!(event.id.as_str().starts_with("mqtt:") && event.delivery_count.is_none());
        assert!(!event.wants_reply && event.oversize.is_none());
    }

    #[test]
    fn the_channel_key_is_dropped_for_functions_and_kept_for_order() {
        let reading = Reading { trim_channel_key: true, ..READING };
        let (event, _) = reading.event("key/t", received(None));
        assert_eq!(&*event.topic, "t");
        assert_eq!(event.order_key, Some(OrderKey::of("key/t", None)));
    }

    #[test]
    fn no_two_messages_have_one_id() {
        let one = READING.event("t", received(None)).0.id;
        assert_ne!(one, READING.event("t", received(None)).0.id);
    }

    #[test]
    fn the_properties_of_5() {
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(60),
            topic_alias: None,
            response_topic: Some("answers/1".to_owned()),
            correlation_data: Some(Bytes::from_static(b"\x01\x02")),
            user_properties: vec![
                ("a".to_owned(), "1".to_owned()),
                ("a".to_owned(), "2".to_owned()),
            ],
            subscription_identifiers: vec![7],
            content_type: Some("text/csv".to_owned()),
        };
        let (event, reply_to) = READING.event("t", received(Some(properties)));
        assert!(event.wants_reply);
        assert_eq!(event.content_type.as_deref(), Some(&b"text/csv"[..]));
        assert_eq!(event.attributes.len(), 2);
        let headers = headers(&event);
        assert_eq!(headers["x-mqtt-payload-format"], b"1");
        assert_eq!(headers["x-mqtt-message-expiry"], b"60");
        assert_eq!(headers["x-mqtt-response-topic"], b"answers/1");
        assert_eq!(headers["x-mqtt-correlation-data"], b"\x01\x02");
        let reply_to = reply_to.unwrap();
        assert_eq!(reply_to.topic, "answers/1");
        assert_eq!(reply_to.correlation_data.as_deref(), Some(&b"\x01\x02"[..]));
    }

    #[test]
    fn a_response_topic_nobody_can_publish_to_is_only_shown() {
        let properties =
            PublishProperties { response_topic: Some("a/#".to_owned()), ..Default::default() };
        let (event, reply_to) = READING.event("t", received(Some(properties)));
        assert!(!event.wants_reply && reply_to.is_none());
        assert_eq!(headers(&event)["x-mqtt-response-topic"], b"a/#");
    }

    #[test]
    fn what_is_too_large_says_so() {
        let reading = Reading { max_packet_bytes: 9, ..READING };
        assert_eq!(reading.event("t", received(None)).0.oversize, Some(9));
    }

    #[test]
    fn a_session_may_be_for_some_functions_only() {
        let among = Among::new(|function| function.as_str() == "mine");
        let reading = Reading { among: Some(among), ..READING };
        let among = reading.event("t", received(None)).0.among.unwrap();
        assert!(among.holds(&FunctionName::new("mine")));
        assert!(!among.holds(&FunctionName::new("theirs")));
    }
}
