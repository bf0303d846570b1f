//! What `/status` shows: everything that answers "which topic goes to which function, and why is
//! mine not called?".
//!
//! The document is made when it is asked for, from what the process keeps anyway; nothing is
//! gathered for it beforehand but what [`crate::recent`] counts. It shows no secret, no payload
//! and no answer of a function beyond the beginning of an error. `docs/status.md` describes it to
//! those who read it by program: fields are added, and none changes its meaning.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::conditions::{Condition, State};
use crate::event::FunctionName;
use crate::functions::Function;
use crate::lane::Intake;
use crate::metrics::Called;
use crate::recent::{self, CallsShown, TopicShown};
use crate::settings::ShownSetting;
use crate::topics::{self, Skipped, TopicMap, Wish};

/// What does not change while the process runs.
#[derive(Debug, Clone)]
pub struct About {
    /// The kind of source: [`Source::KIND`](crate::Source::KIND).
    pub kind: &'static str,
    /// When the process started.
    pub started: SystemTime,
    /// The settings, without secrets.
    pub settings: Vec<ShownSetting>,
}

/// The document behind `/status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    connector: &'static str,
    version: &'static str,
    started: String,
    uptime_seconds: u64,
    ready: bool,
    draining: bool,
    /// How long ago the gateway last listed its functions; `null` before the first time.
    listed_seconds_ago: Option<u64>,
    /// How long a step of every `recent` is.
    step_seconds: u64,
    events: Events,
    conditions: Vec<ConditionShown>,
    functions: Vec<FunctionShown>,
    /// Functions that exist and that nothing here is mapped to.
    unmapped: Vec<FunctionName>,
    topics: Vec<WishShown>,
    received: Vec<Received>,
    held: Vec<HeldShown>,
    skipped: Vec<SkippedShown>,
    settings: Vec<ShownSetting>,
}

/// What became of all deliveries since the start, and what is under way.
#[derive(Debug, Serialize)]
struct Events {
    received: u64,
    in_flight: i64,
    ended: BTreeMap<&'static str, u64>,
    calls_running: usize,
    calls_limit: usize,
    buffer_bytes: usize,
    buffer_limit_bytes: usize,
}

#[derive(Debug, Serialize)]
struct ConditionShown {
    subject: String,
    /// `well`, `unwell`, `expected`: never well yet, or `aside`: left, most likely rightly.
    state: &'static str,
    why: String,
    blocks_ready: bool,
    for_seconds: u64,
}

#[derive(Debug, Serialize)]
struct FunctionShown {
    name: FunctionName,
    /// The items of its annotation that are used.
    topics: Vec<Arc<str>>,
    #[serde(rename = "async")]
    asynchronous: bool,
    /// Where its dead letters go, where its annotations say so.
    dead_letter: Option<String>,
    running: usize,
    limit: usize,
    /// Events that wait for their next attempt.
    retrying: usize,
    calls: BTreeMap<&'static str, u64>,
    dead_letters: u64,
    recent: CallsShown,
    last_failure: Option<FailureShown>,
}

#[derive(Debug, Serialize)]
struct FailureShown {
    at: String,
    seconds_ago: u64,
    topic: Arc<str>,
    why: String,
}

#[derive(Debug, Serialize)]
struct WishShown {
    topic: Arc<str>,
    functions: Arc<[FunctionName]>,
}

/// A topic of which events have come in.
#[derive(Debug, Serialize)]
struct Received {
    #[serde(flatten)]
    traffic: TopicShown,
    /// Whom they go to now. Empty: nobody.
    functions: Vec<FunctionName>,
}

#[derive(Debug, Serialize)]
struct HeldShown {
    topic: Arc<str>,
    function: FunctionName,
    why: String,
    since: String,
}

#[derive(Debug, Serialize)]
struct SkippedShown {
    function: FunctionName,
    annotation: &'static str,
    item: String,
    why: String,
    /// It is plainly meant for another connector.
    foreign: bool,
}

impl Status {
    /// How everything is now.
    pub(crate) fn of(intake: &Intake, about: &About) -> Self {
        let inner = &*intake.0;
        let map = Arc::clone(&inner.topics.borrow());
        let held = inner.dispatcher.holds.list().into_iter().map(|(topic, function, hold)| {
            HeldShown { topic, function, why: hold.why(), since: rfc3339(hold.since) }
        });
        Self {
            connector: about.kind,
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(about.started),
            uptime_seconds: about.started.elapsed().unwrap_or_default().as_secs(),
            ready: inner.conditions.ready().is_ok(),
            draining: intake.is_draining(),
            listed_seconds_ago: inner.listings.borrow().last.map(|last| last.elapsed().as_secs()),
            step_seconds: recent::STEP.as_secs(),
            events: Events::of(intake),
            conditions: inner.conditions.snapshot().into_iter().map(ConditionShown::from).collect(),
            functions: functions(intake, &map),
            unmapped: map.unmapped().to_vec(),
            topics: map.wishes().iter().map(WishShown::from).collect(),
            received: received(intake, &map),
            held: held.collect(),
            skipped: map.skipped().iter().map(SkippedShown::from).collect(),
            settings: about.settings.clone(),
        }
    }
}

impl Events {
    fn of(intake: &Intake) -> Self {
        let inner = &*intake.0;
        let (received, in_flight, ended) = inner.metrics.totals();
        Self {
            received,
            in_flight,
            ended: ended.into_iter().collect(),
            calls_running: inner.dispatcher.running.now(),
            calls_limit: inner.dispatcher.running.limit(),
            buffer_bytes: inner.budget.payloads(),
            buffer_limit_bytes: inner.budget.limit(),
        }
    }
}

/// The functions that are mapped, and those that take dead letters.
fn functions(intake: &Intake, map: &TopicMap) -> Vec<FunctionShown> {
    let dispatcher = &intake.0.dispatcher;
    let asynchronous = intake.0.config.asynchronous;
    let mut wished: HashMap<&FunctionName, Vec<Arc<str>>> = HashMap::new();
    for wish in map.wishes() {
        for function in &*wish.functions {
            wished.entry(function).or_default().push(Arc::clone(&wish.item));
        }
    }
    let mut called: BTreeMap<FunctionName, Arc<Function>> = BTreeMap::new();
    called.extend(dispatcher.functions.list().into_iter().map(|it| (it.name.clone(), it)));
    let mapped = map.mappings().map(|mapping| {
        let mut shown = FunctionShown::new(&mapping.function);
        shown.asynchronous = mapping.asynchronous.unwrap_or(asynchronous);
        shown.dead_letter = topics::DEAD_LETTER.of(&mapping.annotations).map(str::to_owned);
        shown.topics = wished.remove(&mapping.function).unwrap_or_default();
        shown.limit = dispatcher.functions.limit(mapping);
        shown
    });
    let mut shown: Vec<_> = mapped.collect();
    for function in &mut shown {
        if let Some(known) = called.remove(&function.name) {
            function.tell(&known);
        }
    }
    shown.extend(called.into_values().map(|known| {
        let mut shown = FunctionShown::new(&known.name);
        shown.tell(&known);
        shown
    }));
    shown
}

impl FunctionShown {
    /// A function of which nothing is known but its name.
    fn new(name: &FunctionName) -> Self {
        Self {
            name: name.clone(),
            topics: Vec::new(),
            asynchronous: false,
            dead_letter: None,
            running: 0,
            limit: 0,
            retrying: 0,
            calls: BTreeMap::new(),
            dead_letters: 0,
            recent: CallsShown::default(),
            last_failure: None,
        }
    }

    /// Tells what is known of its calls.
    fn tell(&mut self, function: &Function) {
        let calls = Called::ALL.map(|called| (called.label(), function.metrics.count(called)));
        self.calls.extend(calls);
        self.running = function.gate.running();
        self.limit = function.gate.limit();
        self.retrying = function.retrying();
        self.dead_letters = function.letters();
        self.recent = function.recent.show();
        self.last_failure = function.last_failure().map(|failure| FailureShown {
            at: rfc3339(failure.at),
            seconds_ago: failure.at.elapsed().unwrap_or_default().as_secs(),
            topic: failure.topic,
            why: failure.why,
        });
    }
}

fn received(intake: &Intake, map: &TopicMap) -> Vec<Received> {
    let functions = |topic: &Arc<str>| {
        map.functions(topic).iter().map(|mapping| mapping.function.clone()).collect()
    };
    let shown = intake.0.traffic.show().into_iter();
    shown
        .map(|traffic| Received {
            functions: traffic.topic.as_ref().map_or_else(Vec::new, functions),
            traffic,
        })
        .collect()
}

impl From<Condition> for ConditionShown {
    fn from(condition: Condition) -> Self {
        let Condition { subject, state, lasted } = condition;
        let (state, why, blocks_ready) = match state {
            State::Expected => ("expected", String::new(), true),
            State::Well => ("well", String::new(), false),
            State::Unwell { why, blocks_ready } => ("unwell", why, blocks_ready),
            State::Aside { why } => ("aside", why, false),
        };
        let (subject, for_seconds) = (subject.0.into_owned(), lasted.as_secs());
        Self { subject, state, why, blocks_ready, for_seconds }
    }
}

impl From<&Wish> for WishShown {
    fn from(wish: &Wish) -> Self {
        Self { topic: Arc::clone(&wish.item), functions: Arc::clone(&wish.functions) }
    }
}

impl From<&Skipped> for SkippedShown {
    fn from(skipped: &Skipped) -> Self {
        let Skipped { function, annotation, item, reason, foreign } = skipped.clone();
        Self { function, annotation, item, why: reason, foreign }
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
