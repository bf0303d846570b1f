//! Dead letters, as each broker gets them. Input: what the function answered, and below it the
//! attributes of the message as lines `name=value`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector_core::dead_letter::Letter;
use connector_core::{Attribute, Event, EventId, FunctionName};

use crate::{assert_readable, attribute, bytes_of};

pub(crate) fn write(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let error = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut event = Event::new(EventId::new("kafka:t/0@1"), "t".into(), Bytes::new());
    event.attributes = lines.map(attribute).collect();
    let letter = about(event, error);
    for (name, value) in letter.notes() {
        assert!(!value.is_empty(), "{name} says nothing");
        assert_readable(&value, 1_000);
    }
    kafka(&letter);
    mqtt(&letter);
    nats(&letter);
}

/// A letter with all there is to say.
pub(crate) fn about(event: Event, error: String) -> Letter {
    Letter {
        event: Arc::new(event),
        function: Some(FunctionName::new("f")),
        reason: "refused",
        status: Some(400),
        error,
        attempts: 1,
        first: SystemTime::UNIX_EPOCH,
        last: SystemTime::UNIX_EPOCH,
        brief: false,
    }
}

/// A record's headers are kept byte for byte, and in order.
fn kafka(letter: &Letter) {
    let own = &letter.event.attributes;
    if own.iter().any(|attribute| attribute.name.contains(&0)) {
        return; // A name ends there, wherever it comes from: librdkafka's are those of C.
    }
    let notes = letter.notes().into_iter().map(|(name, value)| Attribute {
        name: Bytes::from_static(name.as_bytes()),
        value: Some(value.into()),
    });
    let all: Vec<_> = own.iter().cloned().chain(notes).collect();
    assert_eq!(kafka_connector::testing::letter(letter), all);
}

/// Whatever is not text does not come from an MQTT broker, and would not be taken by one.
fn mqtt(letter: &Letter) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own = letter.event.attributes.iter().map(|attribute| {
        (text(&attribute.name), text(attribute.value.as_deref().unwrap_or_default()))
    });
    let topic = [("X-Topic".to_owned(), letter.event.topic.to_string())];
    let notes = letter.notes().into_iter().map(|(name, value)| (name.to_owned(), value));
    let all: Vec<_> = own.chain(topic).chain(notes).collect();
    assert_eq!(mqtt_connector::testing::letter(letter), all);
}

/// What a header cannot hold is found in it again.
fn nats(letter: &Letter) {
    const MARK: &str = "X-Dead-Letter-";
    let mut given: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for Attribute { name, value } in &letter.event.attributes {
        if name.starts_with(MARK.as_bytes()) || name.ends_with(b"-Enc") {
            return; // Names of ours: who uses them may not be understood.
        }
        given.entry(name.to_vec()).or_default().push(value.as_deref().unwrap_or_default().to_vec());
    }
    let headers: BTreeMap<_, _> = nats_connector::testing::letter(letter).into_iter().collect();
    assert!(headers.values().flatten().all(|value| !value.contains(['\r', '\n'])), "{headers:?}");
    let mut found = BTreeMap::new();
    for (name, values) in &headers {
        if name.ends_with("-Enc") {
            continue;
        }
        let own = match name.strip_prefix("X-Dead-Letter-Header-") {
            Some(rest) => match rest.strip_prefix("Hex-") {
                Some(hex) => bytes_of(hex),
                None => rest.as_bytes().to_vec(),
            },
            None if name.starts_with(MARK) || name == "Nats-Msg-Id" => continue,
            None => name.as_bytes().to_vec(),
        };
        let encoded = headers.contains_key(&format!("{name}-Enc"));
        let bytes = |value: &String| match encoded {
            true => STANDARD.decode(value).expect("base64"),
            false => value.as_bytes().to_vec(),
        };
        found.insert(own, values.iter().map(bytes).collect::<Vec<_>>());
    }
    assert_eq!(found, given);
}
