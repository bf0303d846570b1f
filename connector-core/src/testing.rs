//! A process without sockets: everything between a source and its functions is what is shipped,
//! and whoever asks for it decides every answer.
//!
//! Compiled for tests only. On a runtime whose clock is paused nothing here waits for anything
//! real, so thousands of such processes live and die in a second, each in exactly the same way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::conditions::Conditions;
use crate::dead_letter::Letter;
use crate::event::FunctionName;
use crate::gateway::Progress;
use crate::invoke::{Answer, Invoker, NoAnswer};
use crate::lane::Intake;
use crate::metrics::Metrics;
use crate::run::{Assembly, assemble, begin_drain, rules};
use crate::settings::{self, CoreConfig};
use crate::source::{Letterbox, Source, StoreError};
use crate::topics::{Catalog, Function, TopicMap};

/// What lies outside of the process: functions, and the place for dead letters.
pub trait Outside: Send + Sync + 'static {
    /// A call of a function. It may be dropped before it is answered.
    fn call(&self, function: &str, call: Call) -> BoxFuture<'static, Result<Answer, NoAnswer>>;

    /// Stores a letter. It may be dropped before it is answered.
    fn store(&self, letter: &Letter) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Whether the gateway says that it is well.
    fn is_well(&self) -> bool {
        true
    }
}

/// What a function is called with.
#[derive(Debug)]
pub struct Call {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Takes calls to what is outside.
pub(crate) struct Line(Arc<dyn Outside>);

impl Line {
    pub(crate) async fn call(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        let function = path.rsplit('/').next().unwrap_or_default();
        self.0.call(function, Call { headers, body }).await
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

struct Outbox(Arc<dyn Outside>);

impl Letterbox for Outbox {
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.store(letter)
    }
}

/// Settings that have been read, to begin any number of processes with.
pub struct Settings<S: Source> {
    /// Those that all connectors share.
    pub core: Arc<CoreConfig>,
    /// The source's own.
    pub source: Arc<S::Config>,
}

impl<S: Source> Settings<S> {
    /// The defaults, changed as the environment would.
    ///
    /// # Panics
    /// When there is a mistake in them.
    #[must_use]
    pub fn of(env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = settings::load::<S>(Vec::new(), env)
            .unwrap_or_else(|outcome| panic!("{}", outcome.text()));
        Self { core: Arc::new(loaded.core), source: Arc::new(loaded.source) }
    }
}

/// One process, to which the test hands events as a source does.
pub struct Process {
    intake: Intake,
    /// The map never changes, but for the process it lives as long as itself.
    _map: watch::Sender<Arc<TopicMap>>,
}

impl Process {
    /// Begins a process in which these functions are mapped, each to these topics. The map is
    /// believed complete.
    #[must_use]
    pub fn begin<S: Source>(
        settings: &Settings<S>,
        functions: &[(&str, &str)],
        outside: &Arc<dyn Outside>,
    ) -> Self {
        let config = Arc::clone(&settings.core);
        let map = TopicMap::build(&catalog(functions), &rules::<S>(&config, &settings.source));
        let (map, topics) = watch::channel(Arc::new(map));
        let first = Instant::now().checked_sub(config.unmap_after);
        let progress = Progress { listings: 1, first, last: first, unlisted: 0 };
        // Dropped at once: there is no second listing.
        let (_, listings) = watch::channel(progress);
        let health = Arc::clone(outside);
        let intake = assemble::<S>(Assembly {
            probe: Arc::new(move || {
                let well = health.is_well();
                Box::pin(async move { well.then_some(()).ok_or_else(|| "down".to_owned()) })
            }),
            invoker: Invoker::made_up(Line(Arc::clone(outside)), config.upstream_timeout),
            config,
            topics,
            listings,
            conditions: Conditions::new(),
            metrics: Arc::new(Metrics::new(S::KIND, "0.0.0")),
        });
        let outbox = Arc::clone(outside);
        intake.0.dispatcher.letters.opens_with(Box::new(move |_| {
            let letterbox: Arc<dyn Letterbox> = Arc::new(Outbox(Arc::clone(&outbox)));
            Ok(letterbox)
        }));
        Self { intake, _map: map }
    }

    /// Where events are handed in.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Does what a signal to stop does: nothing more is received, what waits is given back.
    pub fn drain(&self) {
        begin_drain(&self.intake);
    }

    /// Cuts the calls that run, as the drain deadline does.
    pub fn cut(&self) {
        self.intake.0.cut.cancel();
    }

    /// Tells of each thing that a process with nothing to do still holds.
    pub fn judge_rest(&self, mut tell: impl FnMut(String)) {
        let inner = &*self.intake.0;
        let (permits, bytes) = (inner.dispatcher.running.now(), inner.budget.used());
        if permits > 0 {
            tell(format!("{permits} permits to call are taken"));
        }
        if bytes > 0 {
            tell(format!("{bytes} bytes of payloads are held"));
        }
    }

    /// What was counted of deliveries (invariant 14).
    #[must_use]
    pub fn counters(&self) -> Counters {
        let page = self.intake.metrics().encode();
        let sum = |name: &str| -> u64 {
            let values =
                page.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next());
            values.filter_map(|value| value.parse::<u64>().ok()).sum()
        };
        Counters {
            received: sum("tributary_events_received_total"),
            ended: sum("tributary_events_total"),
            in_flight: sum("tributary_events_in_flight "),
        }
    }
}

/// How many deliveries there were, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// All of them.
    pub received: u64,
    /// Those with a verdict, whichever.
    pub ended: u64,
    /// Those without.
    pub in_flight: u64,
}

impl Counters {
    /// Whether they add up.
    #[must_use]
    pub fn add_up(&self) -> bool {
        self.received == self.ended + self.in_flight
    }
}

/// A function as it is listed: name, namespace and annotations, as far as it has them.
pub type Listed = (Option<String>, Option<String>, BTreeMap<String, String>);

/// Reads the answer to a listing of functions.
///
/// # Errors
/// What is wrong with it.
pub fn read_listing(body: &[u8]) -> Result<Vec<Listed>, String> {
    crate::gateway::read_listing(body)
}

/// Reads what one of the fleet answers, and writes it as `/fleet` shows it.
#[must_use]
pub fn read_member(body: &[u8]) -> String {
    let member = crate::fleet::Member::of("member:8081".to_owned(), crate::fleet::read(body));
    serde_json::to_string(&member).expect("it has nothing that JSON has not")
}

fn catalog(functions: &[(&str, &str)]) -> Catalog {
    let listed = functions.iter().map(|(name, topics)| Function {
        name: FunctionName::new(*name),
        annotations: Arc::new(BTreeMap::from([("topic".to_owned(), (*topics).to_owned())])),
    });
    listed.collect()
}
