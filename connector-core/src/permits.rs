//! How many calls may run: in the whole process, and of one function (invariant 5).
//!
//! A call takes its function's permit first and the process's second, so events that wait for
//! their function's own limit hold nothing that other functions need. One more rule keeps a
//! function that hangs from taking every permit there is: while several functions are mapped, no
//! one of them may run more than three quarters of `max_inflight`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bound on running calls of the whole process.
#[derive(Debug, Clone)]
pub struct Running {
    permits: Arc<Semaphore>,
    limit: usize,
}

impl Running {
    /// At most `limit` calls.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(limit)), limit }
    }

    /// The bound.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many run now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.limit - self.permits.available_permits().min(self.limit)
    }

    /// What one function may run at most, when it asks for `wanted` and `functions` are mapped.
    #[must_use]
    pub fn share(&self, wanted: usize, functions: usize) -> usize {
        let most = if functions > 1 { self.limit - self.limit / 4 } else { self.limit };
        wanted.clamp(1, most.max(1))
    }
}

/// The bound on running calls of one function. Its limit follows the annotation while calls run.
#[derive(Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    /// The limit, and how many permits given out must not come back after it was lowered.
    limit: Mutex<(usize, usize)>,
    running: AtomicUsize,
}

impl Gate {
    /// At most `limit` calls.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit: Mutex::new((limit, 0)),
            running: AtomicUsize::new(0),
        })
    }

    /// Changes the limit. Calls that run are not cut: a lower limit holds once they have ended.
    pub fn set(&self, limit: usize) {
        let mut now = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, owed) = *now;
        if limit > old {
            let more = limit - old;
            let forgiven = more.min(owed);
            self.permits.add_permits(more - forgiven);
            *now = (limit, owed - forgiven);
        } else {
            let fewer = old - limit;
            *now = (limit, owed + fewer - self.permits.forget_permits(fewer));
        }
    }

    /// How many calls of the function may run.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// How many calls of the function run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits for the right to run one call: first of the function, then of the process.
    ///
    /// Cancel-safe: a dropped wait holds nothing.
    pub async fn enter(self: &Arc<Self>, process: &Running) -> Permit {
        // Neither semaphore is ever closed, so neither wait can fail.
        let own = Arc::clone(&self.permits).acquire_owned().await.ok();
        let own = OwnPermit { gate: Arc::clone(self), permit: own };
        let shared = Arc::clone(&process.permits).acquire_owned().await.ok();
        self.running.fetch_add(1, Ordering::Relaxed);
        Permit { _shared: shared, own }
    }
}

/// The right to run one call. Dropping it lets the next one run.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    _shared: Option<OwnedSemaphorePermit>,
    own: OwnPermit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.own.gate.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct OwnPermit {
    gate: Arc<Gate>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for OwnPermit {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut limit = self.gate.limit.lock().unwrap_or_else(PoisonError::into_inner);
        if limit.1 > 0 {
            limit.1 -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn the_functions_own_limit_is_taken_before_the_process_one() {
        let process = Running::new(2);
        let (slow, quick) = (Gate::new(1), Gate::new(1));
        let _running = slow.enter(&process).await;
        let mut waits = std::pin::pin!(slow.enter(&process));
        assert!(poll!(waits.as_mut()).is_pending());
        // The one that waits for its own function holds none of the process's permits.
        let _other = quick.enter(&process).await;
        assert_eq!(process.now(), 2);
    }

    #[tokio::test]
    async fn a_lowered_limit_holds_once_running_calls_have_ended() {
        let process = Running::new(10);
        let gate = Gate::new(3);
        let mut running = Vec::new();
        for _ in 0..3 {
            running.push(gate.enter(&process).await);
        }
        gate.set(1);
        running.truncate(1);
        let mut waits = std::pin::pin!(gate.enter(&process));
        assert!(poll!(waits.as_mut()).is_pending(), "one runs, and one is the limit");
        running.clear();
        let one = waits.await;
        gate.set(2);
        let _two = gate.enter(&process).await;
        let mut third = std::pin::pin!(gate.enter(&process));
        assert!(poll!(third.as_mut()).is_pending());
        drop(one);
        let _third = third.await;
        assert_eq!(gate.running(), 2);
    }

    #[test]
    fn one_of_several_functions_never_gets_every_permit() {
        let process = Running::new(64);
        assert_eq!(process.share(64, 1), 64);
        assert_eq!(process.share(64, 2), 48);
        assert_eq!(process.share(10, 2), 10);
        assert_eq!(Running::new(1).share(10, 2), 1);
    }
}
