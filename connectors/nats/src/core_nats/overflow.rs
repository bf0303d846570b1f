//! Counting what the client library had no room for.
//!
//! It keeps what has come for a subscription until the subscription takes it, up to a limit, and
//! drops the rest. It tells of that, but not of each message: in a burst most of its reports are
//! dropped too. So a report is only the occasion to count, from what the connection has received
//! and what the subscriptions have taken. The difference is what was dropped and what still waits
//! to be taken; as that passes in no time, the least of a few differences is what was dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, Statistics};
use tokio::time::Instant;

/// How often is looked before something counts as dropped, and how long between two looks.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(200);

/// What the subscriptions have taken from the client library. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<AtomicU64>);

impl Taken {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The messages that the client library dropped.
pub(super) struct Overflow {
    statistics: Arc<Statistics>,
    taken: Taken,
    counted: u64,
    round: Option<Round>,
    /// Reported since the round began.
    is_reported: bool,
}

/// Looks that are going on.
struct Round {
    left: u32,
    least: u64,
    next: Instant,
}

impl Overflow {
    pub(super) fn new(client: &Client, taken: Taken) -> Self {
        let statistics = client.statistics();
        Self { statistics, taken, counted: 0, round: None, is_reported: false }
    }

    /// The library says that it drops messages.
    pub(super) fn reported(&mut self) {
        if self.round.is_some() {
            self.is_reported = true;
        } else {
            let next = Instant::now() + BETWEEN;
            self.round = Some(Round { left: LOOKS, least: u64::MAX, next });
        }
    }

    /// Waits until more is known to be dropped; gives how many messages.
    ///
    /// Cancel-safe.
    pub(super) async fn more(&mut self) -> u64 {
        loop {
            let Some(round) = &mut self.round else { return std::future::pending().await };
            tokio::time::sleep_until(round.next).await;
            let received = self.statistics.in_messages.load(Ordering::Relaxed);
            let taken = self.taken.0.load(Ordering::Relaxed);
            round.least = round.least.min(received.saturating_sub(taken + self.counted));
            round.left -= 1;
            round.next += BETWEEN;
            if round.left > 0 {
                continue;
            }
            let dropped = round.least;
            self.counted += dropped;
            self.round = None;
            if std::mem::take(&mut self.is_reported) {
                self.reported();
            }
            return dropped;
        }
    }
}
