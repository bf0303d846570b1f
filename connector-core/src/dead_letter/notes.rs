//! What a letter says beside what its event said: the names, and the rows of the reference.

use crate::headers::ALWAYS;

/// One thing that a letter says beside what the event said: a row of the reference of headers.
pub(crate) struct Note {
    pub(crate) name: &'static str,
    pub(crate) when: &'static str,
    pub(crate) value: &'static str,
    pub(crate) example: &'static str,
}

const fn note(
    name: &'static str,
    when: &'static str,
    value: &'static str,
    example: &'static str,
) -> Note {
    Note { name, when, value, example }
}

pub(super) const REASON: Note = note(
    "X-Dead-Letter-Reason",
    ALWAYS,
    "Why, in one word: `refused`, `exhausted`, `unmatched`, `too_large`, `shutdown`.",
    "exhausted",
);
pub(super) const STATUS: Note =
    note("X-Dead-Letter-Status", "the function answered", "The status of its last answer.", "503");
pub(super) const ERROR: Note = note(
    "X-Dead-Letter-Error",
    "there is something to tell",
    "The last error, or the beginning of the last answer.",
    "no more paper",
);
pub(super) const ATTEMPTS: Note =
    note("X-Dead-Letter-Attempts", ALWAYS, "How many calls were made.", "11");
pub(super) const FIRST: Note = note(
    "X-Dead-Letter-First",
    ALWAYS,
    "When the first call began, RFC 3339 in UTC.",
    "2026-01-05T10:12:44.512Z",
);
pub(super) const LAST: Note = note(
    "X-Dead-Letter-Last",
    ALWAYS,
    "When the last call ended, RFC 3339 in UTC.",
    "2026-01-05T10:31:02.077Z",
);
pub(super) const FUNCTION: Note = note(
    "X-Dead-Letter-Function",
    "a function was called",
    "The function that would not answer well.",
    "resize.openfaas-fn",
);
pub(super) const POSITION: Note =
    note("X-Dead-Letter-Position", ALWAYS, "The event's name.", "kafka:orders/3@1207");

/// Everything that a letter may say.
pub(crate) const NOTES: [Note; 8] =
    [REASON, STATUS, ERROR, ATTEMPTS, FIRST, LAST, FUNCTION, POSITION];
