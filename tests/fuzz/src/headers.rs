//! The headers of a call. Input: the topic, and below it attributes as lines `name=value`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector_core::headers::{HeaderRules, compose as composed, with_attempt};
use connector_core::testing::Settings;
use connector_core::{Attribute, Event, EventId};
use http::{HeaderMap, HeaderName};
use kafka_connector::Kafka;

use crate::{attribute, bytes_of};

const PREFIX: &str = "x-kafka-";

thread_local! {
    static RULES: HeaderRules = {
        let settings = Settings::<Kafka>::of(&[]);
        HeaderRules::new("kafka", "X-Kafka-", &settings.core.content_type)
    };
}

pub(crate) fn compose(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let topic = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut event = Event::new(EventId::new("kafka:t/0@1"), topic.clone().into(), Bytes::new());
    event.attributes = lines.map(attribute).collect();
    let headers = RULES.with(|rules| composed(&event, rules));
    let Ok(headers) = headers.and_then(|headers| with_attempt(headers, 1)) else {
        assert!(data.len() > 1 << 15, "short headers are not too large");
        return;
    };
    assert_eq!(recovered(&headers), given(&event.attributes));
    assert_eq!(values(&headers, "x-topic"), [Some(topic.into_bytes())]);
}

type Values = Vec<Option<Vec<u8>>>;

/// What was given, with names as far as they are told apart.
fn given(attributes: &[Attribute]) -> BTreeMap<Vec<u8>, Values> {
    let mut given: BTreeMap<Vec<u8>, Values> = BTreeMap::new();
    for Attribute { name, value } in attributes {
        let plain = std::str::from_utf8(name).is_ok_and(|name| {
            let name = name.to_ascii_lowercase();
            let marked = ["hex-", "header-"].iter().any(|mark| name.starts_with(mark))
                || ["-enc", "-null"].iter().any(|mark| name.ends_with(mark));
            !name.is_empty() && !marked && HeaderName::try_from(format!("{PREFIX}{name}")).is_ok()
        });
        let name = if plain { name.to_ascii_lowercase() } else { name.to_vec() };
        given.entry(name).or_default().push(value.as_ref().map(|value| value.to_vec()));
    }
    given
}

/// What a function finds in the headers that it gets.
fn recovered(headers: &HeaderMap) -> BTreeMap<Vec<u8>, Values> {
    let mut found = BTreeMap::new();
    for name in headers.keys() {
        let Some(rest) = name.as_str().strip_prefix(PREFIX) else { continue };
        if rest.ends_with("-enc") || rest.ends_with("-null") {
            continue;
        }
        let attribute = match (rest.strip_prefix("hex-"), rest.strip_prefix("header-")) {
            (Some(hex), _) => bytes_of(hex),
            (_, Some(name)) => name.as_bytes().to_vec(),
            _ => rest.as_bytes().to_vec(),
        };
        found.insert(attribute, values(headers, name.as_str()));
    }
    found
}

fn values(headers: &HeaderMap, name: &str) -> Values {
    let encoded = headers.get(format!("{name}-enc")).is_some();
    let absent: Vec<_> = headers.get_all(format!("{name}-null")).iter().collect();
    let read = headers.get_all(name).iter().enumerate().map(|(at, value)| {
        let value = value.as_bytes();
        let value = if encoded { STANDARD.decode(value).expect("base64") } else { value.to_vec() };
        (absent.get(at).is_none_or(|absent| *absent != "true")).then_some(value)
    });
    read.collect()
}
