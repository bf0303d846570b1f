//! Passing steps where one of them is deadly.

use std::env;
use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures_util::poll;
use rustix::process::{Signal, getpid, kill_process};
use tracing::{error, warn};

use super::Step;

/// The variable that chooses a passing: `<step>=<passing>`, with `:stop` behind it where the process is to be stopped and not
/// killed.
const VARIABLE: &str = "FAILPOINTS";

/// What the environment has chosen.
static TRAP: LazyLock<Option<Trap>> = LazyLock::new(|| {
    let text = env::var(VARIABLE).ok()?;
    Some(Trap::parse(&text).unwrap_or_else(|| panic!("{VARIABLE}={text} is no fail point")))
});

/// One passing of one step.
struct Trap {
    step: Step,
    /// The first passing is 1.
    passing: u64,
    passed: AtomicU64,
    signal: Signal,
}

impl Trap {
    fn parse(text: &str) -> Option<Self> {
        let (point, signal) = match text.strip_suffix(":stop") {
            Some(point) => (point, Signal::STOP),
            None => (text, Signal::KILL),
        };
        let (name, passing) = point.split_once('=')?;
        let step = Step::ALL.into_iter().find(|step| step.name() == name)?;
        let passing = passing.parse().ok().filter(|passing| *passing > 0)?;
        Some(Self { step, passing, passed: AtomicU64::new(0), signal })
    }

    fn spring(&self) {
        error!(step = self.step.name(), passing = self.passing, "fail point");
        kill_process(getpid(), self.signal).expect("a process may signal itself");
    }
}

/// Says that this process is not for production.
///
/// # Panics
/// The environment names what is no fail point.
pub(crate) fn announce() {
    let armed = TRAP.is_some();
    warn!(armed, "fail points are compiled in: this binary is for tests alone");
}

/// An event passes a step.
///
/// # Panics
/// The environment names what is no fail point.
pub fn pass(step: Step) {
    pass_all(step, || 1);
}

/// So many events pass a step at once.
///
/// # Panics
/// The environment names what is no fail point.
pub fn pass_all(step: Step, events: impl FnOnce() -> u64) {
    let Some(trap) = TRAP.as_ref().filter(|trap| trap.step == step) else { return };
    let events = events();
    let before = trap.passed.fetch_add(events, Ordering::Relaxed);
    if before < trap.passing && trap.passing <= before + events {
        trap.spring();
    }
}

/// So many events pass a step as soon as what `request` sends is on its way.
///
/// # Panics
/// The environment names what is no fail point.
pub async fn sent<F: Future>(step: Step, events: u64, request: F) -> F::Output {
    let mut request = pin!(request);
    if let Poll::Ready(done) = poll!(request.as_mut()) {
        pass_all(step, || events);
        return done;
    }
    // Clients hand what is to be written to a task of theirs, which has its turn now.
    tokio::task::yield_now().await;
    pass_all(step, || events);
    request.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fail_point_is_a_step_and_a_passing() {
        for step in Step::ALL {
            let trap = Trap::parse(&format!("{}=3", step.name())).unwrap();
            assert_eq!((trap.step, trap.passing, trap.signal), (step, 3, Signal::KILL));
            let trap = Trap::parse(&format!("{}=3:stop", step.name())).unwrap();
            assert_eq!((trap.step, trap.passing, trap.signal), (step, 3, Signal::STOP));
        }
        for wrong in [
            "",
            "received",
            "received=",
            "received=0",
            "unheard=1",
            "received=1,2",
            "received:stop",
        ] {
            assert!(Trap::parse(wrong).is_none(), "{wrong}");
        }
    }
}
