//! Who connects a source, and connects it again.
//!
//! The one place that knows about reconnection: how long to wait, when `/readyz` fails, how loud
//! to log. A source only ever sees a fresh connection, and no error of it ends the process.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use crate::conditions::Subject;
use crate::lane::Intake;
use crate::log::Chain;
use crate::source::{Source, SourceError};

const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Short, for nobody is served meanwhile: what a broker is spared by a longer one is a connection
/// each few seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A source that was connected this long is believed to have been well: the next wait is short
/// again. As long as the longest wait, so that one which breaks soon after each connect does not
/// connect more often by that.
const WELL_AFTER: Duration = LONGEST_WAIT;

/// The condition that says whether the broker is reached.
#[must_use]
pub fn broker() -> Subject {
    Subject("broker".into())
}

/// Connects and runs the source until draining begins and it has returned.
///
/// Not cancel-safe: a dropped supervisor leaves what the source had received to redelivery.
pub async fn supervise<S: Source>(config: Arc<S::Config>, intake: Intake) {
    let mut waits = Waits::default();
    while !intake.is_draining() {
        let (connected_for, ended) = attempt::<S>(&config, &intake).await;
        intake.metrics().source_connected.set(0);
        let why = match ended {
            Ok(()) if intake.is_draining() => return,
            Ok(()) => "the source ended without being asked to".to_owned(),
            Err(error) => Chain(&error).to_string(),
        };
        intake.conditions().unwell(&broker(), &why, true);
        let wait = waits.after(connected_for);
        // Spread out: replicas that lost the same broker must not return in step.
        let spread = wait.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::select! {
            biased;
            () = intake.draining() => return,
            () = tokio::time::sleep(spread) => {}
        }
        intake.metrics().source_restarts.inc();
    }
}

/// How long is waited before each connection but the first.
struct Waits {
    next: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { next: FIRST_WAIT }
    }
}

impl Waits {
    /// The wait after an attempt that was connected for so long; zero if it never was.
    fn after(&mut self, connected_for: Duration) -> Duration {
        if connected_for >= WELL_AFTER {
            self.next = FIRST_WAIT;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

/// One connection, from its beginning to its end: how long there was one, and what came of it.
async fn attempt<S: Source>(
    config: &Arc<S::Config>,
    intake: &Intake,
) -> (Duration, Result<(), SourceError>) {
    let connected = tokio::select! {
        biased;
        () = intake.draining() => return (Duration::ZERO, Ok(())),
        connected = S::connect(Arc::clone(config), intake.clone()) => connected,
    };
    let source = match connected {
        Ok(source) => source,
        Err(error) => return (Duration::ZERO, Err(error)),
    };
    let since = Instant::now();
    intake.metrics().source_connected.set(1);
    intake.conditions().well(&broker());
    // In a task of its own, so that a panic in a source reads as one more error of it.
    let run = tokio::spawn(source.run());
    let ended = match run.await {
        Ok(ended) => ended,
        Err(join) => Err(SourceError::Broken(format!("the source's task failed: {join}"))),
    };
    (since.elapsed(), ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    #[test]
    fn waits_grow_while_nothing_is_reached_and_stay_short() {
        let mut waits = Waits::default();
        let of_an_outage: Vec<_> = (0..6).map(|_| waits.after(NEVER).as_millis()).collect();
        assert_eq!(of_an_outage, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    }

    #[test]
    fn a_source_that_was_well_is_connected_again_soon() {
        let mut waits = Waits::default();
        while waits.after(NEVER) < LONGEST_WAIT {}
        assert_eq!(waits.after(WELL_AFTER), FIRST_WAIT);
    }

    #[test]
    fn one_that_breaks_after_each_connect_is_not() {
        let mut waits = Waits::default();
        let soon = WELL_AFTER - Duration::from_millis(1);
        while waits.after(soon) < LONGEST_WAIT {}
        assert_eq!(waits.after(soon), LONGEST_WAIT);
    }
}
