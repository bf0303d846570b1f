//! Whether a tick is ours to call: what the ticker asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_core::FunctionName;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::info;

use super::election::{Claim, Seat};
use super::tenure::{Standing, Taken};
use crate::metrics::CronMetrics;
use crate::timetable::Due;

/// How many ticks a follower remembers. A leader that is gone is noticed long before.
const MOST_REMEMBERED: usize = 10_000;

/// Whose turn it is.
pub(crate) enum Turn {
    /// Always ours: there are no other replicas.
    Alone,
    /// That of the one that leads.
    Shared(Box<Shared>),
}

/// Our part, where there are several replicas.
pub(crate) struct Shared {
    seat: Seat,
    metrics: Arc<CronMetrics>,
    /// Ticks that fell due and that, as far as we know, nobody has claimed.
    waiting: Vec<Due>,
    /// The tenure that the two instants below are of.
    tenure: Option<u64>,
    /// How far ticks have been claimed, by whoever led before or by us.
    claimed: Timestamp,
}

impl Turn {
    /// That of one among several replicas.
    pub(crate) fn shared(seat: Seat, metrics: Arc<CronMetrics>) -> Self {
        let claimed = Timestamp::UNIX_EPOCH;
        Self::Shared(Box::new(Shared { seat, metrics, waiting: Vec::new(), tenure: None, claimed }))
    }

    /// Of the ticks that have fallen due, those that are ours to call. The others are remembered,
    /// and may be among those of a later time.
    ///
    /// Not cancel safe: what was claimed would not be called.
    pub(crate) async fn take(&mut self, due: Vec<Due>) -> Vec<Due> {
        match self {
            Self::Alone => due,
            Self::Shared(shared) => shared.take(due).await,
        }
    }

    /// Resolves when there may be something to [`take`](Self::take) although nothing fell due.
    pub(crate) async fn changed(&mut self) {
        if let Self::Shared(shared) = self
            && shared.seat.standing.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

impl Shared {
    async fn take(&mut self, due: Vec<Due>) -> Vec<Due> {
        self.waiting.extend(due);
        let standing = *self.seat.standing.borrow_and_update();
        match standing {
            Standing::Follows(called) => {
                self.tenure = None;
                self.waiting.retain(|due| due.tick.instant > called);
                let excess = self.waiting.len().saturating_sub(MOST_REMEMBERED);
                self.waiting.drain(..excess);
                Vec::new()
            }
            Standing::Leads(taken) => {
                if self.tenure != Some(taken.number) {
                    self.tenure = Some(taken.number);
                    self.claimed = taken.claimed;
                }
                self.set_aside(taken);
                self.claim().await
            }
        }
    }

    /// Takes away what the leader before us called or claimed, and what we claimed ourselves.
    fn set_aside(&mut self, taken: Taken) {
        let ticks = self.waiting.len();
        self.waiting
            .retain(|due| due.tick.instant > taken.claimed || due.tick.instant <= taken.called);
        let in_doubt = ticks - self.waiting.len();
        if in_doubt > 0 {
            self.metrics.in_doubt.inc_by(in_doubt as u64);
            info!(ticks = in_doubt, until = %taken.claimed, "In doubt: the replica before this one had claimed them");
        }
        // An instant that a clock which was set back reaches again has been called as well.
        self.waiting.retain(|due| due.tick.instant > self.claimed);
    }

    async fn claim(&mut self) -> Vec<Due> {
        let Some(until) = self.waiting.iter().map(|due| due.tick.instant).max() else {
            return Vec::new();
        };
        let (granted, answer) = oneshot::channel();
        // The election has ended: nothing is ours any more.
        if self.seat.claims.send(Claim { until, granted }).await.is_err() {
            return Vec::new();
        }
        if answer.await != Ok(true) {
            return Vec::new();
        }
        self.claimed = until;
        last_of_each(std::mem::take(&mut self.waiting))
    }
}

/// The last tick of each function; those before it are passed over.
fn last_of_each(ticks: Vec<Due>) -> Vec<Due> {
    let mut last: BTreeMap<FunctionName, Due> = BTreeMap::new();
    for due in ticks {
        let passed_over = last.get(&due.tick.function).map_or(0, |before| before.passed_over + 1);
        let due = Due { passed_over: passed_over + due.passed_over, ..due };
        last.insert(due.tick.function.clone(), due);
    }
    last.into_values().collect()
}
