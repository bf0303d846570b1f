//! What time it is.
//!
//! Schedules are about the wall clock, which people and NTP set and which runs on while the host
//! sleeps. Nothing here waits: waiting is done on the monotonic clock of the runtime, and the wall
//! clock is read again after every wait.

use std::fmt;

use jiff::Timestamp;

/// Reads the wall clock. Tests bring one that they set.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The host's clock.
#[derive(Debug, Clone, Copy)]
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
