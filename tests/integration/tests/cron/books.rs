//! The judge: whether each tick that fell due has an account, and none has been called twice.
//!
//! What docs/cron.md promises of one process, and what is asked here:
//!
//! - Between "Added" and "draining" each tick was called, or given up after calls that failed (`dropped`), or missed; the
//!   log tells of each. The metrics tell of as many, which is looked at while the process still runs.
//! - After SIGKILL the same holds up to the last tick that was answered by then. What is missing after it was on its way.
//! - No tick is called twice, but for calls that broke off while the gateway could not be reached, and for the retries that
//!   one function asks for.
//! - What was called well while all was well does not count as missed.
//! - A clock that is set forward passes over what is in between, which is counted as a hundred. One that is set back
//!   begins a time of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use integration::ticks::{Missed, moment};

use super::evidence::{Called, End, Evidence, Life, Outage, Stretch};
use super::scene::{FUNCTIONS, RETRIES, RETRYING};

#[cfg(test)]
mod tests;

/// As many are counted at one jump of the clock.
const MOST_COUNTED: i64 = 100;
/// An answer may be on its way for so long.
const TRAVEL: i64 = 1_000;
/// A process may read its clock so many seconds after that was set, since it sleeps for up to one.
const WAKING: i64 = 2;

/// What became of all ticks, and what must not have.
#[derive(Debug, Default)]
pub(super) struct Books {
    processes: usize,
    called: usize,
    missed: usize,
    /// Given up, and never received by the gateway.
    dropped: usize,
    repeated: usize,
    /// On their way when their process was killed.
    lost: usize,
    /// How often an hour of ticks was passed over.
    jumps: usize,
    pub(super) violations: Vec<String>,
}

/// What became of one tick.
#[derive(Debug, Default)]
struct Account<'a> {
    calls: Vec<&'a Called>,
    is_missed: bool,
    is_dropped: bool,
}

/// What one process says and did of one function's ticks.
struct Ledger<'a> {
    life: &'a Life,
    /// `name.namespace`.
    function: String,
    ticks: BTreeMap<i64, Account<'a>>,
    /// Those before which a hundred were passed over, or more: all that the clock did not show.
    jumps: BTreeSet<i64>,
}

/// How many ticks a log says were missed.
pub(super) fn missed_by(log: &[String]) -> u64 {
    log.iter().filter_map(|line| Missed::read(line)).map(|missed| missed.ticks.unsigned_abs()).sum()
}

impl Evidence {
    pub(super) fn judge(&self) -> Books {
        let mut books = Books { processes: self.lives.len(), ..Books::default() };
        for life in &self.lives {
            for (name, _) in FUNCTIONS {
                let ledger = Ledger::of(life, name, &self.calls);
                ledger.judge(&self.outages, &mut books);
            }
        }
        self.judge_successions(&mut books);
        books
    }

    /// No process calls again what one before it has called. Of what was called while the clock was wrong nothing can be
    /// said: nobody keeps it.
    fn judge_successions(&self, books: &mut Books) {
        let mut first = BTreeMap::new();
        let right = |call: &&Called| (call.began / 1000 - call.instant).abs() < 1_800;
        for call in self.calls.iter().filter(right) {
            let life = *first.entry((&call.function, call.instant)).or_insert(&call.life);
            if *life != call.life {
                books.violations.push(format!("{} by {life} and {}", call.id, call.life));
            }
        }
    }
}

impl<'a> Ledger<'a> {
    fn of(life: &'a Life, name: &str, calls: &'a [Called]) -> Self {
        let function = format!("{name}.openfaas-fn");
        let (mut ticks, mut jumps) = (BTreeMap::<i64, Account<'a>>::new(), BTreeSet::new());
        for call in calls.iter().filter(|it| it.life == life.name && it.function == function) {
            ticks.entry(call.instant).or_default().calls.push(call);
        }
        for line in &life.log {
            if let Some(missed) = Missed::read(line).filter(|it| it.function == function) {
                if missed.ticks >= MOST_COUNTED {
                    jumps.insert(missed.instant);
                    continue;
                }
                for instant in missed.instants() {
                    ticks.entry(instant).or_default().is_missed = true;
                }
            }
            if let Some(instant) = dropped(line, &function) {
                ticks.entry(instant).or_default().is_dropped = true;
            }
        }
        Self { life, function, ticks, jumps }
    }

    fn judge(&self, outages: &[Outage], books: &mut Books) {
        for due in self.due(books) {
            for instant in due.filter(|instant| !self.ticks.contains_key(instant)) {
                books.violations.push(self.tells("nobody has called or missed", instant));
            }
        }
        books.jumps += self.jumps.len();
        for (instant, account) in &self.ticks {
            let broke_off = |call: &Called| outages.iter().any(|outage| outage.took(call));
            let (last, before) = match account.calls.split_last() {
                Some((last, before)) => (Some(last), before),
                None => (None, &[][..]),
            };
            let retried = before.iter().filter(|call| !broke_off(call));
            let allowed = if self.function.starts_with(RETRYING) { RETRIES } else { 0 };
            if retried.clone().count() > allowed || retried.clone().any(|call| call.well) {
                books.violations.push(self.tells("called too often", *instant));
            }
            if account.is_missed && last.is_some_and(|call| call.well && !broke_off(call)) {
                books.violations.push(self.tells("called, and counted as missed", *instant));
            }
            books.repeated += before.len();
            match account {
                _ if last.is_some() => books.called += 1,
                Account { is_missed: true, .. } => books.missed += 1,
                _ => books.dropped += 1,
            }
        }
    }

    /// The ticks that need an account, for each time that the process' clock has shown.
    fn due(&self, books: &mut Books) -> Vec<RangeInclusive<i64>> {
        let added: Vec<_> = self.lines("Added: ").collect();
        let [added] = added[..] else {
            books.violations.push(self.tells("added or removed meanwhile", 0));
            return Vec::new();
        };
        let mut ahead = 0;
        let mut all = Vec::new();
        for (index, stretch) in self.life.clock.iter().enumerate() {
            let begins = stretch.from / 1000 + stretch.ahead;
            let first = match stretch.ahead - ahead {
                0 => time(added) / 1000 + 1,
                1.. => match self.jumps.iter().find(|tick| stretch.covers(**tick)) {
                    Some(tick) => *tick,
                    None => {
                        books.violations.push(self.tells("not counted before", begins));
                        begins
                    }
                },
                _ => begins + WAKING,
            };
            ahead = stretch.ahead;
            let last = match index + 1 == self.life.clock.len() {
                true => self.end(books),
                // What falls due when the clock is set belongs to neither time.
                false => self.last_of(*stretch),
            };
            all.push(first..=last);
        }
        all
    }

    /// The last tick that needs an account.
    fn end(&self, books: &mut Books) -> i64 {
        match &self.life.end {
            End::Drained => {
                let drained = self.life.log.iter().find(|line| line.contains(" draining"));
                time(drained.expect("a process says that it drains")) / 1000
            }
            End::Killed { at, answered } => {
                let last = answered.get(&self.function).copied().unwrap_or_default();
                let on_their_way = last + 1..=at / 1000;
                books.lost += on_their_way.filter(|it| !self.ticks.contains_key(it)).count();
                last
            }
        }
    }

    fn last_of(&self, stretch: Stretch) -> i64 {
        let within = self.ticks.keys().copied().filter(|instant| stretch.covers(*instant));
        within.max().unwrap_or_default()
    }

    fn lines(&self, word: &str) -> impl Iterator<Item = &'a String> {
        let beginning = format!("{word}{} [", self.function);
        self.life.log.iter().filter(move |line| line.contains(&beginning))
    }

    fn tells(&self, what: &str, instant: i64) -> String {
        let account = self.ticks.get(&instant);
        format!("{what}: {} of {} by {}: {account:?}", instant, self.function, self.life.name)
    }
}

impl Outage {
    /// Whether this call may have broken off in it.
    fn took(self, call: &Called) -> bool {
        call.began <= self.to && call.ended.is_none_or(|ended| ended + TRAVEL >= self.from)
    }
}

/// The tick of a function that a line says was given up.
fn dropped(line: &str, function: &str) -> Option<i64> {
    line.split_once(" dropped: ")?;
    let (_, id) = line.split_once(&format!("event.id=cron:{function}@"))?;
    Some(moment(id.split([' ', '/']).next()?) / 1000)
}

/// When a line was written, by the clock of whoever wrote it.
fn time(line: &str) -> i64 {
    moment(line.split(' ').next().unwrap_or_default())
}

impl Books {
    /// Those of both.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.violations.extend(other.violations);
        Self {
            processes: self.processes + other.processes,
            called: self.called + other.called,
            missed: self.missed + other.missed,
            dropped: self.dropped + other.dropped,
            repeated: self.repeated + other.repeated,
            lost: self.lost + other.lost,
            jumps: self.jumps + other.jumps,
            violations: self.violations,
        }
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, called, missed, dropped, repeated, lost, jumps, violations } = self;
        write!(
            f,
            "{} ticks by {processes} processes: {called} called, {missed} missed, {dropped} given up that the gateway never \
             received, {lost} gone with a process that was killed; {repeated} calls repeated, {jumps} times an hour passed \
             over; {} violations",
            called + missed + dropped + lost,
            violations.len()
        )
    }
}
