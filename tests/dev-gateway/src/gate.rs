//! Gates: calls that have begun and do not end until a test says so.
//!
//! With a gate a test brings about "exactly these calls run now" and looks at the rest of the system meanwhile, without a
//! sleep anywhere.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ledger::PATIENCE;

/// Holds calls until a test lets them go. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<GateState>>);

#[derive(Clone, Copy, Debug, Default)]
struct GateState {
    open: bool,
    /// Calls that may pass although the gate is closed.
    passes: usize,
    waiting: usize,
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(GateState::default())))
    }

    /// Lets every call pass, those that wait and those to come.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// Holds calls again.
    pub fn close(&self) {
        self.0.send_modify(|state| *state = GateState { open: false, passes: 0, ..*state });
    }

    /// Lets this many calls pass, waiting ones or later ones.
    pub fn release(&self, calls: usize) {
        self.0.send_modify(|state| state.passes += calls);
    }

    /// How many calls stand at the gate now.
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting
    }

    /// Returns once at least this many calls stand at the gate. Cancel safe.
    ///
    /// # Panics
    ///
    /// After 30 seconds, with the number that does stand there.
    pub async fn wait_for_waiting(&self, calls: usize) {
        let mut state = self.0.subscribe();
        let reached = state.wait_for(|state| state.waiting >= calls);
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("waited for {calls} calls at a gate: {:?}", *self.0.borrow());
        }
    }

    /// Stands at the gate; a call dropped while it waits takes no pass.
    pub(crate) async fn pass(&self) {
        let _standing = Standing::enter(self);
        let mut state = self.0.subscribe();
        loop {
            let passed = self.0.send_if_modified(|state| {
                if !state.open && state.passes > 0 {
                    state.passes -= 1;
                    return true;
                }
                false
            });
            if passed || state.borrow_and_update().open {
                return;
            }
            // The sender lives in `self`: it cannot be gone.
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}

struct Standing<'a>(&'a Gate);

impl<'a> Standing<'a> {
    fn enter(gate: &'a Gate) -> Self {
        gate.0.send_modify(|state| state.waiting += 1);
        Self(gate)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.waiting -= 1);
    }
}
