//! What becomes of an event that a function will not answer well.

use std::sync::Arc;
use std::time::SystemTime;

use crate::event::{Event, FunctionName};

/// Where dead letters go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A place at the source's own broker: what follows `topic:`, `queue:` or `subject:`.
    Broker(String),
    /// Another function, always called sync.
    Function(FunctionName),
    /// Nowhere: counted and logged.
    Drop,
    /// Nowhere yet: the event waits, its topic is held, and it is tried again now and then.
    Hold,
}

/// One dead letter: the event with what is known of its failure.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The event, unchanged.
    pub event: Arc<Event>,
    /// The function that would not answer well. `None`: no function was involved (`too_large`).
    pub function: Option<FunctionName>,
    /// Why, in one word of a closed set: `refused`, `exhausted`, `unmatched`, `too_large`, `shutdown`.
    pub reason: &'static str,
    /// The status of the last answer, if there was one.
    pub status: Option<u16>,
    /// The last error or the beginning of the last answer, at most 1,000 characters.
    pub error: String,
    /// How many calls were made.
    pub attempts: u32,
    /// When the first call began.
    pub first: SystemTime,
    /// When the last call ended.
    pub last: SystemTime,
}

impl Letter {
    /// What a broker stores beside payload, key and headers: name and value, in this order.
    /// Names are `X-Dead-Letter-Reason`, `-Status`, `-Error`, `-Attempts`, `-First`, `-Last`,
    /// `-Function`, `-Position`; times are RFC 3339 in UTC; absent ones are left out.
    #[must_use]
    pub fn notes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
