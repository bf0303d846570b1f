//! What may never happen.

/// What may never happen, each with the invariant of `ARCHITECTURE.md` that it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// 1 and 2.
    Unfinished,
    /// 3 and 4.
    EveryEventEnds,
    /// 3, of what is settled with the broker.
    AllIsSettled,
    /// 5.
    Limits,
    /// 5, of what is over.
    NothingLeft,
    /// 6.
    Drained,
    /// 7.
    Over,
    /// 8.
    Backwards,
    /// The bound on repetitions, of a process that ends in good order.
    HandOver,
    /// 11.
    PairTwice,
    /// 11.
    PairAgain,
    /// The bound on repetitions.
    CommittedAgain,
    /// 12.
    KeyTwice,
    /// 12.
    KeyOrder,
    /// The promise, and 13: what counts as an attempt, and what as refused.
    GivenUpEarly,
    /// The promise, of what is held.
    Held,
    /// 14.
    Counters,
}

impl Rule {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Unfinished,
        Self::EveryEventEnds,
        Self::AllIsSettled,
        Self::Limits,
        Self::NothingLeft,
        Self::Drained,
        Self::Over,
        Self::HandOver,
        Self::Backwards,
        Self::PairTwice,
        Self::PairAgain,
        Self::CommittedAgain,
        Self::KeyTwice,
        Self::KeyOrder,
        Self::GivenUpEarly,
        Self::Held,
        Self::Counters,
    ];

    /// The rule in words: how a failing run names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unfinished => "nothing unfinished is acknowledged",
            Self::EveryEventEnds => "every event ends",
            Self::AllIsSettled => "in the end everything is settled with the broker",
            Self::Limits => "calls stay within their limits",
            Self::NothingLeft => "nothing is left over",
            Self::Drained => "nothing is received once draining has begun",
            Self::Over => "what is over calls and settles nothing",
            Self::HandOver => "what is done is committed before the process ends",
            Self::Backwards => "a commit never goes back",
            Self::PairTwice => "one call of a pair at a time",
            Self::PairAgain => "no call of a pair that has its outcome",
            Self::CommittedAgain => "what is committed is not called again",
            Self::KeyTwice => "one call of a key at a time",
            Self::KeyOrder => "the events of a key go in order",
            Self::GivenUpEarly => "nothing is given up before its time",
            Self::Held => "one try at a time while held",
            Self::Counters => "the counters add up",
        }
    }
}

/// A rule was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// By what.
    pub why: String,
}
