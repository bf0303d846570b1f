//! Every reader of what comes from outside, each as a function of some bytes that panics when
//! something is wrong.
//!
//! Wrong is more than a panic of the reader: where a text can be written again it must read as the
//! same, where a rule is short enough to be written a second time the two must agree, whatever goes
//! out in headers must be found in them again, and what a person reads must be short and on one line.
//!
//! Inputs that are worth keeping stand in `corpus/`, by target. `cargo test -p fuzz` tries them
//! all, and some hundreds that differ a little from them; `make fuzz` looks for more.

mod annotations;
mod answers;
mod headers;
mod letters;
mod messages;
mod schedules;
mod settings;
mod topics;

use bytes::Bytes;
use connector_core::Attribute;

/// A name, and what tries some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// What is tried.
pub const TARGETS: &[Target] = &[
    ("annotations", annotations::read),
    ("answers", answers::function),
    ("cron-leases", answers::lease),
    ("dead-letters", letters::write),
    ("durations", settings::durations),
    ("fleet-members", answers::member),
    ("flags", settings::flags),
    ("headers", headers::compose),
    ("kafka-metadata", messages::kafka_metadata),
    ("kafka-topics", topics::kafka),
    ("listings", answers::listing),
    ("mqtt-filters", topics::mqtt),
    ("mqtt-messages", messages::mqtt),
    ("nats-deliveries", messages::nats_delivery),
    ("nats-headers", messages::nats_headers),
    ("nats-subjects", topics::nats),
    ("retry-after", answers::retry_after),
    ("schedules", schedules::read),
    ("settings", settings::three_ways),
    ("settings-files", settings::file),
    ("sqs-messages", messages::sqs),
    ("sqs-queues", topics::sqs),
    ("sqs-redrive", answers::redrive),
];

/// Tries `data` on the target of this name.
///
/// # Panics
/// When something is wrong, or there is no such target.
pub fn run(target: &str, data: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target's name");
    run(data);
}

/// The text up to the first end of a line, and the text behind it.
fn halves(data: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(data).ok()?;
    Some(text.split_once('\n').unwrap_or((text, "")))
}

/// A line `name=value`, any bytes; one without `=` has no value.
fn attribute(line: &[u8]) -> Attribute {
    match line.iter().position(|byte| *byte == b'=') {
        Some(at) => Attribute {
            name: Bytes::copy_from_slice(&line[..at]),
            value: Some(Bytes::copy_from_slice(&line[at + 1..])),
        },
        None => Attribute { name: Bytes::copy_from_slice(line), value: None },
    }
}

/// What a name in hexadecimal stands for.
fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// A text that is shown to a person: short, on one line, and nothing that a terminal obeys.
fn assert_readable(text: &str, longest: usize) {
    assert!(text.chars().count() <= longest, "too long to read: {text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}
