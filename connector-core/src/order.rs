//! Order by key: two events with equal keys are never called at the same time in this process,
//! and they go in order of arrival (invariant 12).
//!
//! A key is process-wide, not a lane's: when a partition is taken away and comes back while an old
//! call for one of its keys still runs, the new delivery waits behind it.

use std::collections::{HashMap, HashSet, VecDeque, hash_map};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::OrderKey;
use crate::lane::{LaneShared, Work};

/// The keys whose events run or wait.
#[derive(Default)]
pub(crate) struct Keys(Mutex<HashMap<OrderKey, VecDeque<Work>>>);

/// The keys of one ordered lane of which an event was released: whatever follows is released too.
#[derive(Debug, Default)]
pub(crate) struct Closed(Mutex<HashSet<OrderKey>>);

/// What became of an event that asked for its turn.
pub(crate) enum Entry {
    /// It is its turn.
    Now(Work, Turn),
    /// It waits, or has been released because an earlier one of its key was.
    Taken,
}

impl Keys {
    /// Lets an event queue up for its key.
    pub(crate) fn enter(self: &Arc<Self>, key: OrderKey, work: Work) -> Entry {
        let released = {
            let mut keys = self.lock();
            // Looked at under the lock: `leave` cannot have passed by between look and queue.
            if work.is_over() || work.lane.closed.contains(&key) {
                work
            } else {
                match keys.entry(key) {
                    hash_map::Entry::Occupied(mut waiting) => {
                        waiting.get_mut().push_back(work);
                        return Entry::Taken;
                    }
                    hash_map::Entry::Vacant(free) => {
                        free.insert(VecDeque::new());
                        return Entry::Now(work, Turn { keys: Arc::clone(self), key: Some(key) });
                    }
                }
            }
        };
        drop(released);
        Entry::Taken
    }

    /// Releases every waiting event of lanes that have ended, and every one whose lease has, with
    /// those that wait behind it in the same lane.
    pub(crate) fn leave(&self) {
        let mut released = Vec::new();
        for waiting in self.lock().values_mut() {
            if !waiting.iter().any(Work::is_over) {
                continue;
            }
            let mut stay = VecDeque::with_capacity(waiting.len());
            let mut closed: Vec<Arc<LaneShared>> = Vec::new();
            for work in waiting.drain(..) {
                if work.is_revoked() {
                    closed.push(Arc::clone(&work.lane));
                }
                let behind = closed.iter().any(|lane| Arc::ptr_eq(lane, &work.lane));
                if behind || work.is_over() {
                    released.push(work);
                } else {
                    stay.push_back(work);
                }
            }
            *waiting = stay;
        }
        // Verdicts are given outside the lock.
        drop(released);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OrderKey, VecDeque<Work>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Closed {
    fn contains(&self, key: &OrderKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn insert(&self, key: OrderKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }
}

/// The turn of one event of a key. Pass it on with [`next`](Self::next).
pub(crate) struct Turn {
    keys: Arc<Keys>,
    key: Option<OrderKey>,
}

impl Turn {
    /// Releases every later event of this key and lane, un-called: those that wait now, and in an
    /// ordered lane also those still to come.
    pub(crate) fn close(&self, lane: &Arc<LaneShared>) {
        let Some(key) = &self.key else { return };
        let mut released = Vec::new();
        {
            let mut keys = self.keys.lock();
            if lane.options.ordered {
                lane.closed.insert(*key);
            }
            if let Some(waiting) = keys.get_mut(key) {
                let (gone, stay): (VecDeque<Work>, _) =
                    waiting.drain(..).partition(|w| Arc::ptr_eq(&w.lane, lane));
                *waiting = stay;
                released.extend(gone);
            }
        }
        drop(released);
    }

    /// Ends this turn. Gives the next event of the key with its turn, if one waits.
    pub(crate) fn next(mut self) -> Option<(Work, Turn)> {
        let key = self.key.take()?;
        let mut keys = self.keys.lock();
        match keys.get_mut(&key)?.pop_front() {
            Some(work) => Some((work, Turn { keys: Arc::clone(&self.keys), key: Some(key) })),
            None => {
                keys.remove(&key);
                None
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Only a panic or an abort drops a turn that was not passed on. The waiting events are
        // released: calling them could overtake whatever the broken one had begun.
        let Some(key) = self.key.take() else { return };
        let released = self.keys.lock().remove(&key);
        drop(released);
    }
}
