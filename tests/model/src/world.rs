//! What is outside of the process, and the judge: functions, the place for dead letters, and what
//! may never happen.
//!
//! It knows each event by the number in its payload. It judges every call when it begins, every
//! letter, and every acknowledgement, from nothing but what it has seen itself. Here is what a play
//! does with it, `outside` has what the process reaches, and `judge` what it is judged by.

mod judge;
mod outside;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_core::invoke::{Answer, NoAnswer};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::rule::{Rule, Violation};

/// How a function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// 200.
    Well,
    /// 503: to be tried again.
    Busy,
    /// 429: to be tried again.
    Throttled,
    /// 400: refused for good.
    Refused,
    /// The connection is closed, though the gateway is well.
    Closes,
}

/// How an event ended for one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered well.
    Delivered,
    /// Its letter is stored.
    DeadLettered,
}

/// The world outside of the process. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

struct State {
    bounds: Bounds,
    events: Vec<Event>,
    /// Counts the lives of the process.
    life: u32,
    calls: BTreeMap<u64, Running>,
    letters: BTreeMap<u64, Storing>,
    next: u64,
    held: Vec<Option<Hold>>,
    tells: bool,
    history: Vec<String>,
    broken: Option<Violation>,
}

/// What the settings of the process say, as far as the world judges it.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    functions: usize,
    calls: usize,
    calls_of_function: usize,
    attempts: usize,
    /// Between tries of what is held, where what is refused is held rather than dead-lettered.
    holds: Option<Duration>,
}

struct Event {
    name: String,
    /// Events that share it go in order: that of their numbers.
    key: Option<(u32, u8)>,
    parts: Vec<Part>,
    /// What a call of it breaks, and since when.
    forbidden: Option<(Rule, Instant)>,
}

/// One function's part of an event.
#[derive(Clone, Default)]
struct Part {
    outcome: Option<Outcome>,
    /// The life that it ended in; `None`: it was another process.
    ended_in: Option<u32>,
    /// Calls in this life, and the answer to the last one.
    calls: usize,
    last: Option<Answers>,
}

struct Running {
    event: usize,
    function: usize,
    tries: bool,
    tell: Option<oneshot::Sender<Result<Answer, NoAnswer>>>,
}

struct Storing {
    event: usize,
    function: usize,
    tell: Option<oneshot::Sender<bool>>,
}

struct Hold {
    /// When it began, or when the last try did.
    since: Instant,
}

impl World {
    /// A world of so many functions, for a process with these limits: of calls, of calls of one
    /// function, and of calls for one event and function.
    #[must_use]
    pub fn new(functions: usize, calls: usize, calls_of_function: usize, attempts: usize) -> Self {
        let bounds = Bounds { functions, calls, calls_of_function, attempts, holds: None };
        Self(Arc::new(Mutex::new(State {
            bounds,
            events: Vec::new(),
            life: 0,
            calls: BTreeMap::new(),
            letters: BTreeMap::new(),
            next: 0,
            held: (0..functions).map(|_| None).collect(),
            tells: false,
            history: Vec::new(),
            broken: None,
        })))
    }

    /// What a function refuses is held, and tried again after each `wait`.
    pub fn holds(&self, wait: Duration) {
        self.lock().bounds.holds = Some(wait);
    }

    /// The history is to be told.
    pub fn tells(&self, tells: bool) {
        self.lock().tells = tells;
    }

    /// A new event. Its number is what its payload says.
    #[must_use]
    pub fn event(&self, name: impl Into<String>, key: Option<(u32, u8)>) -> usize {
        let mut state = self.lock();
        let parts = vec![Part::default(); state.bounds.functions];
        state.events.push(Event { name: name.into(), key, parts, forbidden: None });
        state.events.len() - 1
    }

    /// The process is dead. What it had on its way is of no interest any more.
    pub fn process_ends(&self) {
        let mut state = self.lock();
        state.calls.clear();
        state.letters.clear();
    }

    /// A process begins.
    pub fn process_begins(&self) {
        let mut state = self.lock();
        state.life += 1;
        state.held.iter_mut().for_each(|hold| *hold = None);
        for part in state.events.iter_mut().flat_map(|event| &mut event.parts) {
            part.calls = 0;
            part.last = None;
        }
    }

    /// Calls that wait for an answer, the oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<u64> {
        self.lock().calls.keys().copied().collect()
    }

    /// Letters that wait to be stored, the oldest first.
    #[must_use]
    pub fn letters(&self) -> Vec<u64> {
        self.lock().letters.keys().copied().collect()
    }

    /// Answers a call.
    pub fn answer(&self, call: u64, answers: Answers) {
        let mut state = self.lock();
        let Some(mut running) = state.calls.remove(&call) else { return };
        state.tell(|s| format!("{} answers {answers:?}", s.pair(running.event, running.function)));
        let (life, holds) = (state.life, state.bounds.holds.is_some());
        let part = &mut state.events[running.event].parts[running.function];
        part.last = Some(answers);
        match answers {
            Answers::Well => {
                part.outcome = Some(Outcome::Delivered);
                part.ended_in = Some(life);
                state.held[running.function] = None;
            }
            Answers::Refused if holds => {
                let hold = &mut state.held[running.function];
                hold.get_or_insert_with(|| Hold { since: Instant::now() });
            }
            _ => {}
        }
        if let Some(tell) = running.tell.take() {
            // Given up in this very moment: then nobody listens.
            tell.send(answers.into()).ok();
        }
    }

    /// Says whether a letter was stored.
    pub fn store(&self, letter: u64, stored: bool) {
        let mut state = self.lock();
        let Some(mut storing) = state.letters.remove(&letter) else { return };
        state.tell(|s| {
            let what = if stored { "is stored" } else { "cannot be stored" };
            format!("the letter of {} {what}", s.pair(storing.event, storing.function))
        });
        let life = state.life;
        if stored {
            let part = &mut state.events[storing.event].parts[storing.function];
            part.outcome = Some(Outcome::DeadLettered);
            part.ended_in = Some(life);
        }
        if let Some(tell) = storing.tell.take() {
            // Given up in this very moment: then nobody listens.
            tell.send(stored).ok();
        }
    }

    /// Another process has done all there is to do for an event.
    pub fn done_elsewhere(&self, event: usize) {
        for part in &mut self.lock().events[event].parts {
            part.outcome.get_or_insert(Outcome::Delivered);
        }
    }

    /// Whether an event has its outcome for each function.
    #[must_use]
    pub fn is_finished(&self, event: usize) -> bool {
        self.lock().is_finished(event)
    }

    /// Whether an event has its outcome for each function by calls of this very process.
    #[must_use]
    pub fn is_finished_here(&self, event: usize) -> bool {
        let state = self.lock();
        let here = Some(state.life);
        state.events[event].parts.iter().all(|part| part.outcome.is_some() && part.ended_in == here)
    }

    /// An event is acknowledged to its broker, in whatever form.
    pub fn acknowledged(&self, event: usize, how: impl Display) {
        let mut state = self.lock();
        if !state.is_finished(event) {
            let why = format!("{how}, but {} is not finished", state.events[event].name);
            state.breaks(Rule::Unfinished, why);
        }
    }

    /// From now on a call of this event breaks a rule; `None`: not any more.
    pub fn forbid(&self, event: usize, rule: Option<Rule>) {
        self.lock().events[event].forbidden = rule.map(|rule| (rule, Instant::now()));
    }

    /// A rule is broken. The first one counts.
    pub fn breaks(&self, rule: Rule, why: impl Into<String>) {
        self.lock().breaks(rule, why.into());
    }

    /// What was broken, if anything was.
    #[must_use]
    pub fn broken(&self) -> Option<Violation> {
        self.lock().broken.clone()
    }

    /// Notes what happens, if the history is to be told.
    pub fn note(&self, line: impl FnOnce() -> String) {
        self.lock().tell(|_| line());
    }

    /// The history, as far as it was to be told.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().history)
    }

    /// Breaks [`Rule::EveryEventEnds`] for each event that has not.
    pub fn ends(&self) {
        let mut state = self.lock();
        for event in 0..state.events.len() {
            if !state.is_finished(event) {
                let why = format!("{} was never finished", state.events[event].name);
                state.breaks(Rule::EveryEventEnds, why);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_finished(&self, event: usize) -> bool {
        self.events[event].parts.iter().all(|part| part.outcome.is_some())
    }

    fn breaks(&mut self, rule: Rule, why: String) {
        self.broken.get_or_insert(Violation { rule, why });
    }

    fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.tells {
            let line = line(self);
            self.history.push(line);
        }
    }

    fn pair(&self, event: usize, function: usize) -> String {
        format!("{} for f{function}", self.events[event].name)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
