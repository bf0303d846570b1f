//! The lease of one received message: until when it is ours, and when to ask for more.
//!
//! Pure: it is told the time. A lease is reckoned from the moment a call that granted it was sent
//! or, for the receive itself, from the moment its answer arrived, less a margin for the way. SQS
//! grants 12 hours in all, counted from the receive; after that the message comes back whatever we
//! do, and its redelivery joins the call that still runs.

use std::time::Duration;

use tokio::time::Instant;

/// The most that SQS lends a message for, all extensions included.
pub(crate) const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// One lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    received: Instant,
    /// What is asked for each time.
    length: Duration,
    /// When the present grant began, and for how long it was.
    granted: Instant,
    until: Instant,
    refused: bool,
}

impl Lease {
    /// A lease that came with a message at `received`. `length` is whole seconds, at least one.
    pub(crate) fn new(received: Instant, length: Duration) -> Self {
        let length = length.clamp(Duration::from_secs(1), LONGEST);
        Self { received, length, granted: received, until: received + length, refused: false }
    }

    /// How often to look at leases of this length.
    pub(crate) fn tick(length: Duration) -> Duration {
        (length / 16).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// Whether a call may still begin on it.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        !self.refused && now < self.until - self.margin()
    }

    /// The broker has said that the message is no longer ours.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    /// What to ask for now, in whole seconds; `None` while nothing is due, or when there is no more
    /// to be had.
    pub(crate) fn extension(&self, now: Instant) -> Option<Duration> {
        let half = self.granted + (self.until - self.granted) / 2;
        if now < half || !self.holds(now) {
            return None;
        }
        let asked = self.length.min(self.rest(now));
        // Less than what is left already would only shorten it.
        (now + asked > self.until).then_some(asked)
    }

    /// The broker has granted `length` upon a request sent at `asked_at`.
    pub(crate) fn extended(&mut self, asked_at: Instant, length: Duration) {
        self.granted = asked_at;
        self.until = asked_at + length;
    }

    /// The longest wait that the broker can still store for the message, in whole seconds.
    pub(crate) fn longest_wait(&self, now: Instant) -> Duration {
        self.rest(now)
    }

    /// What is left of the 12 hours, in whole seconds, rounded down: asking for more is refused.
    fn rest(&self, now: Instant) -> Duration {
        let end = self.received + LONGEST;
        let rest = end.saturating_duration_since(now);
        // The clock of the broker started before ours did, by the way of the answer.
        Duration::from_secs(rest.as_secs().saturating_sub(1))
    }

    /// Two looks, so that a lease found to hold still holds at the next one.
    fn margin(&self) -> Duration {
        2 * Self::tick(self.until - self.granted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_extended_at_half_and_lapses_before_its_end() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut lease = Lease::new(start, Duration::from_secs(30));
        assert_eq!(lease.extension(at(14)), None);
        assert_eq!(lease.extension(at(15)), Some(Duration::from_secs(30)));
        assert!(lease.holds(at(27)));
        assert!(!lease.holds(at(28)), "two seconds before the end");
        assert_eq!(lease.extension(at(28)), None, "too late");
        lease.extended(at(15), Duration::from_secs(30));
        assert!(lease.holds(at(42)));
        assert_eq!(lease.extension(at(29)), None);
        lease.refuse();
        assert!(!lease.holds(at(16)) && lease.extension(at(31)).is_none());
    }

    proptest! {
        /// A model of the broker: it takes back a message at the end of each grant and at 12 hours,
        /// and refuses what goes beyond. Looked at every tick, with answers that take a while and
        /// some requests lost: nothing beyond the limit is ever asked for, no lease is thought to
        /// hold that the broker has taken back, and without losses it holds until close to the end.
        #[test]
        fn the_broker_is_never_overrated(
            length in 1..=43_200_u64,
            lost in proptest::collection::vec(0..4_u8, 64),
            way in 0..900_u64,
        ) {
            let way = Duration::from_millis(way);
            let start = Instant::now();
            let arrived = start + way;
            let mut lease = Lease::new(arrived, Duration::from_secs(length));
            // The broker's own view.
            let limit = start + LONGEST;
            let mut broker_until = start + Duration::from_secs(length);
            let mut granted_all = true;
            let mut asked = 0;
            let tick = Lease::tick(Duration::from_secs(length));
            let mut now = arrived;
            let mut steps = 0;
            while now < limit + Duration::from_secs(5) && steps < 20_000 {
                steps += 1;
                if lease.holds(now) && tick * 2 >= way {
                    prop_assert!(now <= broker_until, "held after the broker took it back");
                }
                if let Some(seconds) = lease.extension(now) {
                    prop_assert_eq!(seconds.subsec_nanos(), 0);
                    prop_assert!(now + seconds <= limit, "beyond the limit");
                    asked += 1;
                    if lost[asked % lost.len()] == 0 {
                        granted_all = false;
                    } else {
                        broker_until = now + seconds;
                        lease.extended(now, seconds);
                    }
                }
                if !lease.holds(now) {
                    break;
                }
                now += tick;
            }
            if granted_all && steps < 20_000 {
                // Given up only near the end of the 12 hours.
                prop_assert!(now + 3 * tick + Duration::from_secs(3) >= limit, "gave up at {:?}", now - start);
            }
        }
    }
}
