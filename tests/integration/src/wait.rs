//! Waiting for a state that nobody announces.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for a state before it gives up. Long: it only bounds a failure.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// How long between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until `reached` holds of what `look` gives, and returns that.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for and what was seen last.
pub async fn until<T: Debug, L: AsyncFnMut() -> T>(
    what: &str,
    mut look: L,
    mut reached: impl FnMut(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if reached(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}; there is {seen:?}");
        sleep(LOOK).await;
    }
}
