//! The connector's own headers, as rows of a table: the code sends them by their rows, and the
//! reference (`--header-reference`, `docs/headers.md`) is made from the same rows.

use std::fmt::Write as _;

use http::HeaderName;
use http::header::{CONTENT_TYPE, USER_AGENT};

use super::{TRACE, X_CONNECTOR, X_EVENT_ATTEMPT, X_EVENT_ID, X_TOPIC};
use crate::dead_letter;
use crate::source::Source;

/// One header that a connector sends of itself. A source's own begin with its prefix.
#[derive(Debug, Clone)]
pub struct OwnHeader {
    /// Its name, without case.
    pub name: HeaderName,
    /// Which calls have it.
    pub when: &'static str,
    /// What it says, and its unit.
    pub value: &'static str,
    /// A value.
    pub example: &'static str,
}

impl OwnHeader {
    /// A row. The name is in lower case.
    ///
    /// # Panics
    /// At compile time, when the name is none.
    #[must_use]
    pub const fn new(
        name: &'static str,
        when: &'static str,
        value: &'static str,
        example: &'static str,
    ) -> Self {
        Self { name: HeaderName::from_static(name), when, value, example }
    }

    const fn named(
        name: HeaderName,
        when: &'static str,
        value: &'static str,
        example: &'static str,
    ) -> Self {
        Self { name, when, value, example }
    }
}

/// What stands on the calls of every connector.
fn shared() -> Vec<OwnHeader> {
    let mut rows = vec![
        OwnHeader::named(
            X_TOPIC,
            ALWAYS,
            "The topic, queue or subject that the event was matched on; `cron-function` for a tick of a schedule.",
            "orders",
        ),
        OwnHeader::named(X_CONNECTOR, ALWAYS, "Which connector calls.", "kafka-connector"),
        OwnHeader::named(
            X_EVENT_ID,
            ALWAYS,
            "The event's name. The same on every delivery of it, as far as the broker names its events.",
            "kafka:orders/3@1207",
        ),
        OwnHeader::named(
            X_EVENT_ATTEMPT,
            ALWAYS,
            "Which call of this function for this event it is, as far as known: the broker's count of deliveries where \
             that is larger.",
            "1",
        ),
        OwnHeader::named(
            CONTENT_TYPE,
            "`content_type` is set, the event tells its own, or the connector has a default",
            "The setting, else what the event tells, else the connector's default.",
            "application/json",
        ),
        OwnHeader::named(
            USER_AGENT,
            ALWAYS,
            "Connector and version.",
            "tributary-kafka-connector/0.1.0",
        ),
    ];
    rows.extend(TRACE.map(|(name, example)| {
        OwnHeader::new(name, "the event has one of that name", "The event's, passed on.", example)
    }));
    rows
}

/// What `when` says of a header that no call lacks.
pub const ALWAYS: &str = "always";

/// The headers of the calls of one connector, as Markdown.
#[must_use]
pub(crate) fn reference<S: Source>() -> String {
    let mut text = String::new();
    section(&mut text, "Headers of every call", &shared().iter().map(row).collect::<Vec<_>>());
    let letters = dead_letter::NOTES
        .map(|note| [note.name, note.when, note.value, note.example].map(str::to_owned));
    section(&mut text, "Headers of a dead letter", &letters);
    let prefix = S::ATTRIBUTE_PREFIX;
    let mut own: Vec<_> = S::own_headers().iter().map(row).collect();
    if let Some((when, example)) = S::ATTRIBUTES {
        let value =
            "The value. One that no header can carry is base64, with `-Enc: b64` beside it.";
        own.push([format!("{prefix}<name>"), when.into(), value.into(), example.into()]);
    }
    section(&mut text, &format!("Headers of {}-connector", S::KIND), &own);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn row(header: &OwnHeader) -> [String; 4] {
    let &OwnHeader { ref name, when, value, example } = header;
    [canonical(name), when.into(), value.into(), example.into()]
}

fn section(text: &mut String, title: &str, rows: &[[String; 4]]) {
    let head = "| Header | On calls where | Value | Example |\n|---|---|---|---|";
    writeln!(text, "## {title}\n\n{head}").expect("a string takes everything");
    for [name, when, value, example] in rows {
        writeln!(text, "| `{name}` | {when} | {value} | `{example}` |")
            .expect("a string takes everything");
    }
    text.push('\n');
}

/// A name as Go's server shows it to functions: `X-Sqs-Queue-Url`.
fn canonical(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}
