//! What is known of the calls for one event: how many, and how the last one failed.

use std::time::{Duration, SystemTime};

use crate::invoke::{Answer, NoAnswer};

/// The longest pause before a call that was never written is repeated, while the gateway says it
/// is well: a gateway that restarts refuses connections for a moment.
const LONGEST_UNWRITTEN_PAUSE: Duration = Duration::from_secs(2);

/// What is known of the calls made for one (event, function) in this delivery.
#[derive(Default)]
pub(super) struct Calls {
    /// Those that count as attempts.
    pub(super) made: u32,
    unwritten: u32,
    pub(super) first: Option<SystemTime>,
    pub(super) status: Option<u16>,
    pub(super) error: String,
}

impl Calls {
    /// How long to wait before a call that was never written is repeated.
    pub(super) fn pause_unwritten(&mut self) -> Duration {
        let pause = Duration::from_millis(50) * 2_u32.pow(self.unwritten.min(8));
        self.unwritten += 1;
        pause.min(LONGEST_UNWRITTEN_PAUSE)
    }

    pub(super) fn note(&mut self, called: &Result<Answer, NoAnswer>, why: &str) {
        self.made += 1;
        self.status = called.as_ref().ok().map(|answer| answer.status.as_u16());
        self.error = why.chars().take(1000).collect();
    }
}
