//! Holds: a function that cannot be called for a reason that is not the event's fault.
//!
//! A redirect, a refused method, a missing async route, a full run of dead letters: calling on
//! would fail every event the same way. Its events then wait, in flight. One of them tries a call
//! each `max_retry_wait`; when one is answered well, the hold ends and all go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

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
    /// Why, in a sentence.
    pub why: String,
    /// Since when.
    pub since: SystemTime,
    /// Whose turn it is to try.
    trying: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    ended: CancellationToken,
}

/// An event waits in a hold as long as this lives.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Hold);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Holds {
    /// No holds.
    #[must_use]
    pub fn new(conditions: Conditions) -> Self {
        Self { conditions, count: AtomicUsize::new(0), held: Mutex::default() }
    }

    /// The hold of this topic for this function, if there is one.
    #[must_use]
    pub fn of(&self, topic: &Arc<str>, function: &FunctionName) -> Option<Arc<Hold>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().get(&(Arc::clone(topic), function.clone())).cloned()
    }

    /// Begins a hold; one that exists keeps its place and gets the new reason.
    pub fn begin(&self, topic: &Arc<str>, function: &FunctionName, mends: Mends, why: &str) {
        {
            let mut held = self.lock();
            held.entry((Arc::clone(topic), function.clone())).or_insert_with(|| {
                Arc::new(Hold {
                    mends,
                    why: why.to_owned(),
                    since: SystemTime::now(),
                    trying: tokio::sync::Mutex::new(()),
                    waiting: AtomicUsize::new(0),
                    ended: CancellationToken::new(),
                })
            });
            self.count.store(held.len(), Ordering::Release);
        }
        self.conditions.unwell(&subject(topic, function), why, true);
    }

    /// Ends a hold: the function has answered well, or it is gone.
    pub fn end(&self, topic: &Arc<str>, function: &FunctionName) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let ended = {
            let mut held = self.lock();
            let ended = held.remove(&(Arc::clone(topic), function.clone()));
            self.count.store(held.len(), Ordering::Release);
            ended
        };
        if let Some(hold) = ended {
            hold.ended.cancel();
            self.conditions.well(&subject(topic, function));
        }
    }

    /// Ends the holds of functions that `gone` says are no longer mapped to the topic.
    pub fn forget(&self, gone: impl Fn(&str, &FunctionName) -> bool) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let keys: Vec<Key> = self.lock().keys().filter(|k| gone(&k.0, &k.1)).cloned().collect();
        for (topic, function) in keys {
            self.end(&topic, &function);
            self.conditions.forget(&subject(&topic, &function));
        }
    }

    /// What is held now, and why.
    #[must_use]
    pub fn list(&self) -> Vec<(Arc<str>, FunctionName, Arc<Hold>)> {
        self.lock()
            .iter()
            .map(|((t, f), hold)| (Arc::clone(t), f.clone(), Arc::clone(hold)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Hold>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Notes that an event waits for the hold's end or its turn to try, until the value returned
    /// is dropped.
    pub fn waits(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// How many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until the hold has ended (`None`) or it is this event's turn to try (a guard to keep
    /// while trying).
    ///
    /// Cancel-safe.
    pub async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
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
