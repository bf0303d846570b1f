//! Holds: a function that cannot be called for a reason that is not the event's fault.
//!
//! A redirect, a refused method, a missing async route, a full run of dead letters: calling on
//! would fail every event the same way. Its events then wait, in flight. One of them tries a call
//! each `max_retry_wait`; when one is answered well, the hold ends and all go on.
//!
//! A hold that no event is in any more, because their lanes took them away, is told to nobody:
//! nobody here would see that the function can be called again, and `/readyz` would fail on for it.
//! It still spaces the tries of events that come back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::MutexGuard;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::conditions::{Conditions, Subject};
use crate::event::FunctionName;

type Key = (Arc<str>, FunctionName);

/// The holds of the process.
#[derive(Debug)]
pub struct Holds {
    conditions: Conditions,
    /// Looked at for every call, so that no lock is taken while nothing is held.
    count: AtomicUsize,
    /// Conditions are told under its lock: whoever leaves must not undo what the next one has said.
    held: Mutex<HashMap<Key, Arc<Hold>>>,
}

/// What shows that the reason of a hold is gone, beside an answer that is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mends {
    /// Nothing else: the function itself refuses its events.
    GoodAnswer,
    /// Any answer of the function's own: calls do reach it again. Otherwise an event that is
    /// refused for good would hold its topic for ever once it is the one that tries.
    AnyAnswer,
}

/// One topic held for one function.
#[derive(Debug)]
pub struct Hold {
    /// What ends it.
    pub mends: Mends,
    /// Since when.
    pub since: SystemTime,
    key: Key,
    why: Mutex<String>,
    /// Whose turn it is to try, and when the last one had tried.
    trying: tokio::sync::Mutex<Instant>,
    /// Changed under the lock of [`Holds::held`] only.
    waiting: AtomicUsize,
    ended: CancellationToken,
}

/// An event is in a hold as long as this lives, waiting or trying. With the last one goes what is
/// said of the hold.
#[derive(Debug)]
pub struct Waiting<'a> {
    holds: &'a Holds,
    hold: Arc<Hold>,
}

impl Waiting<'_> {
    /// The hold.
    #[must_use]
    pub fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.holds.leave(&self.hold);
    }
}

impl Holds {
    /// No holds.
    #[must_use]
    pub fn new(conditions: Conditions) -> Self {
        Self { conditions, count: AtomicUsize::new(0), held: Mutex::default() }
    }

    /// Whether this topic is held for this function.
    #[must_use]
    pub fn is_held(&self, topic: &Arc<str>, function: &FunctionName) -> bool {
        self.any() && self.lock().contains_key(&(Arc::clone(topic), function.clone()))
    }

    /// Waits in the hold of this topic for this function, if there is one.
    #[must_use]
    pub fn join(&self, topic: &Arc<str>, function: &FunctionName) -> Option<Waiting<'_>> {
        if !self.any() {
            return None;
        }
        let held = self.lock();
        let hold = held.get(&(Arc::clone(topic), function.clone()))?;
        if hold.waiting() == 0 {
            self.conditions.unwell(&subject(topic, function), &hold.why(), true);
        }
        Some(self.enter(hold))
    }

    /// Begins a hold, and waits in it; one that exists keeps its place and gets the new reason.
    #[must_use]
    pub fn begin(
        &self,
        topic: &Arc<str>,
        function: &FunctionName,
        mends: Mends,
        why: &str,
    ) -> Waiting<'_> {
        let key = (Arc::clone(topic), function.clone());
        let mut held = self.lock();
        let hold = held.entry(key.clone()).or_insert_with(|| {
            Arc::new(Hold {
                mends,
                why: Mutex::default(),
                since: SystemTime::now(),
                key,
                trying: tokio::sync::Mutex::new(Instant::now()),
                waiting: AtomicUsize::new(0),
                ended: CancellationToken::new(),
            })
        });
        why.clone_into(&mut hold.why.lock().unwrap_or_else(PoisonError::into_inner));
        let waiting = self.enter(hold);
        self.count.store(held.len(), Ordering::Release);
        self.conditions.unwell(&subject(topic, function), why, true);
        waiting
    }

    /// Ends a hold: the function has answered well, or it is gone.
    pub fn end(&self, topic: &Arc<str>, function: &FunctionName) {
        if !self.any() {
            return;
        }
        let mut held = self.lock();
        let Some(hold) = held.remove(&(Arc::clone(topic), function.clone())) else { return };
        self.count.store(held.len(), Ordering::Release);
        hold.ended.cancel();
        self.conditions.well(&subject(topic, function));
    }

    /// Ends the holds of functions that `gone` says are no longer mapped to the topic.
    pub fn forget(&self, gone: impl Fn(&str, &FunctionName) -> bool) {
        if !self.any() {
            return;
        }
        let keys: Vec<Key> = self.lock().keys().filter(|k| gone(&k.0, &k.1)).cloned().collect();
        for (topic, function) in keys {
            self.end(&topic, &function);
            self.conditions.forget(&subject(&topic, &function));
        }
    }

    /// What is held now, and why: the holds that an event is in.
    #[must_use]
    pub fn list(&self) -> Vec<(Arc<str>, FunctionName, Arc<Hold>)> {
        self.lock()
            .iter()
            .filter(|(_, hold)| hold.waiting() > 0)
            .map(|((t, f), hold)| (Arc::clone(t), f.clone(), Arc::clone(hold)))
            .collect()
    }

    /// Adds one more to what is in a hold. Under the lock.
    fn enter(&self, hold: &Arc<Hold>) -> Waiting<'_> {
        hold.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting { holds: self, hold: Arc::clone(hold) }
    }

    fn leave(&self, hold: &Arc<Hold>) {
        let held = self.lock();
        let is_last = hold.waiting.fetch_sub(1, Ordering::Relaxed) == 1;
        // One that has ended has said so, and may have a successor by now.
        let is_current = held.get(&hold.key).is_some_and(|current| Arc::ptr_eq(current, hold));
        if is_last && is_current {
            self.conditions.forget(&subject(&hold.key.0, &hold.key.1));
        }
    }

    fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Hold>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Why, in a sentence: what the last event met that began it, or found it begun.
    #[must_use]
    pub fn why(&self) -> String {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many events are in it, waiting or trying.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until the hold has ended (`None`) or it is this event's turn to try (a guard to keep
    /// while trying, with the time of the last try, or of the hold's beginning).
    ///
    /// Cancel-safe.
    pub async fn turn(&self) -> Option<MutexGuard<'_, Instant>> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => None,
            turn = self.trying.lock() => Some(turn),
        }
    }

    /// Whether the hold has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Resolves when the hold has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

fn subject(topic: &str, function: &FunctionName) -> Subject {
    Subject(format!("{topic} => {function}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_tells_what_was_met_last() {
        let holds = Holds::new(Conditions::new());
        let (topic, function) = ("orders".into(), FunctionName::new("bill.fn"));
        let first = holds.begin(&topic, &function, Mends::AnyAnswer, "status 405");
        let second = holds.begin(&topic, &function, Mends::AnyAnswer, "status 302");
        assert_eq!((first.hold().why(), second.hold().waiting()), ("status 302".to_owned(), 2));
    }
}
