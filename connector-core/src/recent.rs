//! What happened in the last minutes, for people who look at the status page.
//!
//! It is written when something happens and never by a timer, so that an idle process stays idle:
//! a ring of short steps moves on when it is next written or read. Everything here is bounded,
//! whatever topics publishers invent.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// How long one step of a ring is.
pub const STEP: Duration = Duration::from_secs(5);

/// How many steps a ring has: five minutes.
pub const STEPS: usize = 60;

/// How many topics are told apart. Events of further ones are counted together.
pub const MOST_TOPICS: usize = 200;

/// A longer topic is counted with the others: publishers choose topics, and memory is bounded.
const LONGEST_TOPIC: usize = 512;

/// The calls of one function in the last minutes. Takes memory from its first call on.
#[derive(Debug, Default)]
pub struct Calls(Mutex<Option<Box<Rings>>>);

#[derive(Debug)]
struct Rings {
    well: Ring,
    failed: Ring,
    times: Times,
}

/// [`Calls`], to be shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CallsShown {
    /// Calls that were answered well in each step, the oldest first; the last step is not over.
    pub well: Vec<u32>,
    /// Calls that were not, likewise.
    pub failed: Vec<u32>,
    /// Half of the calls took at most this many seconds; `None` if there were none.
    pub p50_seconds: Option<f64>,
    /// All calls but one in a hundred took at most this many seconds.
    pub p99_seconds: Option<f64>,
}

impl Calls {
    /// Notes a call that has ended now.
    pub fn note(&self, well: bool, took: Duration) {
        let now = Instant::now();
        let mut rings = self.lock();
        let rings = rings.get_or_insert_with(|| Box::new(Rings::new(now)));
        if well {
            rings.well.add(now)
        } else {
            rings.failed.add(now)
        }
        rings.times.add(took, now);
    }

    /// What is to be shown of it now. Empty if there has never been a call.
    #[must_use]
    pub fn show(&self) -> CallsShown {
        let now = Instant::now();
        let mut rings = self.lock();
        let Some(rings) = rings.as_mut() else { return CallsShown::default() };
        rings.times.turn(now);
        CallsShown {
            well: rings.well.list(now),
            failed: rings.failed.list(now),
            p50_seconds: rings.times.quantile(0.5),
            p99_seconds: rings.times.quantile(0.99),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Rings>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rings {
    fn new(now: Instant) -> Self {
        Self { well: Ring::new(now), failed: Ring::new(now), times: Times::new(now) }
    }
}

/// Counts in steps; the oldest is overwritten.
#[derive(Debug)]
struct Ring {
    counts: [u32; STEPS],
    newest: usize,
    /// When the newest step began.
    began: Instant,
}

impl Ring {
    fn new(now: Instant) -> Self {
        Self { counts: [0; STEPS], newest: 0, began: now }
    }

    fn add(&mut self, now: Instant) {
        self.turn(now);
        let count = &mut self.counts[self.newest];
        *count = count.saturating_add(1);
    }

    /// Moves on to the step that `now` is in.
    fn turn(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.began).as_secs() / STEP.as_secs();
        if steps == 0 {
            return;
        }
        for _ in 0..steps.min(STEPS as u64) {
            self.newest = (self.newest + 1) % STEPS;
            self.counts[self.newest] = 0;
        }
        self.began += STEP * u32::try_from(steps).unwrap_or(u32::MAX);
    }

    /// The counts, the oldest first.
    fn list(&mut self, now: Instant) -> Vec<u32> {
        self.turn(now);
        let (new, old) = self.counts.split_at(self.newest + 1);
        [old, new].concat()
    }
}

/// How many buckets double the time: a quantile is exact to within a fifth.
const PER_OCTAVE: f64 = 4.0;
/// The upper end of the first bucket, in seconds.
const SHORTEST: f64 = 100e-6;
/// From a tenth of a millisecond to seven minutes, in fours to the octave.
const BUCKETS: usize = 88;

/// How long calls took: a histogram of the current two and a half minutes, and of those before.
#[derive(Debug)]
struct Times {
    new: [u32; BUCKETS],
    old: [u32; BUCKETS],
    began: Instant,
}

impl Times {
    /// Half of what a ring remembers.
    const GENERATION: Duration = Duration::from_secs(STEP.as_secs() * STEPS as u64 / 2);

    fn new(now: Instant) -> Self {
        Self { new: [0; BUCKETS], old: [0; BUCKETS], began: now }
    }

    fn add(&mut self, took: Duration, now: Instant) {
        self.turn(now);
        let bucket = ((took.as_secs_f64() / SHORTEST).log2() * PER_OCTAVE).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the buckets there are; no time at all, whose logarithm is minus infinity, as well"
        )]
        let bucket = bucket.clamp(0.0, (BUCKETS - 1) as f64) as usize;
        self.new[bucket] = self.new[bucket].saturating_add(1);
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < Self::GENERATION {
            return;
        }
        let new = std::mem::replace(&mut self.new, [0; BUCKETS]);
        self.old = if age < 2 * Self::GENERATION { new } else { [0; BUCKETS] };
        self.began = now;
    }

    /// The upper end of the bucket that `share` of all calls do not exceed, in seconds.
    fn quantile(&self, share: f64) -> Option<f64> {
        let counts = || self.new.iter().zip(&self.old).map(|(a, b)| f64::from(*a) + f64::from(*b));
        let total: f64 = counts().sum();
        let mut below = 0.0;
        let position = counts().position(|count| {
            below += count;
            count > 0.0 && below >= total * share
        })?;
        Some(SHORTEST * (position as f64 / PER_OCTAVE).exp2())
    }
}

/// The deliveries of each topic in the last minutes.
#[derive(Debug)]
pub struct Traffic(Mutex<Topics>);

#[derive(Debug)]
struct Topics {
    rows: HashMap<Arc<str>, Row>,
    /// The topics beyond [`MOST_TOPICS`].
    others: Row,
    /// When it was last looked for a row that can go.
    swept: Instant,
}

#[derive(Debug)]
struct Row {
    received: u64,
    last: Instant,
    steps: Box<Ring>,
}

/// The deliveries of one topic, to be shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicShown {
    /// Its name; `None`: those that are not told apart.
    pub topic: Option<Arc<str>>,
    /// How many deliveries there were since it is counted.
    pub received: u64,
    /// How long ago the last one was.
    pub last_seconds_ago: u64,
    /// How many there were in each step, the oldest first; the last step is not over.
    pub recent: Vec<u32>,
}

impl Traffic {
    /// Nothing has been received.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Topics { rows: HashMap::new(), others: Row::new(now), swept: now }))
    }

    /// Notes a delivery that came at `now`.
    pub fn received(&self, topic: &Arc<str>, now: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).row(topic, now).add(now);
    }

    /// What is to be shown of each topic, by name; last those that are not told apart.
    #[must_use]
    pub fn show(&self) -> Vec<TopicShown> {
        let now = Instant::now();
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown: Vec<_> =
            topics.rows.iter_mut().map(|(topic, row)| row.show(Some(topic), now)).collect();
        shown.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
        if topics.others.received > 0 {
            shown.push(topics.others.show(None, now));
        }
        shown
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new()
    }
}

impl Topics {
    fn row(&mut self, topic: &Arc<str>, now: Instant) -> &mut Row {
        self.make_place(now);
        let has_place = self.rows.len() < MOST_TOPICS && topic.len() <= LONGEST_TOPIC;
        match self.rows.entry(Arc::clone(topic)) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(place) if has_place => place.insert(Row::new(now)),
            Entry::Vacant(_) => &mut self.others,
        }
    }

    /// Forgets topics that were silent for as long as a ring remembers, where another one needs
    /// the place. Looked for once a step.
    fn make_place(&mut self, now: Instant) {
        if self.rows.len() >= MOST_TOPICS && now - self.swept >= STEP {
            self.swept = now;
            self.rows.retain(|_, row| now - row.last < STEP * STEPS as u32);
        }
    }
}

impl Row {
    fn new(now: Instant) -> Self {
        Self { received: 0, last: now, steps: Box::new(Ring::new(now)) }
    }

    fn add(&mut self, now: Instant) {
        self.received += 1;
        self.last = now;
        self.steps.add(now);
    }

    fn show(&mut self, topic: Option<&Arc<str>>, now: Instant) -> TopicShown {
        TopicShown {
            topic: topic.cloned(),
            received: self.received,
            last_seconds_ago: (now - self.last).as_secs(),
            recent: self.steps.list(now),
        }
    }
}
