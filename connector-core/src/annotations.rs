//! The annotations that connectors read, as rows of a table: the code reads an annotation by its
//! row, and the reference (`--annotation-reference`, `docs/annotations.md`) is made from the same
//! rows.
//!
//! What an annotation means is its reader's affair: [`crate::topics`], [`crate::retry`], and the
//! source's own code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::source::Source;
use crate::{retry, topics};

/// One annotation of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// Its key.
    pub name: &'static str,
    /// What its value may be.
    pub takes: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

impl Annotation {
    /// What a function has written, if it has this annotation.
    #[must_use]
    pub fn of<'a>(&self, annotations: &'a BTreeMap<String, String>) -> Option<&'a str> {
        annotations.get(self.name).map(String::as_str)
    }
}

/// What every connector reads.
const SHARED: [Annotation; 8] = [
    topics::TOPIC,
    topics::DEAD_LETTER,
    topics::CONCURRENCY,
    topics::ASYNC,
    retry::ATTEMPTS,
    retry::CODES,
    retry::MIN_WAIT,
    retry::MAX_WAIT,
];

/// The annotations that one connector reads, as Markdown.
#[must_use]
pub(crate) fn reference<S: Source>() -> String {
    let mut text = String::new();
    section(&mut text, "Annotations of every connector", &SHARED);
    let program = format!("{}-connector", S::KIND);
    writeln!(text, "## Annotations of {program}\n\n{}", S::ITEMS).expect(ENDLESS);
    if let Some(scheme) = S::LETTER_SCHEME {
        writeln!(text, "A place for dead letters at its broker is `{scheme}:NAME`.")
            .expect(ENDLESS);
    }
    if !S::ANNOTATIONS.is_empty() {
        text.push('\n');
        table(&mut text, S::ANNOTATIONS);
    }
    text
}

const ENDLESS: &str = "a string takes everything";

fn section(text: &mut String, title: &str, rows: &[Annotation]) {
    writeln!(text, "## {title}\n").expect(ENDLESS);
    table(text, rows);
    text.push('\n');
}

fn table(text: &mut String, rows: &[Annotation]) {
    text.push_str("| Annotation | Takes | Without it | Meaning |\n|---|---|---|---|\n");
    for Annotation { name, takes, default, help } in rows {
        writeln!(text, "| `{name}` | {takes} | {default} | {help} |").expect(ENDLESS);
    }
}
