//! One life of a process: a runtime of its own, whose end is a crash.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread, no sockets and a clock that stands still. Dropping it ends everything
/// that runs in it at once, as a SIGKILL does.
pub struct Life(Runtime);

impl Life {
    /// A process is about to begin.
    ///
    /// # Panics
    /// When there is no memory left.
    #[must_use]
    pub fn begin() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        Self(runtime.expect("a runtime without sockets needs nothing but memory"))
    }

    /// Lives through `life`, then dies.
    pub fn live<T>(self, life: impl Future<Output = T>) -> T {
        self.0.block_on(life)
    }
}

/// Lets the process run until it can do nothing more without time passing.
pub async fn settle() {
    // The paused clock moves on only when there is nothing left to run.
    tokio::time::sleep(Duration::from_millis(1)).await;
}
