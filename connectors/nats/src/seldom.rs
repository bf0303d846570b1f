//! Telling of what happens often: at most once a minute, and how often it was.

use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

/// What is told seldom.
#[derive(Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// It happened `times`. `Some`: it is due to be told, and has happened so often since the last
    /// time it was.
    pub(crate) fn due(&mut self, times: u64) -> Option<u64> {
        self.untold += times;
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_told_once_a_minute_with_its_number() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.due(1), Some(1));
        assert_eq!(seldom.due(2), None);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(seldom.due(3), Some(5));
    }
}
