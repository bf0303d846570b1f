//! Since when events are without a verdict, to the second.
//!
//! How long the oldest one waits is asked for once in a scrape, and noted for each event; so an
//! event costs one step in a map that has an entry for each second in which something came that is
//! still here: most often one or two.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The events without a verdict, by the second in which they came.
#[derive(Debug)]
pub(super) struct Arrivals {
    epoch: Instant,
    waiting: Mutex<BTreeMap<u64, usize>>,
}

/// When an event came, in whole seconds of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived(u64);

impl Arrivals {
    pub(super) fn new() -> Self {
        Self { epoch: Instant::now(), waiting: Mutex::default() }
    }

    /// Notes an event that came at `now`.
    pub(super) fn enter(&self, now: Instant) -> Arrived {
        let second = now.saturating_duration_since(self.epoch).as_secs();
        *self.lock().entry(second).or_default() += 1;
        Arrived(second)
    }

    /// Notes that an event has its verdict.
    pub(super) fn leave(&self, Arrived(second): Arrived) {
        let mut waiting = self.lock();
        let Some(count) = waiting.get_mut(&second) else { return };
        *count -= 1;
        if *count == 0 {
            waiting.remove(&second);
        }
    }

    /// How long the oldest event has been here, at most a second less; 0 when there is none.
    pub(super) fn oldest(&self) -> Duration {
        let Some(second) = self.lock().keys().next().copied() else { return Duration::ZERO };
        // Rounded down to the second it came in, an event would seem older than it is.
        let came = self.epoch + Duration::from_secs(second + 1);
        Instant::now().saturating_duration_since(came)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_told_whichever_ends_first() {
        let arrivals = Arrivals::new();
        assert_eq!(arrivals.oldest(), Duration::ZERO);
        let first = arrivals.enter(Instant::now());
        let same_second = arrivals.enter(Instant::now());
        advance(Duration::from_secs(10)).await;
        let later = arrivals.enter(Instant::now());
        advance(Duration::from_secs(20)).await;
        assert_eq!(arrivals.oldest(), Duration::from_secs(29));
        arrivals.leave(first);
        assert_eq!(arrivals.oldest(), Duration::from_secs(29), "another one of that second");
        arrivals.leave(same_second);
        assert_eq!(arrivals.oldest(), Duration::from_secs(19));
        arrivals.leave(later);
        assert_eq!(arrivals.oldest(), Duration::ZERO);
        assert!(arrivals.lock().is_empty(), "nothing is kept of what has ended");
    }
}
