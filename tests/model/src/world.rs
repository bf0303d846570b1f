//! What is outside of the process, and the judge: functions, the place for dead letters, and what
//! may never happen.
//!
//! It knows each event by the number in its payload. It judges every call when it begins, every
//! letter, and every acknowledgement, from nothing but what it has seen itself.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use connector_core::dead_letter::Letter;
use connector_core::invoke::{Answer, NoAnswer};
use connector_core::source::StoreError;
use connector_core::testing::{Call, Outside};
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What may never happen, each with the invariant of `ARCHITECTURE.md` that it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// 1 and 2.
    Unfinished,
    /// 3 and 4.
    EveryEventEnds,
    /// 3, of what is settled with the broker.
    AllIsSettled,
    /// 5.
    Limits,
    /// 5, of what is over.
    NothingLeft,
    /// 6.
    Drained,
    /// 7.
    Over,
    /// 8.
    Backwards,
    /// The bound on repetitions, of a process that ends in good order.
    HandOver,
    /// 11.
    PairTwice,
    /// 11.
    PairAgain,
    /// The bound on repetitions.
    CommittedAgain,
    /// 12.
    KeyTwice,
    /// 12.
    KeyOrder,
    /// The promise, and 13: what counts as an attempt, and what as refused.
    GivenUpEarly,
    /// The promise, of what is held.
    Held,
    /// 14.
    Counters,
}

impl Rule {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Unfinished,
        Self::EveryEventEnds,
        Self::AllIsSettled,
        Self::Limits,
        Self::NothingLeft,
        Self::Drained,
        Self::Over,
        Self::HandOver,
        Self::Backwards,
        Self::PairTwice,
        Self::PairAgain,
        Self::CommittedAgain,
        Self::KeyTwice,
        Self::KeyOrder,
        Self::GivenUpEarly,
        Self::Held,
        Self::Counters,
    ];

    /// The rule in words: how a failing run names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unfinished => "nothing unfinished is acknowledged",
            Self::EveryEventEnds => "every event ends",
            Self::AllIsSettled => "in the end everything is settled with the broker",
            Self::Limits => "calls stay within their limits",
            Self::NothingLeft => "nothing is left over",
            Self::Drained => "nothing is received once draining has begun",
            Self::Over => "what is over calls and settles nothing",
            Self::HandOver => "what is done is committed before the process ends",
            Self::Backwards => "a commit never goes back",
            Self::PairTwice => "one call of a pair at a time",
            Self::PairAgain => "no call of a pair that has its outcome",
            Self::CommittedAgain => "what is committed is not called again",
            Self::KeyTwice => "one call of a key at a time",
            Self::KeyOrder => "the events of a key go in order",
            Self::GivenUpEarly => "nothing is given up before its time",
            Self::Held => "one try at a time while held",
            Self::Counters => "the counters add up",
        }
    }
}

/// A rule was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// By what.
    pub why: String,
}

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

    /// Judges a call that begins.
    fn called(&mut self, event: usize, function: usize) -> u64 {
        self.tell(|s| format!("    {} is called", s.pair(event, function)));
        let pair = self.pair(event, function);
        let life = self.life;
        let part = &self.events[event].parts[function];
        if part.outcome.is_some() && part.ended_in == Some(life) {
            self.breaks(Rule::PairAgain, format!("{pair} has its outcome"));
        }
        if let Some((rule, since)) = self.events[event].forbidden
            // What is lost in this very moment the process cannot know yet.
            && (rule != Rule::Over || since < Instant::now())
        {
            self.breaks(rule, format!("{pair} is called"));
        }
        self.judge_limits(function);
        self.judge_order(event, function, &pair);
        let tries = self.judge_hold(function, &pair);
        let part = &mut self.events[event].parts[function];
        part.calls += 1;
        part.last = None;
        let call = self.number();
        self.calls.insert(call, Running { event, function, tries, tell: None });
        call
    }

    fn judge_limits(&mut self, function: usize) {
        let of_function = self.calls.values().filter(|c| c.function == function).count();
        let Bounds { calls, calls_of_function, .. } = self.bounds;
        if self.calls.len() >= calls || of_function >= calls_of_function {
            let why =
                format!("one more than {} calls, {of_function} of f{function}", self.calls.len());
            self.breaks(Rule::Limits, why);
        }
    }

    fn judge_order(&mut self, event: usize, function: usize, pair: &str) {
        if self.calls.values().any(|call| (call.event, call.function) == (event, function)) {
            self.breaks(Rule::PairTwice, format!("{pair} is called while it is called"));
        }
        let Some(key) = self.events[event].key else { return };
        let same = |other: &usize| *other != event && self.events[*other].key == Some(key);
        if let Some(other) = self.calls.values().map(|call| call.event).find(same) {
            let why = format!("{pair} is called while {} of its key is", self.events[other].name);
            self.breaks(Rule::KeyTwice, why);
        } else if let Some(other) = (0..event).filter(same).find(|other| !self.is_finished(*other))
        {
            let why = format!("{pair} is called before {} is finished", self.events[other].name);
            self.breaks(Rule::KeyOrder, why);
        }
    }

    /// Judges a call of a function that is held: whether it is the one try that there may be.
    fn judge_hold(&mut self, function: usize, pair: &str) -> bool {
        let (Some(wait), Some(hold)) = (self.bounds.holds, &mut self.held[function]) else {
            return false;
        };
        let waited = hold.since.elapsed();
        hold.since = Instant::now();
        let tried = self.calls.values().any(|call| call.function == function && call.tries);
        if tried || waited < wait {
            let why = format!("{pair} is tried {waited:?} after the last, other tries: {tried}");
            self.breaks(Rule::Held, why);
        }
        true
    }

    /// Judges an attempt to store a letter.
    fn buried(&mut self, event: usize, function: usize, reason: &str) -> u64 {
        self.tell(|s| format!("    the letter of {} is sent: {reason}", s.pair(event, function)));
        let part = &self.events[event].parts[function];
        let is_due = match reason {
            "refused" => part.last == Some(Answers::Refused),
            "exhausted" => part.calls >= self.bounds.attempts,
            _ => false,
        };
        if !is_due {
            let (pair, calls, last) = (self.pair(event, function), part.calls, part.last);
            let why = format!("{pair} is {reason} after {calls} calls, the last was {last:?}");
            self.breaks(Rule::GivenUpEarly, why);
        }
        let letter = self.number();
        self.letters.insert(letter, Storing { event, function, tell: None });
        letter
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A call or a letter that is on its way. Dropped, it was cut.
struct OnItsWay {
    world: World,
    number: u64,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let cut = state.calls.remove(&self.number).map(|call| (call.event, call.function));
        let cut = cut.or_else(|| {
            let letter = state.letters.remove(&self.number)?;
            Some((letter.event, letter.function))
        });
        if let Some((event, function)) = cut {
            state.tell(|s| format!("    {} is no longer waited for", s.pair(event, function)));
        }
    }
}

impl Outside for World {
    fn call(&self, function: &str, call: Call) -> BoxFuture<'static, Result<Answer, NoAnswer>> {
        let world = self.clone();
        let (event, function) = (number(&call.body), number(function.trim_start_matches('f')));
        Box::pin(async move {
            let (tell, hear) = oneshot::channel();
            let number = world.lock().called(event, function);
            let _on_its_way = OnItsWay { world: world.clone(), number };
            if let Some(running) = world.lock().calls.get_mut(&number) {
                running.tell = Some(tell);
            }
            match hear.await {
                Ok(answer) => answer,
                // The process it belongs to is dead: whatever it would hear, it does not.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn store(&self, letter: &Letter) -> BoxFuture<'static, Result<(), StoreError>> {
        let world = self.clone();
        let event = number(&letter.event.payload);
        let function =
            letter.function.as_ref().map_or(0, |f| number(f.short().trim_start_matches('f')));
        let reason = letter.reason;
        Box::pin(async move {
            let (tell, hear) = oneshot::channel();
            let number = world.lock().buried(event, function, reason);
            let _on_its_way = OnItsWay { world: world.clone(), number };
            if let Some(storing) = world.lock().letters.get_mut(&number) {
                storing.tell = Some(tell);
            }
            match hear.await {
                Ok(true) => Ok(()),
                Ok(false) => Err(StoreError("refused".to_owned())),
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl From<Answers> for Result<Answer, NoAnswer> {
    fn from(answers: Answers) -> Self {
        let status = match answers {
            Answers::Well => StatusCode::OK,
            Answers::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Answers::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Answers::Refused => StatusCode::BAD_REQUEST,
            Answers::Closes => return Err(NoAnswer::Closed("by the model".to_owned())),
        };
        Ok(Answer { status, headers: HeaderMap::new(), body: Bytes::new() })
    }
}

/// The number that a payload or a function's name consists of.
fn number(text: impl AsRef<[u8]>) -> usize {
    let text = std::str::from_utf8(text.as_ref()).expect("the model's own texts are ASCII");
    text.parse().expect("the model's own texts are numbers")
}
