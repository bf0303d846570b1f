//! What one lane tells of itself.

use std::time::{Duration, UNIX_EPOCH};

use connector_core::metrics::{Seconds, set_age};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The metrics of one lane, held so that no label is looked up for a record.
#[derive(Debug)]
pub(crate) struct LaneMeters {
    pub(crate) consumed: Gauge,
    pub(crate) offset: Gauge,
    pub(crate) skipped: Counter,
    pub(super) head_age: Seconds,
    pub(super) pauses: Family<OfCause, Gauge>,
    pub(super) paused: Option<Paused>,
}

/// Why a lane receives nothing for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paused {
    /// No function is mapped to its topic.
    Held,
    /// Its window is full, or the bytes that payloads may take are.
    Full,
    /// What is finished behind its head would not fit into a commit's metadata.
    Beyond,
    /// Too much is done that the broker has not let us commit.
    Uncommitted,
}

impl Paused {
    fn label(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Full => "full",
            Self::Beyond => "beyond",
            Self::Uncommitted => "uncommitted",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfCause {
    cause: &'static str,
}

impl LaneMeters {
    /// Notes the timestamp of the oldest record that is not finished, in milliseconds since 1970;
    /// `None`: there is none, or it has no timestamp.
    pub(crate) fn head(&self, timestamp: Option<i64>) {
        let began = timestamp.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        set_age(&self.head_age, began.map(|began| UNIX_EPOCH + began));
    }

    /// Notes why nothing is received, or that something is.
    pub(crate) fn pause(&mut self, paused: Option<Paused>) {
        if self.paused == paused {
            return;
        }
        for (cause, by) in [(self.paused, -1), (paused, 1)] {
            if let Some(cause) = cause {
                self.pauses.get_or_create(&OfCause { cause: cause.label() }).inc_by(by);
            }
        }
        self.paused = paused;
    }
}

impl Drop for LaneMeters {
    fn drop(&mut self) {
        self.pause(None);
    }
}
