//! What deliveries and calls come to: closed sets, so that they can be labels.

/// What one delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Answered well by every function.
    Delivered,
    /// At least one function's letter was stored.
    DeadLettered,
    /// At least one function's event was dropped by policy.
    Dropped,
    /// No function was mapped, and policy did not hold it.
    Unmatched,
    /// Every function had its outcome from an earlier delivery.
    Repeated,
    /// Given back to the broker.
    Released,
}

/// What one call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// Answered well.
    Well,
    /// Failed in a way that is tried again.
    Retry,
    /// Refused for good: no attempt would change it.
    Refused,
    /// Set up wrongly; the topic is held.
    Misconfigured,
    /// Failed because the platform was down, or never written: not counted as an attempt.
    Uncounted,
    /// Cut at the drain deadline.
    Cut,
}

impl Came {
    /// Everything a delivery can come to.
    pub(super) const ALL: [Self; 6] = [
        Self::Delivered,
        Self::DeadLettered,
        Self::Dropped,
        Self::Unmatched,
        Self::Repeated,
        Self::Released,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
            Self::Dropped => "dropped",
            Self::Unmatched => "unmatched",
            Self::Repeated => "repeated",
            Self::Released => "released",
        }
    }
}

impl Called {
    /// Everything a call can come to.
    pub const ALL: [Self; 6] =
        [Self::Well, Self::Retry, Self::Refused, Self::Misconfigured, Self::Uncounted, Self::Cut];

    /// Its name as a label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Retry => "retry",
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
            Self::Uncounted => "uncounted",
            Self::Cut => "cut",
        }
    }
}
