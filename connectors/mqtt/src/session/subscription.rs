//! How a session's filter stands with the broker.

use std::time::Duration;

use tokio::time::Instant;

use super::ANSWER;
use crate::meters::Counted;

/// How the filter stands with the broker.
#[derive(Debug)]
pub(super) enum Subscription {
    /// The broker has it.
    Granted { _counted: Counted },
    /// The SUBSCRIBE is under way; an answer that has not come by then is taken for a refusal.
    Asked { until: Instant, wait: Duration },
    /// It was refused; asked again at this time.
    Refused { again: Instant, wait: Duration, _counted: Counted },
    /// It is taken back: the broker sends what it has queued, and nothing new.
    TakenBack,
}

impl Subscription {
    pub(super) fn asked(wait: Duration) -> Self {
        Self::Asked { until: Instant::now() + ANSWER, wait }
    }
}
