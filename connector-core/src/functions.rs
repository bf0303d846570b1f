//! What the process keeps of each function while it runs: its limit, its addresses, its counters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use reqwest::Url;

use crate::event::FunctionName;
use crate::invoke::Target;
use crate::metrics::{FunctionMetrics, Metrics};
use crate::permits::{Gate, Running};
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
    letters_in_a_row: AtomicU32,
    /// When a failing call of it was last logged.
    warned: Mutex<Option<Instant>>,
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

    /// Notes a dead letter; gives how many there have been since it last answered well.
    pub fn letter(&self) -> u32 {
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

    fn get(&self, name: &FunctionName, concurrency: Option<usize>) -> Arc<Function> {
        if let Some(known) =
            self.known.read().unwrap_or_else(PoisonError::into_inner).functions.get(name)
        {
            return Arc::clone(known);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let limit =
            self.running.share(concurrency.unwrap_or(self.concurrency), known.mapped.max(1));
        let made = || {
            Arc::new(Function {
                name: name.clone(),
                sync_target: self.target("function", name),
                async_target: self.target("async-function", name),
                gate: Gate::new(limit),
                metrics: self.metrics.function(name.as_str()),
                letters_in_a_row: AtomicU32::new(0),
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
