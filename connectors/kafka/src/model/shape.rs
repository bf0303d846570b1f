//! How large a world is, and what may happen in it.

use std::time::Duration;

use connector_core::testing::Settings;
use model::Answers;

use super::cluster::Commit;
use crate::Kafka;

/// Time for a commit, or for the first retry.
pub(super) const SHORT: Duration = Duration::from_secs(1);
/// Time for every wait there is, and for a call to be given up.
pub(super) const LONG: Duration = Duration::from_secs(15);

/// How large the world is.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) partitions: usize,
    /// Of all partitions together.
    pub(super) records: usize,
    pub(super) keys: usize,
    pub(super) functions: usize,
    /// The settings that differ from [`SETTINGS`].
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// How many calls there are before a letter.
    pub(super) attempts: usize,
    /// What is refused is held.
    pub(super) holds: bool,
    pub(super) turns: Turns,
    pub(super) steps: usize,
    /// How often the process may be killed or stopped.
    pub(super) crashes: usize,
}

/// Which turns there may be.
#[derive(Clone, Copy)]
pub(super) struct Turns {
    pub(super) answers: &'static [Answers],
    pub(super) letters: bool,
    pub(super) commits: &'static [Commit],
    pub(super) group: bool,
}

impl Turns {
    pub(super) const ANSWERS: Self = Self {
        answers: &[Answers::Well, Answers::Busy, Answers::Refused],
        letters: true,
        commits: &[Commit::Takes],
        group: false,
    };
    pub(super) const GROUP: Self = Self {
        answers: &[Answers::Well],
        letters: false,
        commits: &[Commit::Takes, Commit::Refuses, Commit::Loses],
        group: true,
    };
    pub(super) const ALL: Self = Self {
        answers: &[
            Answers::Well,
            Answers::Busy,
            Answers::Throttled,
            Answers::Refused,
            Answers::Closes,
        ],
        letters: true,
        commits: &[Commit::Takes, Commit::Refuses, Commit::TakesSilently, Commit::Loses],
        group: true,
    };
}

/// Two retries, waits of a few seconds, and limits that are met.
const SETTINGS: &[(&str, &str)] = &[
    ("max_retry_attempts", "2"),
    ("initial_retry_wait", "1s"),
    ("max_retry_wait", "4s"),
    ("backoff", "exponential"),
    ("upstream_timeout", "10s"),
    ("max_inflight", "4"),
    ("function_concurrency", "3"),
    ("dead_letter", "topic:dead"),
    ("dead_letter_limit", "0"),
];

/// [`SETTINGS`], changed.
pub(super) fn settings(changes: &[(&str, &str)]) -> Settings<Kafka> {
    Settings::of(&[SETTINGS, changes].concat())
}
