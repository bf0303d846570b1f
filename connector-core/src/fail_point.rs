//! The steps of an event's life, and how a test has a process die at one of them.
//!
//! A crash may come between any two things that a connector does. [`Step`] names them all; the code
//! says where each is passed, at the source in the connector's crate, in between here. With the
//! feature `fail-points` the environment chooses one passing, and there the process kills itself:
//! `FAILPOINTS=answered=17` is when it has read the seventeenth answer. It does so by SIGKILL, so
//! nothing is dropped, flushed or said farewell to. `FAILPOINTS=answered=17:stop` freezes it there.
//!
//! Without the feature passing a step is nothing, and the binary has no trace of it. The feature is
//! never a default, and `deploy/images.sh` refuses a binary that has it.

#[cfg(feature = "fail-points")]
mod armed;
#[cfg(feature = "fail-points")]
pub(crate) use armed::announce;
#[cfg(feature = "fail-points")]
pub use armed::{pass, pass_all, sent};
#[cfg(not(feature = "fail-points"))]
pub use unarmed::{pass, pass_all, sent};

/// A step in the life of an event, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Taken from the broker's client, and known to nobody else yet.
    Received,
    /// Handed to the dispatcher.
    Submitted,
    /// A request to the gateway is written, and there is no answer.
    Called,
    /// An answer is read, and nobody has noted it.
    Answered,
    /// The dead-letter destination has confirmed a letter, and nobody has noted it.
    DeadLettered,
    /// The source has the verdict, and has not acted on it.
    Settled,
    /// The acknowledgement is on its way to the broker.
    Acknowledged,
    /// The broker has confirmed the acknowledgement, and nobody has noted it.
    Confirmed,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; Self::Confirmed as usize + 1] = [
        Self::Received,
        Self::Submitted,
        Self::Called,
        Self::Answered,
        Self::DeadLettered,
        Self::Settled,
        Self::Acknowledged,
        Self::Confirmed,
    ];

    /// What `FAILPOINTS` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Submitted => "submitted",
            Self::Called => "called",
            Self::Answered => "answered",
            Self::DeadLettered => "dead-lettered",
            Self::Settled => "settled",
            Self::Acknowledged => "acknowledged",
            Self::Confirmed => "confirmed",
        }
    }
}

/// What stands in the code of a connector that is meant to live.
#[cfg(not(feature = "fail-points"))]
mod unarmed {
    use super::Step;

    /// An event passes a step.
    #[inline]
    pub fn pass(_: Step) {}

    /// So many events pass a step at once.
    #[inline]
    pub fn pass_all(_: Step, _: impl FnOnce() -> u64) {}

    /// So many events pass a step as soon as what `request` sends is on its way.
    #[inline]
    pub fn sent<F: Future>(_: Step, _: u64, request: F) -> F {
        request
    }
}
