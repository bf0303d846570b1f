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
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A source that ran this long is believed to have been well: the next wait is short again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// The condition that says whether the broker is reached.
#[must_use]
pub fn broker() -> Subject {
    Subject("broker".into())
}

/// Connects and runs the source until draining begins and it has returned.
///
/// Not cancel-safe: a dropped supervisor leaves what the source had received to redelivery.
pub async fn supervise<S: Source>(config: Arc<S::Config>, intake: Intake) {
    let mut wait = FIRST_WAIT;
    while !intake.is_draining() {
        let began = Instant::now();
        let ended = attempt::<S>(&config, &intake).await;
        intake.metrics().source_connected.set(0);
        let why = match ended {
            Ok(()) if intake.is_draining() => return,
            Ok(()) => "the source ended without being asked to".to_owned(),
            Err(error) => Chain(&error).to_string(),
        };
        intake.conditions().unwell(&broker(), &why, true);
        if began.elapsed() >= WELL_AFTER {
            wait = FIRST_WAIT;
        }
        // Spread out: replicas that lost the same broker must not return in step.
        let spread = wait.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::select! {
            biased;
            () = intake.draining() => return,
            () = tokio::time::sleep(spread) => {}
        }
        intake.metrics().source_restarts.inc();
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// One connection, from its beginning to its end.
async fn attempt<S: Source>(config: &Arc<S::Config>, intake: &Intake) -> Result<(), SourceError> {
    let source = tokio::select! {
        biased;
        () = intake.draining() => return Ok(()),
        source = S::connect(Arc::clone(config), intake.clone()) => source?,
    };
    intake.metrics().source_connected.set(1);
    intake.conditions().well(&broker());
    // In a task of its own, so that a panic in a source reads as one more error of it.
    let run = tokio::spawn(source.run());
    match run.await {
        Ok(ended) => ended,
        Err(join) => Err(SourceError::Broken(format!("the source's task failed: {join}"))),
    }
}
