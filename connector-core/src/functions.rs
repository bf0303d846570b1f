//! What the process keeps of each function while it runs: its limit, its addresses, its counters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use reqwest::Url;

use crate::event::FunctionName;
use crate::invoke::Target;
use crate::metrics::{Called, FunctionMetrics, Metrics};
use crate::permits::{Gate, Running};
use crate::recent;
use crate::topics::{Mapping, TopicMap};

/// Everything kept of one function.
#[derive(Debug)]
pub struct Function {
    /// The name it is called by.
    pub name: FunctionName,
    /// Where it is called and waited for.
    pub sync_target: Target,
    /// Where it is called through the gateway's queue.
    pub async_target: Target,
    /// How many calls of it may run.
    pub gate: Arc<Gate>,
    /// Its counters.
    pub metrics: FunctionMetrics,
    /// Its calls in the last minutes.
    pub recent: recent::Calls,
    letters: AtomicU64,
    letters_in_a_row: AtomicU32,
    retrying: AtomicUsize,
    failure: Mutex<Option<Failure>>,
    /// When a failing call of it was last logged.
    warned: Mutex<Option<Instant>>,
}

/// The last call of a function that was not answered well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it ended.
    pub at: SystemTime,
    /// The event's topic.
    pub topic: Arc<str>,
    /// What was wrong, in a sentence.
    pub why: String,
}

/// An event waits for its next attempt as long as this lives.
#[derive(Debug)]
pub struct Retrying<'a>(&'a Function);

impl Drop for Retrying<'_> {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A function that fails every call is logged this often.
const WARN_EVERY: Duration = Duration::from_secs(10);

impl Function {
    /// Whether a failing call is to be logged now: not every one of thousands.
    pub fn warns_now(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = warned.is_none_or(|at| now - at >= WARN_EVERY);
        if due {
            *warned = Some(now);
        }
        due
    }

    /// Notes a call that has ended.
    pub fn called(&self, called: Called, took: Duration) {
        self.metrics.called(called, took);
        self.recent.note(called == Called::Well, took);
    }

    /// Notes why the last call was not answered well.
    pub fn failed(&self, topic: &Arc<str>, why: &str) {
        let failure =
            Failure { at: SystemTime::now(), topic: Arc::clone(topic), why: why.to_owned() };
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    /// The last call that was not answered well, however long ago.
    #[must_use]
    pub fn last_failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that an event waits for its next attempt, until the value returned is dropped.
    pub fn retries(&self) -> Retrying<'_> {
        self.retrying.fetch_add(1, Ordering::Relaxed);
        Retrying(self)
    }

    /// How many events wait for their next attempt. Those whose wait is stored in the broker are
    /// not known here.
    #[must_use]
    pub fn retrying(&self) -> usize {
        self.retrying.load(Ordering::Relaxed)
    }

    /// How many dead letters there have been.
    #[must_use]
    pub fn letters(&self) -> u64 {
        self.letters.load(Ordering::Relaxed)
    }

    /// Notes a dead letter; gives how many there have been since it last answered well.
    pub fn letter(&self) -> u32 {
        self.letters.fetch_add(1, Ordering::Relaxed);
        self.letters_in_a_row.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many dead letters there have been since it last answered well.
    #[must_use]
    pub fn letters_in_a_row(&self) -> u32 {
        self.letters_in_a_row.load(Ordering::Relaxed)
    }

    /// Notes that it answered well.
    pub fn answered_well(&self) {
        self.letters_in_a_row.store(0, Ordering::Relaxed);
    }
}

/// The functions that have been called or are mapped.
#[derive(Debug)]
pub struct Functions {
    gateway: Url,
    /// How many calls of one function may run, unless its annotation says otherwise.
    concurrency: usize,
    running: Running,
    metrics: Arc<Metrics>,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    functions: HashMap<FunctionName, Arc<Function>>,
    mapped: usize,
}

impl Functions {
    /// No functions yet.
    #[must_use]
    pub fn new(gateway: Url, concurrency: usize, running: Running, metrics: Arc<Metrics>) -> Self {
        Self { gateway, concurrency, running, metrics, known: RwLock::default() }
    }

    /// The one that a mapping names.
    #[must_use]
    pub fn of(&self, mapping: &Mapping) -> Arc<Function> {
        self.get(&mapping.function, mapping.concurrency)
    }

    /// The one of this name, which no mapping need have: a destination of dead letters.
    #[must_use]
    pub fn named(&self, name: &FunctionName) -> Arc<Function> {
        self.get(name, None)
    }

    /// Where the function of this name is called and waited for, whatever is known of it.
    #[must_use]
    pub fn sync_target(&self, name: &FunctionName) -> Target {
        self.target("function", name)
    }

    /// All of them, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Function>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.functions.values().map(Arc::clone).collect()
    }

    /// How many calls may run of a function that has not been called yet.
    #[must_use]
    pub fn limit(&self, mapping: &Mapping) -> usize {
        let mapped = self.known.read().unwrap_or_else(PoisonError::into_inner).mapped;
        self.share(mapping.concurrency, mapped)
    }

    fn share(&self, concurrency: Option<usize>, mapped: usize) -> usize {
        self.running.share(concurrency.unwrap_or(self.concurrency), mapped.max(1))
    }

    fn get(&self, name: &FunctionName, concurrency: Option<usize>) -> Arc<Function> {
        if let Some(known) =
            self.known.read().unwrap_or_else(PoisonError::into_inner).functions.get(name)
        {
            return Arc::clone(known);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let limit = self.share(concurrency, known.mapped);
        let made = || {
            Arc::new(Function {
                name: name.clone(),
                sync_target: self.sync_target(name),
                async_target: self.target("async-function", name),
                gate: Gate::new(limit),
                metrics: self.metrics.function(name.as_str()),
                recent: recent::Calls::default(),
                letters: AtomicU64::new(0),
                letters_in_a_row: AtomicU32::new(0),
                retrying: AtomicUsize::new(0),
                failure: Mutex::new(None),
                warned: Mutex::new(None),
            })
        };
        Arc::clone(known.functions.entry(name.clone()).or_insert_with(made))
    }

    fn target(&self, route: &str, name: &FunctionName) -> Target {
        let mut url = self.gateway.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{route}/{name}"));
        Target::new(&url)
    }

    /// Follows a new topic map: limits change at once, and what nobody maps or calls is forgotten.
    pub fn follow(&self, map: &TopicMap) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.mapped = map.functions_count();
        let mapped = known.mapped;
        known.functions.retain(|name, function| {
            let mapping = map.mapping(name);
            let wanted = mapping.and_then(|m| m.concurrency).unwrap_or(self.concurrency);
            function.gate.set(self.running.share(wanted, mapped));
            // Held elsewhere: an event of it is in flight.
            let stays = mapping.is_some() || Arc::strong_count(function) > 1;
            if !stays {
                self.metrics.forget_function(name.as_str());
            }
            stays
        });
    }
}
