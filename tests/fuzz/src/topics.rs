//! The items of `topic` annotations, as each source reads them. Input: an item, on the next line a
//! topic, and on the one after it, where two of them are compared, another item.

use connector_core::Source;
use connector_core::testing::Settings;
use connector_core::topics::{Pattern, Unused};
use kafka_connector::Kafka;
use mqtt_connector::Mqtt;
use nats_connector::Nats;
use sqs_connector::Sqs;

use crate::halves;

thread_local! {
    static KAFKA: Settings<Kafka> = Settings::of(&[]);
    static MQTT: Settings<Mqtt> = Settings::of(&[]);
    static NATS: Settings<Nats> = Settings::of(&[]);
    static SQS: Settings<Sqs> = Settings::of(&[]);
}

pub(crate) fn kafka(data: &[u8]) {
    let Some((item, topic)) = halves(data) else { return };
    KAFKA.with(|settings| {
        if let Ok(pattern) = Kafka::pattern(&settings.source, item) {
            again(&pattern, |text| Kafka::pattern(&settings.source, text), topic);
        }
    });
}

pub(crate) fn mqtt(data: &[u8]) {
    let Some((item, rest)) = halves(data) else { return };
    let (topic, other) = rest.split_once('\n').unwrap_or((rest, "a/#"));
    MQTT.with(|settings| {
        let Ok(pattern) = Mqtt::pattern(&settings.source, item) else { return };
        // One topic, subscribed with a group, is shown without the group, and may look like an
        // address then.
        if !item.starts_with("$share/") || matches!(pattern, Pattern::Many { .. }) {
            again(&pattern, |text| Mqtt::pattern(&settings.source, text), topic);
        }
        if let Pattern::Many { text, .. } = &pattern {
            // A share is the broker's affair; what follows its name is the filter.
            let filter = match text.strip_prefix("$share/").and_then(|it| it.split_once('/')) {
                Some((_, filter)) => filter,
                None => text,
            };
            assert_eq!(pattern.matches(topic), mqtt_matches(filter, topic), "{filter} {topic}");
        }
        // Below a `$` the first level is none that a pattern reaches.
        if let Some((matches, trimmed)) = mqtt_connector::testing::matches_trimmed(item, topic)
            && pattern.matches(topic)
            && !trimmed.starts_with('$')
        {
            assert!(matches, "{item} {topic}");
        }
        if let Ok(second) = Mqtt::pattern(&settings.source, other)
            && let Some(relation) = mqtt_connector::testing::relation(item, other)
        {
            related(relation, &pattern, &second, topic);
        }
    });
}

pub(crate) fn nats(data: &[u8]) {
    let Some((item, rest)) = halves(data) else { return };
    let (subject, other) = rest.split_once('\n').unwrap_or((rest, "orders.>"));
    NATS.with(|settings| {
        let Ok(pattern) = Nats::pattern(&settings.source, item) else { return };
        again(&pattern, |text| Nats::pattern(&settings.source, text), subject);
        if let Pattern::Many { text, .. } = &pattern {
            let wanted = nats_matches(text, subject);
            // What a wildcard leaves to the protocol itself is judged by its own tests.
            if !subject.starts_with(['$', '_']) {
                assert_eq!(pattern.matches(subject), wanted, "{text} {subject}");
            }
        }
        if let Ok(second) = Nats::pattern(&settings.source, other)
            && let Some(relation) = nats_connector::testing::relation(item, other)
        {
            related(relation, &pattern, &second, subject);
        }
        let (before, after) = nats_connector::testing::matches_reduced(&[item, other], subject);
        assert_eq!(before, after, "{item} and {other} are reduced too far for {subject}");
    });
}

pub(crate) fn sqs(data: &[u8]) {
    let Some((item, topic)) = halves(data) else { return };
    SQS.with(|settings| {
        let Ok(pattern) = Sqs::pattern(&settings.source, item) else { return };
        let Pattern::Exact(name) = &pattern else { panic!("a queue is one queue") };
        assert!(item.contains(&**name), "{item} {name}");
        again(&pattern, |text| Sqs::pattern(&settings.source, text), topic);
    });
}

/// What a pattern is shown as must read as the same pattern.
fn again(pattern: &Pattern, read: impl Fn(&str) -> Result<Pattern, Unused>, topic: &str) {
    match pattern {
        Pattern::Exact(text) => {
            assert!(pattern.matches(text));
            let Ok(Pattern::Exact(again)) = read(text) else {
                panic!("`{text}` is not read again")
            };
            assert_eq!(*text, again);
        }
        Pattern::Many { text, .. } => {
            let again =
                read(text).unwrap_or_else(|why| panic!("`{text}` is not read again: {why:?}"));
            assert_eq!(pattern.matches(topic), again.matches(topic), "{text} {topic}");
        }
    }
}

/// What is said of two patterns holds of a topic: that the one covers the other, or shares some.
fn related((covers, overlaps): (bool, bool), one: &Pattern, other: &Pattern, topic: &str) {
    let (one, other) = (one.matches(topic), other.matches(topic));
    assert!(!covers || one || !other, "{topic} is covered, and not matched");
    assert!(overlaps || !(one && other), "{topic} is matched by both");
}

/// The rule of MQTT 5, section 4.7, level by level.
fn mqtt_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let levels: Vec<_> = topic.split('/').collect();
    let mut at = 0;
    for part in filter.split('/') {
        if part == "#" {
            return true;
        }
        if at >= levels.len() || (part != "+" && part != levels[at]) {
            return false;
        }
        at += 1;
    }
    at == levels.len()
}

/// The rule of NATS' subjects, token by token.
fn nats_matches(filter: &str, subject: &str) -> bool {
    let tokens: Vec<_> = subject.split('.').collect();
    let mut at = 0;
    for part in filter.split('.') {
        if part == ">" {
            return at < tokens.len();
        }
        if at >= tokens.len() || (part != "*" && part != tokens[at]) {
            return false;
        }
        at += 1;
    }
    at == tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, as functions of one platform have them side by side.
    const EACH: [&str; 7] = [
        "orders",
        "sensors/+/temperature",
        "sensors/#",
        "orders.new",
        "orders..new",
        "https://sqs.eu-west-1.amazonaws.com/1/orders",
        "my orders",
    ];

    /// What a source says of each: used (u), foreign (f), or mistaken (m).
    fn said<S: Source>(settings: &Settings<S>) -> String {
        let said = EACH.map(|item| match S::pattern(&settings.source, item) {
            Ok(_) => 'u',
            Err(Unused::Foreign(_)) => 'f',
            Err(Unused::Mistaken(_)) => 'm',
        });
        said.iter().collect()
    }

    #[test]
    fn each_source_knows_what_is_plainly_anothers() {
        assert_eq!(KAFKA.with(said), "uffuufm");
        assert_eq!(MQTT.with(said), "uuuuufu");
        assert_eq!(NATS.with(said), "uuuumfm");
        assert_eq!(SQS.with(said), "uffffum");
    }
}
