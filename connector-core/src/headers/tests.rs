use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::event::EventId;

const PREFIX: &str = "X-Kafka-";

fn rules() -> HeaderRules {
    with_content_type(None)
}

fn with_content_type(configured: Option<&str>) -> HeaderRules {
    let fallback = Some("text/plain".to_owned());
    let content_type = ContentType { configured: configured.map(str::to_owned), fallback };
    HeaderRules::new("kafka", PREFIX, &content_type)
        .reserve(["x-kafka-key", "x-kafka-partition"].map(HeaderName::from_static))
}

fn event() -> Event {
    let payload = Bytes::from_static(b"{}");
    let mut event = Event::new(EventId::new("kafka:orders/3@7"), Arc::from("orders"), payload);
    event.headers = vec![(HeaderName::from_static("x-kafka-partition"), Bytes::from_static(b"3"))];
    event
}

fn attribute(name: impl AsRef<[u8]>, value: Option<&[u8]>) -> Attribute {
    let name = Bytes::copy_from_slice(name.as_ref());
    Attribute { name, value: value.map(Bytes::copy_from_slice) }
}

fn with(attributes: &[(&str, &str)]) -> HeaderMap {
    let mut event = event();
    let pairs = attributes.iter().map(|(name, value)| attribute(name, Some(value.as_bytes())));
    event.attributes = pairs.collect();
    compose(&event, &rules()).unwrap()
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

/// What a function reads the attributes from, by the table of the module: values by name, in
/// order.
fn recover(headers: &HeaderMap, own: &[HeaderName]) -> BTreeMap<Vec<u8>, Vec<Option<Bytes>>> {
    let mut attributes = BTreeMap::new();
    for name in headers.keys() {
        let text = name.as_str();
        let Some(rest) = text.strip_prefix("x-kafka-") else {
            continue;
        };
        if own.contains(name) || rest.ends_with("-enc") || rest.ends_with("-null") {
            continue;
        }
        let attribute = match (rest.strip_prefix("hex-"), rest.strip_prefix("header-")) {
            (Some(hex), _) => (0..hex.len() / 2)
                .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
                .collect(),
            (_, Some(name)) => name.as_bytes().to_vec(),
            _ => rest.as_bytes().to_vec(),
        };
        attributes.insert(attribute, values(headers, text));
    }
    attributes
}

/// The values of one header, read with its companions.
fn values(headers: &HeaderMap, name: &str) -> Vec<Option<Bytes>> {
    let encoded = headers.get(format!("{name}-enc")).is_some();
    let absent = all(headers, &format!("{name}-null"));
    let values = all(headers, name).into_iter().enumerate();
    let read = values.map(|(n, value)| {
        let value = if encoded { STANDARD.decode(value).unwrap() } else { value.into() };
        (absent.get(n) != Some(&"true")).then(|| Bytes::from(value))
    });
    read.collect()
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(String::into_bytes),
        "(hex|header|Hex|a)-?(61|a|partition|key)?(-enc|-null|-ENC)?".prop_map(String::into_bytes),
        "(partition|Partition|key|topic)(-enc|-null)?".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

fn any_value() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::weighted(
        0.9,
        prop_oneof![
            "[ -~]{0,8}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..12),
        ],
    )
}

proptest! {
    #[test]
    fn every_attribute_can_be_recovered(
        attributes in proptest::collection::vec((any_name(), any_value()), 0..12),
        key in any::<Option<Vec<u8>>>(),
        topic in "\\PC{1,8}",
    ) {
        let mut event = event();
        event.topic = topic.into();
        event.attributes =
            attributes.iter().map(|(name, value)| attribute(name, value.as_deref())).collect();
        if let Some(key) = &key {
            event.headers.push((HeaderName::from_static("x-kafka-key"), key.clone().into()));
        }
        let headers = compose(&event, &rules()).unwrap();

        let mut wanted: BTreeMap<Vec<u8>, Vec<Option<Bytes>>> = BTreeMap::new();
        for Attribute { name, value } in &event.attributes {
            // The case of ASCII letters is not kept where a header has the name as it is.
            let header = std::str::from_utf8(name).ok().filter(|name| !is_ambiguous(name));
            let plain = header.is_some_and(|name| HeaderName::try_from(format!("x{name}")).is_ok());
            let name = if plain { name.to_ascii_lowercase() } else { name.to_vec() };
            wanted.entry(name).or_default().push(value.clone());
        }
        let own = [HeaderName::from_static("x-kafka-partition"), HeaderName::from_static("x-kafka-key")];
        prop_assert_eq!(recover(&headers, &own), wanted);

        for (name, value) in &headers {
            prop_assert!(is_legal(value.as_bytes()), "{name}: {value:?}");
        }
        prop_assert_eq!(values(&headers, "x-topic"), [Some(Bytes::from(event.topic.to_string()))]);
        prop_assert_eq!(all(&headers, "x-kafka-partition"), ["3"]);
        let keys: Vec<_> = key.into_iter().map(|key| Some(Bytes::from(key))).collect();
        prop_assert_eq!(values(&headers, "x-kafka-key"), keys);
        for single in FIXED {
            prop_assert!(headers.get_all(&single).iter().count() <= 1, "{single}");
        }
    }
}

#[test]
fn an_event_carries_what_the_connector_says() {
    let headers = with_attempt(compose(&event(), &rules()).unwrap(), 2).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let told: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let agent = format!("tributary-kafka-connector/{version}");
    let wanted = BTreeMap::from([
        ("content-type", "text/plain"),
        ("user-agent", &*agent),
        ("x-connector", "kafka-connector"),
        ("x-event-attempt", "2"),
        ("x-event-id", "kafka:orders/3@7"),
        ("x-kafka-partition", "3"),
        ("x-topic", "orders"),
    ]);
    assert_eq!(told, wanted);
    assert_eq!(headers.len(), wanted.len(), "one value each");
}

#[test]
fn the_attempt_of_a_call_replaces_an_earlier_one() {
    let headers = with_attempt(with_attempt(with(&[]), 1).unwrap(), 2).unwrap();
    assert_eq!(all(&headers, "x-event-attempt"), ["2"]);
}

#[test]
fn the_users_content_type_wins_then_the_messages_then_the_default() {
    let told = |setting: Option<&str>, own: Option<&'static [u8]>| {
        let mut event = event();
        event.content_type = own.map(Bytes::from_static);
        let headers = compose(&event, &with_content_type(setting)).unwrap();
        headers.get(CONTENT_TYPE).unwrap().to_str().unwrap().to_owned()
    };
    let json: Option<&[u8]> = Some(b"application/json");
    assert_eq!(told(None, None), "text/plain");
    assert_eq!(told(None, json), "application/json");
    assert_eq!(told(Some("text/csv"), json), "text/csv");
    assert_eq!(told(None, Some(b"a\nb")), "text/plain");
    assert_eq!(told(None, Some(b"")), "text/plain");
}

#[test]
fn without_any_content_type_none_is_sent() {
    let rules = HeaderRules::new("nats", "X-Nats-", &ContentType::default());
    let event = Event { headers: Vec::new(), ..event() };
    assert!(!compose(&event, &rules).unwrap().contains_key(CONTENT_TYPE));
}

#[test]
fn ordinary_attributes_are_readable() {
    let headers = with(&[("OrderId", "17"), ("tag", "a"), ("tag", "b"), ("empty", "")]);
    assert_eq!(all(&headers, "x-kafka-orderid"), ["17"]);
    assert_eq!(all(&headers, "x-kafka-tag"), ["a", "b"]);
    assert_eq!(all(&headers, "x-kafka-empty"), [""]);
    assert!(headers.keys().all(|name| !name.as_str().ends_with("-enc")));
}

#[test]
fn an_attribute_cannot_pose_as_the_connector() {
    let headers = with(&[("Partition", "9"), ("key", "forged"), ("Partition-Enc", "b64")]);
    assert_eq!(all(&headers, "x-kafka-partition"), ["3"]);
    assert_eq!(all(&headers, "x-kafka-header-partition"), ["9"]);
    assert_eq!(all(&headers, "x-kafka-header-key"), ["forged"]);
    assert!(!headers.contains_key("x-kafka-key"));
    assert!(!headers.contains_key("x-kafka-partition-enc"));
    assert_eq!(all(&headers, "x-kafka-hex-506172746974696f6e2d456e63"), ["b64"]);
}

#[test]
fn a_source_cannot_replace_what_the_core_says() {
    let mut event = event();
    event.headers.push((X_TOPIC, Bytes::from_static(b"other")));
    event.headers.push((X_EVENT_ATTEMPT, Bytes::from_static(b"9")));
    let headers = compose(&event, &rules()).unwrap();
    assert_eq!(all(&headers, "x-topic"), ["orders"]);
    assert!(!headers.contains_key(X_EVENT_ATTEMPT));
}

#[test]
fn values_that_no_header_can_carry_are_encoded_together() {
    let headers = with(&[("a", "plain"), ("a", "two\nlines"), ("b", " ends "), ("c", "tab\there")]);
    assert_eq!(all(&headers, "x-kafka-a"), ["cGxhaW4=", "dHdvCmxpbmVz"]);
    assert_eq!(all(&headers, "x-kafka-a-enc"), ["b64"]);
    assert_eq!(all(&headers, "x-kafka-b-enc"), ["b64"]);
    assert_eq!(all(&headers, "x-kafka-c"), ["tab\there"]);
}

#[test]
fn an_absent_value_is_not_an_empty_one() {
    let mut event = event();
    event.attributes = vec![attribute("a", None), attribute("b", Some(b"")), attribute("b", None)];
    let headers = compose(&event, &rules()).unwrap();
    assert_eq!(
        (all(&headers, "x-kafka-a"), all(&headers, "x-kafka-a-null")),
        (vec![""], vec!["true"])
    );
    assert_eq!(all(&headers, "x-kafka-b"), ["", ""]);
    assert_eq!(all(&headers, "x-kafka-b-null"), ["false", "true"]);
}

#[test]
fn the_trace_context_is_passed_on_under_its_own_names() {
    let headers = with(&[
        ("TraceParent", "00-a-b-01"),
        ("baggage", "a=1"),
        ("baggage", "b=2"),
        ("tracestate", "é"),
    ]);
    assert_eq!(all(&headers, "traceparent"), ["00-a-b-01"]);
    assert_eq!(all(&headers, "x-kafka-traceparent"), ["00-a-b-01"]);
    assert!(!headers.contains_key("baggage"), "two values: which one is it?");
    assert!(!headers.contains_key("tracestate"), "no tracer reads base64");
}

#[test]
fn headers_that_no_gateway_takes_are_told_before_the_call() {
    let large = "v".repeat(LARGEST / 2);
    assert!(
        compose(
            &Event { attributes: vec![attribute("a", Some(large.as_bytes()))], ..event() },
            &rules()
        )
        .is_ok()
    );
    let twice =
        vec![attribute("a", Some(large.as_bytes())), attribute("b", Some(large.as_bytes()))];
    assert_eq!(compose(&Event { attributes: twice, ..event() }, &rules()), Err(TooLarge::Headers));
    let many = vec![attribute("a", Some(b"")); 100_000];
    assert_eq!(compose(&Event { attributes: many, ..event() }, &rules()), Err(TooLarge::Headers));
    let long = vec![attribute(vec![b'a'; 70_000], Some(b""))];
    assert_eq!(compose(&Event { attributes: long, ..event() }, &rules()), Err(TooLarge::Headers));
}

#[test]
fn as_many_attributes_as_just_fit_leave_room_for_what_is_added() {
    let sent = |attributes: usize| {
        let attributes = (0..attributes).map(|n| attribute(format!("a{n}"), Some(b"1")));
        let event = Event { attributes: attributes.collect(), ..event() };
        let mut headers = with_attempt(compose(&event, &rules())?, 1)?;
        for n in 0..ADDED {
            // It panics where there is no room.
            headers.insert(HeaderName::try_from(format!("added-{n}")).unwrap(), 1.into());
        }
        Ok::<_, TooLarge>(headers.len())
    };
    // The map takes 24,576 names, whatever their size.
    assert!(sent(24_500).is_ok_and(|sent| sent > 24_500));
    for attributes in [24_553, 24_554, 24_562, 24_568, 24_569, 24_570] {
        sent(attributes).ok();
    }
    assert_eq!(sent(24_571), Err(TooLarge::Headers));
}
