//! What is remembered of every (event, function): running, or how it ended.
//!
//! A broker may deliver an event again while a call for it still runs, or after it has ended but
//! before the broker learned of it. The pair memory makes sure that a function is then not called
//! again (invariant 11): a redelivery joins the running call, or takes over its outcome.
//!
//! A pair is 128 bits of a hash over function, event id and stamp: 100,000 of them must fit a
//! small host, and the strings would not. A collision among so few is less likely than a memory
//! error.
//!
//! What an event that is not settled needs stands in one small table. What nothing needs any more
//! stands in three others by age, and the oldest is emptied as a whole: so nobody has to note in
//! which order pairs are to be forgotten, or to look for one.

use std::collections::{HashMap, hash_map};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::event::{Event, FunctionName};

/// How a pair ended. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The function answered well.
    Delivered,
    /// Stored at the dead-letter destination.
    DeadLettered,
    /// Dropped by policy, counted and logged.
    Dropped,
}

/// Outcomes of settled events that are remembered at least; beyond it, the oldest are forgotten.
pub const REMEMBERED: usize = 100_000;

/// In bytes, so that it stands beside an [`Entry`] without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair([[u8; 8]; 2]);

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_ne_bytes(self.0[0]));
    }
}

/// A pair is a hash already, and nobody outside knows how it comes about.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a pair hashes as one number");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The memory of the process.
#[derive(Debug)]
pub struct PairMemory {
    hashers: [RandomState; 2],
    state: Mutex<State>,
}

type Table<T> = HashMap<Pair, T, BuildHasherDefault<AsItIs>>;

#[derive(Debug)]
struct State {
    /// What runs, or is needed because its event is not settled.
    needed: Table<Entry>,
    /// Who waits for running pairs: few do.
    joined: Table<Vec<oneshot::Sender<Outcome>>>,
    settled: Generations,
}

#[derive(Debug)]
enum Entry {
    Running,
    Finished { outcome: Outcome, pins: u32 },
}

/// Outcomes that nothing needs, the youngest table first. When that is full the oldest is emptied
/// and takes its place, so the two behind it are full, and together hold what is to be remembered.
/// A pair that was needed once more stands in a younger one as well, with the same outcome.
#[derive(Debug)]
struct Generations {
    tables: [Table<Outcome>; 3],
    /// How many are put into one table.
    each: usize,
}

impl Generations {
    fn of(remembered: usize) -> Self {
        Self { tables: Default::default(), each: remembered.div_ceil(2) }
    }

    fn get(&self, pair: &Pair) -> Option<Outcome> {
        self.tables.iter().find_map(|table| table.get(pair)).copied()
    }

    fn put(&mut self, pair: Pair, outcome: Outcome) {
        if self.tables[0].len() >= self.each {
            self.tables.rotate_right(1);
            // Keeps its room: it will be as full again.
            self.tables[0].clear();
        }
        self.tables[0].insert(pair, outcome);
    }
}

/// What a delivery finds when it wants to call a function.
pub enum Claim {
    /// Nobody did: call it, then [`Claimed::finish`].
    Fresh(Claimed),
    /// A call for an earlier delivery runs; resolves to its outcome. An error: it ended without
    /// one, claim again.
    Running(oneshot::Receiver<Outcome>),
    /// It has ended before.
    Finished(Outcome, Pin),
}

impl PairMemory {
    /// An empty memory that keeps the last `remembered` settled pairs, and up to half as many more.
    #[must_use]
    pub fn new(remembered: usize) -> Arc<Self> {
        let hashers = [RandomState::new(), RandomState::new()];
        let settled = Generations::of(remembered);
        let state = State { needed: Table::default(), joined: Table::default(), settled };
        Arc::new(Self { hashers, state: Mutex::new(state) })
    }

    /// Claims the pair for a call, or tells what is known of it.
    #[must_use]
    pub fn claim(self: &Arc<Self>, event: &Event, function: &FunctionName) -> Claim {
        let pair = self.pair(event, function);
        let mut state = self.lock();
        let State { needed, joined, settled } = &mut *state;
        let pin = || Pin { memory: Arc::clone(self), pair };
        match needed.entry(pair) {
            hash_map::Entry::Occupied(known) => match known.into_mut() {
                Entry::Running => {
                    let (tell, hear) = oneshot::channel();
                    joined.entry(pair).or_default().push(tell);
                    Claim::Running(hear)
                }
                Entry::Finished { outcome, pins } => {
                    *pins += 1;
                    Claim::Finished(*outcome, pin())
                }
            },
            hash_map::Entry::Vacant(free) => {
                if let Some(outcome) = settled.get(&pair) {
                    free.insert(Entry::Finished { outcome, pins: 1 });
                    return Claim::Finished(outcome, pin());
                }
                free.insert(Entry::Running);
                Claim::Fresh(Claimed { memory: Arc::clone(self), pair, open: true })
            }
        }
    }

    fn pair(&self, event: &Event, function: &FunctionName) -> Pair {
        Pair(self.hashers.each_ref().map(|build| {
            let mut hasher = build.build_hasher();
            function.hash(&mut hasher);
            event.id.hash(&mut hasher);
            event.stamp.hash(&mut hasher);
            hasher.finish().to_ne_bytes()
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unpin(&self, pair: Pair) {
        let mut state = self.lock();
        let State { needed, settled, .. } = &mut *state;
        let hash_map::Entry::Occupied(mut entry) = needed.entry(pair) else { return };
        let Entry::Finished { outcome, pins } = entry.get_mut() else { return };
        *pins -= 1;
        if *pins == 0 {
            settled.put(pair, *outcome);
            entry.remove();
        }
    }
}

/// The right to call a function for an event, held by one delivery at a time. Dropped without an
/// outcome, by release or panic, it lets the next claimant call.
#[must_use]
pub struct Claimed {
    memory: Arc<PairMemory>,
    pair: Pair,
    open: bool,
}

impl Claimed {
    /// Remembers how it ended and tells everyone who waits for it.
    pub fn finish(mut self, outcome: Outcome) -> Pin {
        self.open = false;
        let ended = Entry::Finished { outcome, pins: 1 };
        let waiters = {
            let mut state = self.memory.lock();
            state.needed.insert(self.pair, ended);
            state.joined.remove(&self.pair)
        };
        for waiter in waiters.into_iter().flatten() {
            // A waiter that has gone needs no answer.
            waiter.send(outcome).ok();
        }
        Pin { memory: Arc::clone(&self.memory), pair: self.pair }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let waiters = {
            let mut state = self.memory.lock();
            state.needed.remove(&self.pair);
            state.joined.remove(&self.pair)
        };
        // Whoever joined hears of it by that, and claims the pair itself.
        drop(waiters);
    }
}

/// Keeps one outcome from being forgotten while its event is not settled with the broker.
#[derive(Debug)]
pub struct Pin {
    memory: Arc<PairMemory>,
    pair: Pair,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.memory.unpin(self.pair);
    }
}

/// The pins of one event: one for each function, most often one.
#[derive(Debug, Default)]
pub enum Pins {
    /// Nothing is pinned.
    #[default]
    None,
    /// That of one function.
    One(Pin),
    /// Those of several.
    Many(Vec<Pin>),
}

impl Pins {
    /// Adds one.
    pub fn push(&mut self, pin: Pin) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(pin),
            Self::One(first) => Self::Many(vec![first, pin]),
            Self::Many(mut pins) => {
                pins.push(pin);
                Self::Many(pins)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::EventId;

    fn event(id: &str, stamp: u64) -> Event {
        let mut event = Event::new(EventId::new(id), "t".into(), Bytes::new());
        event.stamp = (stamp, 0);
        event
    }

    fn fresh(claim: Claim) -> Claimed {
        match claim {
            Claim::Fresh(claimed) => claimed,
            Claim::Running(_) => panic!("running"),
            Claim::Finished(outcome, _) => panic!("finished: {outcome:?}"),
        }
    }

    #[tokio::test]
    async fn a_redelivery_joins_the_running_call() {
        let memory = PairMemory::new(10);
        let f = FunctionName::new("f");
        let claimed = fresh(memory.claim(&event("a", 0), &f));
        let Claim::Running(joined) = memory.claim(&event("a", 0), &f) else {
            panic!("a second delivery must join");
        };
        let _pin = claimed.finish(Outcome::DeadLettered);
        assert_eq!(joined.await, Ok(Outcome::DeadLettered));
        assert!(matches!(
            memory.claim(&event("a", 0), &f),
            Claim::Finished(Outcome::DeadLettered, _)
        ));
    }

    #[tokio::test]
    async fn a_call_without_an_outcome_leaves_the_pair_to_the_next() {
        let memory = PairMemory::new(10);
        let f = FunctionName::new("f");
        let claimed = fresh(memory.claim(&event("a", 0), &f));
        let Claim::Running(joined) = memory.claim(&event("a", 0), &f) else { panic!("must join") };
        drop(claimed);
        assert!(joined.await.is_err());
        let _claimed = fresh(memory.claim(&event("a", 0), &f));
    }

    #[test]
    fn a_remembered_pair_takes_17_bytes() {
        assert_eq!(size_of::<(Pair, Outcome)>(), 17);
    }

    #[test]
    fn the_same_id_with_another_stamp_is_another_event() {
        let memory = PairMemory::new(10);
        let f = FunctionName::new("f");
        let _pin = fresh(memory.claim(&event("a", 1), &f)).finish(Outcome::Delivered);
        let _other = fresh(memory.claim(&event("a", 2), &f));
        let _function = fresh(memory.claim(&event("a", 1), &FunctionName::new("g")));
    }

    #[test]
    fn unsettled_pairs_are_never_forgotten_and_settled_ones_oldest_first() {
        let memory = PairMemory::new(2);
        let f = FunctionName::new("f");
        let end = |id: &str| fresh(memory.claim(&event(id, 0), &f)).finish(Outcome::Delivered);
        let unsettled = end("kept");
        for id in ["a", "b", "c", "d"] {
            drop(end(id));
        }
        drop(fresh(memory.claim(&event("a", 0), &f)));
        assert!(matches!(memory.claim(&event("kept", 0), &f), Claim::Finished(..)));
        // Looked at again, b is young again: e and g push c and d out.
        let Claim::Finished(_, again) = memory.claim(&event("b", 0), &f) else { panic!("b") };
        drop(again);
        drop(end("e"));
        drop(end("g"));
        assert!(matches!(memory.claim(&event("b", 0), &f), Claim::Finished(..)));
        drop(fresh(memory.claim(&event("c", 0), &f)));
        drop(unsettled);
    }

    #[test]
    fn as_many_as_asked_for_are_remembered_and_at_most_half_as_many_more() {
        for remembered in [1, 2, 7, 100] {
            let memory = PairMemory::new(remembered);
            let f = FunctionName::new("f");
            let known = |number: usize| {
                let pair = memory.pair(&event(&number.to_string(), 0), &f);
                memory.lock().settled.get(&pair).is_some()
            };
            for number in 0..5 * remembered {
                let claim = memory.claim(&event(&number.to_string(), 0), &f);
                drop(fresh(claim).finish(Outcome::Delivered));
                let first = (number + 1).saturating_sub(remembered);
                assert!((first..=number).all(known), "{remembered} after {number}");
                let all = (0..=number).filter(|number| known(*number)).count();
                assert!(all <= 3 * remembered.div_ceil(2), "{all} of {remembered}");
                assert!(memory.lock().needed.is_empty());
            }
        }
    }

    #[test]
    fn a_pair_that_is_delivered_again_is_not_forgotten_meanwhile() {
        let memory = PairMemory::new(1);
        let f = FunctionName::new("f");
        let end = |id: &str| fresh(memory.claim(&event(id, 0), &f)).finish(Outcome::Delivered);
        drop(end("a"));
        let Claim::Finished(_, again) = memory.claim(&event("a", 0), &f) else { panic!("a") };
        for id in ["b", "c", "d"] {
            drop(end(id));
        }
        assert!(matches!(memory.claim(&event("a", 0), &f), Claim::Finished(..)));
        drop(again);
    }
}
