//! Who leads, and what to write into the Lease: pure answers to what was read, and when.
//!
//! A leader that is gone is told by the Lease not changing for its duration, on *our* monotonic
//! clock, as Kubernetes' own components do it: no two hosts' clocks are compared.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::record::{Kept, Record};

/// What one replica knows of the Lease.
#[derive(Debug)]
pub(crate) struct Tenure {
    identity: String,
    duration: Duration,
    seen: Option<Seen>,
    /// What we took over from, while we lead.
    taken: Option<Taken>,
    /// Up to which instant ticks are ours for certain. Claims may reach further: the answer to one can be lost, and its
    /// ticks are then not called before they have been claimed again.
    granted: Timestamp,
}

/// The Lease as it was when we last saw it.
#[derive(Debug)]
struct Seen {
    record: Record,
    /// What a write must be upon; `None`: somebody has removed it since. What it said still holds: whoever leads makes it
    /// anew with that, the others wait as they do for a leader that is silent.
    kept: Option<Kept>,
    /// When it last changed.
    at: Instant,
}

/// What a leader found when it took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Ticks up to here were called, by the one before.
    pub(crate) called: Timestamp,
    /// Ticks up to here were claimed by it.
    pub(crate) claimed: Timestamp,
    /// Tells one tenure from another.
    pub(crate) number: u64,
}

/// What a replica may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Another leads, or nobody yet; ticks up to this instant have been called.
    Follows(Timestamp),
    /// This one leads.
    Leads(Taken),
}

impl Tenure {
    pub(crate) fn new(identity: String, duration: Duration) -> Self {
        Self { identity, duration, seen: None, taken: None, granted: Timestamp::UNIX_EPOCH }
    }

    /// Takes note of what the Lease said when it was read at `now`; `None`: there is none.
    pub(crate) fn read(&mut self, kept: Option<Kept>, now: Instant) {
        let Some(kept) = kept else {
            if let Some(seen) = &mut self.seen
                && seen.kept.take().is_some()
            {
                seen.at = now;
            }
            return;
        };
        if kept.record.holder != self.identity {
            self.taken = None;
        }
        let before = self.basis().zip(self.seen.as_ref());
        let unchanged = before.filter(|(before, _)| before.version == kept.version);
        let at = unchanged.map_or(now, |(_, seen)| seen.at);
        self.seen = Some(Seen { record: kept.record.clone(), kept: Some(kept), at });
    }

    /// Takes note that our own write was taken.
    pub(crate) fn wrote(&mut self, kept: Kept, now: Instant) {
        if self.taken.is_none() && kept.record.holder == self.identity {
            let before = self.record();
            let called = before.map_or(Timestamp::UNIX_EPOCH, |before| before.called);
            let claimed = before.map_or(Timestamp::UNIX_EPOCH, |before| before.claimed);
            self.taken = Some(Taken { called, claimed, number: kept.record.transitions });
            // What the one before us did not call of these, we count.
            self.granted = claimed;
        }
        self.read(Some(kept), now);
    }

    /// Takes note that the ticks up to `until` are ours: they will have been called by the next write.
    pub(crate) fn granted(&mut self, until: Timestamp) {
        self.granted = until;
    }

    /// What we may do.
    pub(crate) fn standing(&self) -> Standing {
        match self.taken {
            Some(taken) => Standing::Leads(taken),
            None => Standing::Follows(
                self.record().map_or(Timestamp::UNIX_EPOCH, |record| record.called),
            ),
        }
    }

    /// What our next write is upon; `None`: the Lease is yet to be made.
    pub(crate) fn basis(&self) -> Option<&Kept> {
        self.seen.as_ref()?.kept.as_ref()
    }

    /// What to write to lead, or to go on leading; `None` while another does.
    pub(crate) fn renewal(&self, now: Instant) -> Option<Record> {
        let Some(before) = self.record() else { return Some(self.first()) };
        if self.taken.is_some() {
            // What was granted has been called by now: claims are writes as well, and this is a
            // whole interval after the last write.
            return Some(Record { called: self.granted, ..before.clone() });
        }
        let is_free = before.holder.is_empty() || self.expires().is_some_and(|at| at <= now);
        is_free.then(|| Record {
            holder: self.identity.clone(),
            duration: self.duration,
            transitions: before.transitions + 1,
            ..before.clone()
        })
    }

    /// What to write to claim the ticks up to `until`; `None` if we do not lead.
    pub(crate) fn claim(&self, until: Timestamp) -> Option<Record> {
        self.taken?;
        let before = self.record()?;
        Some(Record { claimed: until, called: self.granted, ..before.clone() })
    }

    /// What to write to let another lead at once; `None` if we do not.
    pub(crate) fn release(&self) -> Option<Record> {
        self.taken?;
        let before = self.record()?;
        Some(Record { holder: String::new(), called: self.granted, ..before.clone() })
    }

    /// When the present leader counts as gone, if nothing changes.
    pub(crate) fn expires(&self) -> Option<Instant> {
        let seen = self.seen.as_ref()?;
        Some(seen.at + seen.record.duration)
    }

    fn record(&self) -> Option<&Record> {
        self.seen.as_ref().map(|seen| &seen.record)
    }

    fn first(&self) -> Record {
        Record {
            holder: self.identity.clone(),
            duration: self.duration,
            claimed: Timestamp::UNIX_EPOCH,
            called: Timestamp::UNIX_EPOCH,
            transitions: 0,
        }
    }
}
