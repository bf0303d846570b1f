//! Which schedules are in force, and which ticks are due: a pure answer to a reading of the clock.
//!
//! The timetable is told what is wanted ([`Timetable::apply`]) and what time it is
//! ([`Timetable::advance`]). A schedule keeps its timer as long as its function and its text stay
//! the same; everything else about a function is none of its business.
//!
//! Between two readings any time may have passed: the host slept, or somebody set its clock.
//!
//! - **Forward.** Of the ticks that fell due in between only the last one is given out; how many
//!   were passed over is told, counted up to [`MOST_COUNTED`].
//! - **Back, up to [`STEP_BACK`].** What has fallen due once does not do so again, so a schedule is
//!   silent until the clock has made up for the step.
//! - **Back by more.** Nobody wants a schedule silent for a day, so the time after the step is a
//!   new one: schedules go on from there. An instant that is reached a second time is another tick,
//!   told from the first by its [`era`](Tick::era).
//! - **Set for the first time.** A host without a clock of its own begins in 1970 or so. When its
//!   clock is set, schedules begin anew, and nothing counts as passed over.
//!
//! What this file deliberately does not do: sleep, call, or decide what becomes of a tick.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_core::FunctionName;
use jiff::{SignedDuration, Timestamp};

use crate::schedule::{Schedule, ScheduleError, ScheduleOptions};

/// A step back of the clock that is not taken for a new time.
pub const STEP_BACK: SignedDuration = SignedDuration::from_hours(1);

/// How many ticks passed over at once are counted, for each function.
pub const MOST_COUNTED: u32 = 100;

/// A clock that is behind this (2024-01-01) has not been set since the host started.
const CLOCK_IS_SET: Timestamp = Timestamp::constant(1_704_067_200, 0);

/// A schedule that does not fire for years is asked again this often.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// The schedules in force.
#[derive(Debug)]
pub struct Timetable {
    options: ScheduleOptions,
    timers: BTreeMap<FunctionName, Timer>,
    refused: BTreeMap<FunctionName, Refused>,
    /// Outlives timers, so that a schedule that is changed, or gone for a moment, fires nothing
    /// twice.
    given_out: BTreeMap<FunctionName, GivenOut>,
    /// The highest instant given out for any function that `given_out` has forgotten.
    forgotten: Timestamp,
    /// The last reading of the clock.
    seen: Timestamp,
    /// The highest reading since the clock was last set back.
    highest: Timestamp,
    /// How often the clock was set back by more than [`STEP_BACK`].
    era: u32,
    nearest: Option<Timestamp>,
    /// How many never fire.
    silent: usize,
    ticks: u64,
}

/// One tick of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Whose.
    pub function: FunctionName,
    /// The schedule it is a tick of, as annotated.
    pub schedule: Arc<str>,
    /// When it was to be.
    pub instant: Timestamp,
    /// 0; or, if the clock was set back and reaches the instant anew, how often it was set back.
    /// Function, instant and era name a tick.
    pub era: u32,
    /// How many ticks have been given out until it was, this one included.
    pub number: u64,
}

/// A tick that has fallen due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The last one that has.
    pub tick: Tick,
    /// How many before it have since the clock was last read, at most [`MOST_COUNTED`].
    pub passed_over: u32,
}

/// What became different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A schedule is in force.
    Added {
        /// Whose.
        function: FunctionName,
        /// The annotation.
        schedule: Arc<str>,
        /// Whether it ever fires.
        fires: bool,
    },
    /// A schedule is no longer in force.
    Removed {
        /// Whose.
        function: FunctionName,
        /// The annotation.
        schedule: Arc<str>,
    },
    /// An annotation was refused.
    Refused {
        /// Whose.
        function: FunctionName,
        /// The annotation.
        schedule: Arc<str>,
        /// Why.
        why: ScheduleError,
    },
}

impl Tick {
    /// Whether it was given out after `other`.
    #[must_use]
    pub fn follows(&self, other: &Self) -> bool {
        self.number > other.number
    }
}

#[derive(Debug)]
struct Timer {
    text: Arc<str>,
    schedule: Schedule,
    /// When it came into force: what `@every` counts from.
    added: Timestamp,
    next: Option<Timestamp>,
    /// When `next` was last looked for.
    asked: Timestamp,
}

#[derive(Debug)]
struct Refused {
    text: Arc<str>,
    why: ScheduleError,
}

/// What has been given out for one function.
#[derive(Debug, Clone, Copy)]
struct GivenOut {
    /// The last instant since the clock was set back.
    last: Option<Timestamp>,
    /// The highest instant ever.
    highest: Timestamp,
}

impl Timetable {
    /// An empty one. `now` is the first reading of the clock.
    #[must_use]
    pub fn new(options: ScheduleOptions, now: Timestamp) -> Self {
        Self {
            options,
            timers: BTreeMap::new(),
            refused: BTreeMap::new(),
            given_out: BTreeMap::new(),
            forgotten: Timestamp::MIN,
            seen: now,
            highest: now,
            era: 0,
            nearest: None,
            silent: 0,
            ticks: 0,
        }
    }

    /// Puts exactly the wanted schedules in force, and tells what became different.
    ///
    /// [`advance`](Self::advance) to `now` first: what fell due before is due all the same.
    pub fn apply<'a>(
        &mut self,
        wanted: impl IntoIterator<Item = (&'a FunctionName, &'a str)>,
        now: Timestamp,
    ) -> Vec<Change> {
        let wanted: BTreeMap<_, _> = wanted.into_iter().collect();
        let mut changes = Vec::new();
        self.timers.retain(|function, timer| {
            let stays = wanted.get(function) == Some(&&*timer.text);
            if !stays {
                let (function, schedule) = (function.clone(), Arc::clone(&timer.text));
                changes.push(Change::Removed { function, schedule });
            }
            stays
        });
        self.refused.retain(|function, refused| wanted.get(function) == Some(&&*refused.text));
        for (function, text) in wanted {
            if !self.timers.contains_key(function) && !self.refused.contains_key(function) {
                changes.push(self.add(function, text.into(), now));
            }
        }
        let (timers, forgotten) = (&self.timers, &mut self.forgotten);
        self.given_out.retain(|function, given_out| {
            let stays = timers.contains_key(function) || given_out.highest > now - STEP_BACK;
            if !stays {
                *forgotten = given_out.highest.max(*forgotten);
            }
            stays
        });
        self.find_nearest();
        changes
    }

    fn add(&mut self, function: &FunctionName, text: Arc<str>, now: Timestamp) -> Change {
        let (function, schedule) = (function.clone(), Arc::clone(&text));
        match Schedule::parse(&text, &self.options) {
            Ok(parsed) => {
                let after = GivenOut::after(self.given_out.get_mut(&function), now);
                let next = parsed.next_after(after, now);
                let timer = Timer { text, schedule: parsed, added: now, next, asked: now };
                self.timers.insert(function.clone(), timer);
                Change::Added { function, schedule, fires: next.is_some() }
            }
            Err(why) => {
                self.refused.insert(function.clone(), Refused { text, why: why.clone() });
                Change::Refused { function, schedule, why }
            }
        }
    }

    /// Takes a reading of the clock, and gives out what has fallen due: at most one tick for each
    /// function.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Due> {
        let seen = std::mem::replace(&mut self.seen, now);
        if self.highest > now + STEP_BACK {
            self.era += 1;
            self.highest = now;
        }
        self.highest = self.highest.max(now);
        if seen < CLOCK_IS_SET && now >= CLOCK_IS_SET {
            for timer in self.timers.values_mut() {
                timer.added = now;
                timer.find_next(now, now);
            }
        } else if now < seen {
            for (function, timer) in &mut self.timers {
                // Otherwise a period would begin when the clock reaches that time anew.
                if timer.added > now + STEP_BACK {
                    timer.added = now;
                }
                timer.find_next(GivenOut::after(self.given_out.get_mut(function), now), now);
            }
        } else if self.nearest.is_none_or(|nearest| nearest > now) {
            // Most readings: nothing to be done, whatever the number of schedules.
            return Vec::new();
        }
        let mut due = Vec::new();
        for (function, timer) in &mut self.timers {
            if timer.wakes() > now {
                continue;
            }
            let Some(first) = timer.next else {
                timer.find_next(now, now);
                continue;
            };
            let (instant, passed_over) = timer.last_due(first, now);
            timer.find_next(instant, now);
            let fresh = GivenOut { last: None, highest: self.forgotten };
            let given_out = self.given_out.entry(function.clone()).or_insert(fresh);
            let era = if given_out.note(instant) { self.era } else { 0 };
            self.ticks += 1;
            let (function, schedule) = (function.clone(), Arc::clone(&timer.text));
            let tick = Tick { function, schedule, instant, era, number: self.ticks };
            due.push(Due { tick, passed_over });
        }
        self.find_nearest();
        due
    }

    /// When the clock is to be read next, as far as the schedules go.
    #[must_use]
    pub fn nearest(&self) -> Option<Timestamp> {
        self.nearest
    }

    /// How many schedules are in force.
    #[must_use]
    pub fn in_force(&self) -> usize {
        self.timers.len()
    }

    /// Who has a schedule that was refused, and why, sorted by name.
    pub fn refused(&self) -> impl ExactSizeIterator<Item = (&FunctionName, &ScheduleError)> {
        self.refused.iter().map(|(function, refused)| (function, &refused.why))
    }

    /// How many schedules never fire.
    #[must_use]
    pub fn silent_count(&self) -> usize {
        self.silent
    }

    /// Who has a schedule that never fires, sorted by name.
    pub fn silent(&self) -> impl Iterator<Item = (&FunctionName, &Arc<str>)> {
        let silent = self.timers.iter().filter(|(_, timer)| timer.next.is_none());
        silent.map(|(function, timer)| (function, &timer.text))
    }

    fn find_nearest(&mut self) {
        self.silent = self.timers.values().filter(|timer| timer.next.is_none()).count();
        self.nearest = self.timers.values().map(Timer::wakes).min();
    }
}

impl Timer {
    fn find_next(&mut self, after: Timestamp, now: Timestamp) {
        self.next = self.schedule.next_after(after, self.added);
        self.asked = now;
    }

    /// When there is something to be done about it: its next tick, or to look for one again.
    fn wakes(&self) -> Timestamp {
        self.next.unwrap_or_else(|| self.asked.saturating_add(ASK_AGAIN).unwrap_or(Timestamp::MAX))
    }

    /// The last tick that is due at `now`, and how many are before it, from `first` on.
    fn last_due(&self, first: Timestamp, now: Timestamp) -> (Timestamp, u32) {
        let next = |instant| self.schedule.next_after(instant, self.added).filter(|it| *it <= now);
        let (mut last, mut passed_over) = (first, 0);
        while let Some(later) = next(last) {
            last = later;
            passed_over += 1;
            if passed_over == MOST_COUNTED {
                return (self.last_after(last, now), passed_over);
            }
        }
        (last, passed_over)
    }

    /// The last tick that is due at `now`; `last` is an earlier one. There may be millions between
    /// the two after a jump of the clock, so they are not walked through.
    fn last_after(&self, mut last: Timestamp, now: Timestamp) -> Timestamp {
        let next = |instant| self.schedule.next_after(instant, self.added).filter(|it| *it <= now);
        // A tick is due after `low`, none is after `high`.
        let (mut low, mut high) = (last.as_second() - 1, now.as_second());
        while high - low > 1 {
            let middle = low.midpoint(high);
            match Timestamp::from_second(middle).ok().and_then(next) {
                Some(later) => {
                    last = later;
                    low = middle;
                }
                None => high = middle,
            }
        }
        last
    }
}

impl GivenOut {
    /// After which instant ticks may be given out at `now`: begins anew if the clock has been set
    /// back far enough.
    fn after(given_out: Option<&mut Self>, now: Timestamp) -> Timestamp {
        let Some(given_out) = given_out else { return now };
        if given_out.last.is_some_and(|last| last > now + STEP_BACK) {
            given_out.last = None;
        }
        given_out.last.map_or(now, |last| last.max(now))
    }

    /// Notes what is given out. Whether the instant may have been before.
    fn note(&mut self, at: Timestamp) -> bool {
        let repeated = at <= self.highest;
        self.last = Some(at);
        self.highest = self.highest.max(at);
        repeated
    }
}
