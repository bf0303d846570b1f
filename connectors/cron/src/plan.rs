//! What a function's annotations say about its ticks, beside the schedule itself.
//!
//! A plan is read anew with every change of the topic map, and the next tick follows it. None of
//! it is part of a schedule's identity, so no timer is touched.

use std::collections::BTreeMap;

use bytes::Bytes;
use connector_core::annotations::Annotation;

use crate::schedule::Excerpt;

/// The annotation that holds a function's schedule.
pub const SCHEDULE: Annotation = Annotation {
    name: "schedule",
    takes: "five fields, `@every 1h30m`, `@daily` and the like; several are separated by `;`",
    default: "the function is not called, which is told",
    help: "When the function is called. `TZ=Europe/Berlin` before the fields names the time zone.",
};
/// The annotation that says what happens when the previous tick's call still runs.
pub const OVERLAP: Annotation = Annotation {
    name: "connector.cron.overlap",
    takes: "`allow`, `forbid` or `queue`",
    default: "`allow`",
    help: "What happens when the call of an earlier tick still runs: `allow` calls beside it, `forbid` misses the tick, \
           `queue` calls after it. Three ticks wait at most.",
};
/// The annotation that says what becomes of ticks that were missed.
pub const MISSED: Annotation = Annotation {
    name: "connector.cron.missed",
    takes: "`skip` or `once`",
    default: "`skip`",
    help: "What becomes of ticks that could not be called in time: nothing, or one call for the last of them as soon as \
           it is possible.",
};
/// The annotation that holds the body of the calls.
pub const BODY: Annotation = Annotation {
    name: "connector.cron.body",
    takes: "text, sent byte for byte",
    default: "an empty body",
    help: "The body of the calls.",
};
/// The annotation that holds the content type of the calls.
pub const CONTENT_TYPE: Annotation = Annotation {
    name: "connector.cron.content-type",
    takes: "a content type",
    default: "`content_type`",
    help: "The content type of the calls.",
};

/// Everything that is read here.
pub const ANNOTATIONS: [Annotation; 5] = [SCHEDULE, OVERLAP, MISSED, BODY, CONTENT_TYPE];

/// How the ticks of one function are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What happens when a tick falls due while an earlier one has not ended.
    pub overlap: Overlap,
    /// What becomes of a tick that could not be called in time.
    pub missed: Missed,
    /// The body of each call.
    pub body: Bytes,
    /// The content type of each call, if one is annotated.
    pub content_type: Option<Bytes>,
    /// What is wrong with the annotations, a sentence each. The default is used in their place.
    pub mistakes: Vec<String>,
}

/// What happens to a tick that falls due while an earlier one of its function has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is called beside it.
    #[default]
    Allow,
    /// It is missed.
    Forbid,
    /// It is called after it. Few wait; beyond them ticks are missed.
    Queue,
}

/// What becomes of a tick that could not be called in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missed {
    /// Nothing: the function is next called at its next tick.
    #[default]
    Skip,
    /// Of those missed in a row the last one is called as soon as it can be.
    Once,
}

impl Plan {
    /// Reads the annotations of a function.
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let mut mistakes = Vec::new();
        let mut word = |annotation: Annotation, words: [&str; 3]| {
            let text = annotation.of(annotations)?.trim();
            let found = words.iter().position(|word| *word == text && !text.is_empty());
            if found.is_none() {
                let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
                mistakes.push(format!(
                    "{} takes {}; {} is ignored",
                    annotation.name,
                    words.join(", "),
                    Excerpt::from(text)
                ));
            }
            found
        };
        let overlap = match word(OVERLAP, ["allow", "forbid", "queue"]) {
            Some(1) => Overlap::Forbid,
            Some(2) => Overlap::Queue,
            _ => Overlap::Allow,
        };
        let missed = match word(MISSED, ["skip", "once", ""]) {
            Some(1) => Missed::Once,
            _ => Missed::Skip,
        };
        let bytes = |annotation: Annotation| {
            annotation.of(annotations).map(|text| Bytes::copy_from_slice(text.as_bytes()))
        };
        Self {
            overlap,
            missed,
            body: bytes(BODY).unwrap_or_default(),
            content_type: bytes(CONTENT_TYPE),
            mistakes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(annotations: &[(Annotation, &str)]) -> Plan {
        let pairs = annotations.iter().map(|(k, v)| (k.name.to_owned(), (*v).to_owned()));
        Plan::read(&pairs.collect())
    }

    #[test]
    fn annotations_are_read_and_bad_ones_named() {
        assert_eq!(plan(&[]), Plan::default());
        let read = plan(&[
            (OVERLAP, " queue "),
            (MISSED, "once"),
            (BODY, "{\"a\": 1}\n"),
            (CONTENT_TYPE, "application/json"),
        ]);
        assert_eq!((read.overlap, read.missed), (Overlap::Queue, Missed::Once));
        assert_eq!(&*read.body, b"{\"a\": 1}\n", "byte for byte");
        assert_eq!(read.content_type.as_deref(), Some(&b"application/json"[..]));
        assert_eq!(plan(&[(OVERLAP, "forbid")]).overlap, Overlap::Forbid);
        let bad = plan(&[(OVERLAP, "Forbid"), (MISSED, "")]);
        assert_eq!((bad.overlap, bad.missed), (Overlap::Allow, Missed::Skip));
        assert_eq!(
            bad.mistakes,
            [
                "connector.cron.overlap takes allow, forbid, queue; \"Forbid\" is ignored",
                "connector.cron.missed takes skip, once; \"\" is ignored",
            ]
        );
    }
}
