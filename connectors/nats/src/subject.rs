//! The grammar of subjects, and what filters have in common.
//!
//! A subject is tokens joined by dots. In a filter the token `*` stands for exactly one token and
//! the last token may be `>`, which stands for one or more. Everything here is pure.
//!
//! What is asked for may overlap; it is [`reduce`]d before a server is asked for it.

use std::fmt;
use std::sync::Arc;

use connector_core::topics::Pattern;

/// A subject or a pattern of subjects, checked.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Filter(Arc<str>);

/// The longest filter taken: more than a server's protocol line holds.
const LONGEST: usize = 4_000;

impl Filter {
    /// Checks a subject or a pattern.
    ///
    /// # Errors
    /// Why no server would take it, as a sentence's end.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err("is too long for a subject".to_owned());
        }
        if text.contains("://") {
            return Err("is an address, not a subject".to_owned());
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("has white space or a control character in it".to_owned());
        }
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            if token.is_empty() {
                return Err("has an empty token".to_owned());
            }
            if token == ">" && tokens.peek().is_some() {
                return Err("has a `>` that is not its last token".to_owned());
            }
        }
        Ok(Self(text.into()))
    }

    /// What matches every subject that is not the protocol's own.
    pub(crate) fn everything() -> Self {
        Self(">".into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can match more than one subject.
    pub(crate) fn is_wild(&self) -> bool {
        self.tokens().any(|token| token == "*" || token == ">")
    }

    /// Whether it matches `subject`.
    ///
    /// A wildcard in front does not reach what the protocol keeps to itself (`$JS.ACK...`,
    /// `_INBOX...`): acknowledgements and answers are no events.
    pub(crate) fn matches(&self, subject: &str) -> bool {
        if self.begins_wild() && is_protocol(subject) {
            return false;
        }
        let mut tokens = subject.split('.');
        for mine in self.tokens() {
            match (mine, tokens.next()) {
                (">", Some(_)) => return true,
                (_, None) => return false,
                ("*", Some(_)) => {}
                (mine, Some(token)) if mine != token => return false,
                _ => {}
            }
        }
        tokens.next().is_none()
    }

    /// Whether every subject that `other` matches is matched by this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        if self.begins_wild() && !other.begins_wild() && is_protocol(other.as_str()) {
            return false;
        }
        let mut theirs = other.tokens();
        for mine in self.tokens() {
            match (mine, theirs.next()) {
                (">", Some(_)) => return true,
                (_, None) => return false,
                ("*", Some(">")) => return false,
                ("*", Some(_)) => {}
                (mine, Some(token)) if mine != token => return false,
                _ => {}
            }
        }
        theirs.next().is_none()
    }

    /// Whether some subject is matched by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let protocol =
            |a: &Self, b: &Self| a.begins_wild() && !b.begins_wild() && is_protocol(&b.0);
        if protocol(self, other) || protocol(other, self) {
            return false;
        }
        let (mut mine, mut theirs) = (self.tokens(), other.tokens());
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
                (Some(a), Some(b)) if a != b => return false,
                _ => {}
            }
        }
    }

    /// How the topic map matches with it.
    pub(crate) fn pattern(self) -> Pattern {
        if !self.is_wild() {
            return Pattern::Exact(self.0);
        }
        Pattern::Many {
            text: Arc::clone(&self.0),
            matches: Arc::new(move |subject| self.matches(subject)),
        }
    }

    fn begins_wild(&self) -> bool {
        matches!(self.tokens().next(), Some("*" | ">"))
    }

    fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn is_protocol(subject: &str) -> bool {
    subject.starts_with('$') || subject.starts_with("_INBOX.")
}

/// The filters without those that another one covers, sorted: what is left matches the same
/// subjects, and no two of it cover each other. Two may still share some subjects.
pub(crate) fn reduce(filters: impl IntoIterator<Item = Filter>) -> Vec<Filter> {
    let mut filters: Vec<Filter> = filters.into_iter().collect();
    filters.sort();
    filters.dedup();
    let covered = |one: &Filter| filters.iter().any(|other| other != one && other.covers(one));
    filters.iter().filter(|one| !covered(one)).cloned().collect()
}

#[cfg(test)]
#[path = "subject_tests.rs"]
mod tests;
