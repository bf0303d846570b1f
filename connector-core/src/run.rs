//! The process, from its first line to its exit code.
//!
//! The phases stand in [`process`], in order: settings, log, metrics, admin server, first listing,
//! connect, ready, run, drain, exit code. A connector's `main` is a call of [`run`].

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Client, Url};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{Admin, Pages};
use crate::budget::Budget;
use crate::conditions::{Conditions, Subject};
use crate::dead_letter::{Address, Letters};
use crate::dispatch::Dispatcher;
use crate::fleet;
use crate::functions::Functions;
use crate::gateway::{self, Gateway, GatewayOptions, Progress, poll};
use crate::headers::HeaderRules;
use crate::hold::Holds;
use crate::invoke::{Invoker, Way};
use crate::lane::{Intake, IntakeInner};
use crate::log::{self, Chain};
use crate::memory;
use crate::metrics::{Metrics, unix_seconds};
use crate::pairs::{PairMemory, REMEMBERED};
use crate::permits::Running;
use crate::platform::{self, Platform, Probe};
use crate::recent::Traffic;
use crate::settings::{self, CoreConfig, Loaded};
use crate::source::Source;
use crate::status::{About, Status};
use crate::supervisor::{broker, supervise};
use crate::topics::{Rules, TopicMap};

/// What a source has, after the drain deadline, to commit what was done and to leave its group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs a connector until it is told to stop.
///
/// Exit codes: 0 when everything that ran has ended, 1 when some calls were cut at the drain
/// deadline, 2 when a second signal aborted the drain, 64 for mistaken settings.
#[must_use]
pub fn run<S: Source>() -> ExitCode {
    let loaded = match settings::load::<S>(settings::arguments(), settings::environment()) {
        Ok(loaded) => loaded,
        Err(outcome) => return print(&outcome),
    };
    memory::share();
    // One thread: calls are spread over connections, not processors, and a second thread costs
    // more in hand-over than it gains (measured: docs/performance.md).
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return print(&settings::Outcome::Mistakes(format!("cannot start: {error}\n")));
        }
    };
    let code = runtime.block_on(process::<S>(loaded));
    // What is to end in good order has. What has not, after a deadline or an abort, must not be
    // waited for, and dropping it may wait: a broker's client closes its connection when it is
    // dropped, and a thread may hang in a name that does not resolve.
    std::mem::forget(runtime);
    code
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "there is no log yet")]
fn print(outcome: &settings::Outcome) -> ExitCode {
    match outcome {
        settings::Outcome::Print(text) => print!("{text}"),
        settings::Outcome::Mistakes(text) => eprint!("{text}"),
    }
    ExitCode::from(outcome.code())
}

async fn process<S: Source>(loaded: Loaded<S::Config>) -> ExitCode {
    let Loaded { core, source, warnings, shown } = loaded;
    let about = About { kind: S::KIND, started: SystemTime::now(), settings: shown };
    let (core, source) = (Arc::new(core), Arc::new(source));
    log::init(S::KIND, S::QUIET, core.debug, core.log_encoding);
    for warning in warnings {
        warn!("{warning}");
    }
    announce::<S>(&core);
    // Fails only when a provider is installed already, which then serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut signals = Signals::new();

    let metrics = Arc::new(Metrics::new(S::KIND, env!("CARGO_PKG_VERSION")));
    S::meters(&metrics);
    let conditions = Conditions::new();
    conditions.expect(&broker());
    tokio::spawn(conditions.clone().summarise(Duration::from_secs(60)));
    tokio::spawn(memory::give_back());

    let (client, way) = match reach::<S>(&core) {
        Ok(both) => both,
        // An `https` gateway and no trusted certificates: a person must mend the image.
        Err(error) => {
            let why = format!("gateway_url: {}\n", Chain(&*error));
            return print(&settings::Outcome::Mistakes(why));
        }
    };
    let gateway = Gateway::new(client.clone(), GatewayOptions::new(&core));
    let (map, polling) = poll(gateway, rules::<S>(&core, &source), &core, conditions.clone());
    let intake = assemble::<S>(Assembly {
        probe: platform::probe(client.clone(), &gateway_url(&core)),
        invoker: Invoker::new(way, core.max_inflight, core.upstream_timeout),
        config: core,
        topics: map.topics(),
        listings: map.progress(),
        conditions,
        metrics,
    });
    tokio::spawn(serve_admin(intake.clone(), about, client));
    tokio::spawn(polling);
    tokio::select! {
        () = signals.next() => return ExitCode::SUCCESS,
        // The first map comes before the first event.
        () = map.loaded() => {}
    }

    let opens = (Arc::clone(&source), intake.clone());
    let open = move |address: &str| S::letterbox(&opens.0, &opens.1, address);
    intake.0.dispatcher.letters.opens_with(Box::new(open));
    let supervisor = tokio::spawn(supervise::<S>(source, intake.clone()));
    signals.next().await;
    drain(&intake, supervisor, &mut signals).await
}

/// What a process is put together from.
pub(crate) struct Assembly {
    pub(crate) config: Arc<CoreConfig>,
    /// Asks the gateway whether it is well.
    pub(crate) probe: Probe,
    pub(crate) invoker: Invoker,
    pub(crate) topics: watch::Receiver<Arc<TopicMap>>,
    pub(crate) listings: watch::Receiver<Progress>,
    pub(crate) conditions: Conditions,
    pub(crate) metrics: Arc<Metrics>,
}

/// Puts together what stands between a source and the gateway, and starts what it needs.
pub(crate) fn assemble<S: Source>(parts: Assembly) -> Intake {
    let Assembly { config, probe, invoker, topics, listings, conditions, metrics } = parts;
    let running = Running::new(config.max_inflight);
    metrics.calls_limit.set(i64::try_from(config.max_inflight).unwrap_or(i64::MAX));
    let gateway = gateway_url(&config);
    let (platform, questions) = Platform::new(probe, conditions.clone());
    tokio::spawn(questions);
    let cut = CancellationToken::new();
    let dispatcher = Arc::new(Dispatcher {
        topics: topics.clone(),
        keys: Arc::default(),
        pairs: PairMemory::new(REMEMBERED),
        holds: Arc::new(Holds::new(conditions.clone())),
        platform,
        functions: Functions::new(
            gateway,
            config.function_concurrency,
            running.clone(),
            Arc::clone(&metrics),
        ),
        running,
        invoker,
        headers: header_rules::<S>(&config),
        letters: Letters::default(),
        conditions: conditions.clone(),
        metrics: Arc::clone(&metrics),
        tasks: TaskTracker::new(),
        cut: cut.clone(),
        listings: listings.clone(),
        config: Arc::clone(&config),
    });
    tokio::spawn(follow(Arc::clone(&dispatcher), topics.clone()));
    Intake(Arc::new(IntakeInner {
        budget: Budget::new(config.buffer_bytes),
        dispatcher,
        topics,
        listings,
        conditions,
        metrics,
        traffic: Traffic::new(),
        draining: CancellationToken::new(),
        cut,
        config,
    }))
}

/// Lets limits and holds follow the map.
async fn follow(dispatcher: Arc<Dispatcher>, mut topics: watch::Receiver<Arc<TopicMap>>) {
    loop {
        let map = Arc::clone(&topics.borrow_and_update());
        dispatcher.functions.follow(&map);
        dispatcher.holds.forget(|topic, function| {
            !map.functions(topic).iter().any(|mapping| mapping.function == *function)
        });
        if topics.changed().await.is_err() {
            return;
        }
    }
}

/// Nothing new is received; what waits is released; what runs has until the drain deadline.
async fn drain(intake: &Intake, supervisor: JoinHandle<()>, signals: &mut Signals) -> ExitCode {
    let IntakeInner { dispatcher, cut, config, conditions, .. } = &*intake.0;
    info!(running = dispatcher.running.now(), "draining");
    // Not ready from now on, and nothing to warn of.
    conditions.expect(&Subject::new("drained"));
    begin_drain(intake);
    let ended = async {
        // A panic of the supervisor ends it as well.
        drop(supervisor.await);
        dispatcher.tasks.wait().await;
    };
    tokio::pin!(ended);
    let in_time = tokio::select! {
        in_time = timeout(config.drain_timeout, &mut ended) => in_time.is_ok(),
        () = signals.next() => return abort(),
    };
    if in_time {
        info!("drained");
        return ExitCode::SUCCESS;
    }
    warn!(cut = dispatcher.running.now(), "the drain deadline has passed, cutting what runs");
    cut.cancel();
    tokio::select! {
        _ = timeout(LEAVE_TIMEOUT, ended) => ExitCode::from(1),
        () = signals.next() => abort(),
    }
}

/// From now on nothing is received, and nothing that waits is called.
pub(crate) fn begin_drain(intake: &Intake) {
    let IntakeInner { dispatcher, draining, .. } = &*intake.0;
    // First: whoever is released by what follows asks whether it is for this.
    dispatcher.tasks.close();
    draining.cancel();
    dispatcher.leave();
}

fn abort() -> ExitCode {
    warn!("a second signal: aborting");
    ExitCode::from(2)
}

fn announce<S: Source>(core: &CoreConfig) {
    #[cfg(feature = "fail-points")]
    crate::fail_point::announce();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        gateway = core.gateway_url,
        topics = core.topics.join(","),
        asynchronous = core.asynchronous,
        rebuild_interval = ?core.rebuild_interval,
        max_inflight = core.max_inflight,
        "{}-connector",
        S::KIND
    );
    if core.dead_letter == Address::Drop {
        warn!(
            "dead_letter=drop: an event that a function refuses or keeps failing is dropped, \
             counted and logged; set dead_letter to keep it"
        );
    }
}

/// SIGTERM and SIGINT.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn new() -> Self {
        let both = signal(SignalKind::terminate())
            .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
        if let Err(error) = &both {
            warn!(%error, "signals cannot be caught: the process will be killed, not drained");
        }
        Self(both.ok())
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

async fn serve_admin(intake: Intake, about: About, client: Client) {
    let port = intake.config().admin_port;
    let Some(admin) = Admin::bind(port).await else { return };
    info!(port = admin.address().port(), "admin server listens");
    admin.serve(Arc::new(Shown { intake, about, client })).await;
}

/// What the admin server shows of this process.
struct Shown {
    intake: Intake,
    about: About,
    client: Client,
}

impl Pages for Shown {
    fn ready(&self) -> Result<(), Vec<(Subject, String)>> {
        self.intake.conditions().ready()
    }

    fn metrics(&self) -> String {
        self.intake.page()
    }

    fn status(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Status::of(&self.intake, &self.about))
    }

    async fn fleet(&self) -> serde_json::Result<String> {
        let members = fleet::ask(&self.client, &self.intake.config().fleet).await;
        serde_json::to_string(&members)
    }
}

/// The gateway's address, which the settings have checked.
fn gateway_url(config: &CoreConfig) -> Url {
    config.gateway_url.parse().expect("the settings accept only a URL")
}

/// The client for what is asked of the gateway, and the way that calls of functions take.
///
/// # Errors
/// There is nothing that TLS could trust.
pub(crate) fn reach<S: Source>(config: &CoreConfig) -> Result<(Client, Way), Box<dyn Error>> {
    let tls = gateway::tls(&config.gateway_url)?;
    let client = gateway::client(tls.clone(), header_rules::<S>(config).user_agent())?;
    let gateway = config.gateway_url.parse().expect("the settings accept only an address");
    Ok((client, Way::new(&gateway, tls)))
}

pub(crate) fn rules<S: Source>(config: &CoreConfig, source: &Arc<S::Config>) -> Rules {
    let source = Arc::clone(source);
    Rules {
        kind: S::KIND,
        delimiter: config.topic_delimiter.clone(),
        pattern: Arc::new(move |item| S::pattern(&source, item)),
        letter_scheme: S::LETTER_SCHEME,
        retry: config.retry.clone(),
    }
}

fn header_rules<S: Source>(config: &CoreConfig) -> HeaderRules {
    let mut content_type = config.content_type.clone();
    if S::OWN_CONTENT_TYPE_FIRST {
        content_type.fallback = content_type.configured.take().or(content_type.fallback);
    }
    HeaderRules::new(S::KIND, S::ATTRIBUTE_PREFIX, &content_type)
        .reserve(S::own_headers().into_iter().map(|header| header.name))
}

impl Intake {
    /// The text of `/metrics`; gauges that nobody keeps up to date are read now.
    pub(crate) fn page(&self) -> String {
        let IntakeInner { metrics, budget, dispatcher, topics, listings, .. } = &*self.0;
        let now = &metrics.now;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        now.ready.set(i64::from(self.0.conditions.ready().is_ok()));
        now.buffer_bytes.set(count(budget.payloads()));
        now.buffer_limit_bytes.set(count(budget.limit()));
        let holds = dispatcher.holds.list();
        now.holds.set(count(holds.len()));
        now.held_events.set(count(holds.iter().map(|(_, _, hold)| hold.waiting()).sum()));
        now.platform_down.set(i64::from(!dispatcher.platform.is_up()));
        for function in dispatcher.functions.list() {
            let gate = &function.gate;
            function.metrics.now(gate.running(), gate.limit(), function.retrying());
        }
        let map = Arc::clone(&topics.borrow());
        now.map_functions.set(count(map.functions_count()));
        let skipped = map.skipped().iter().filter(|skipped| !skipped.foreign);
        now.map_skipped.set(count(skipped.count()));
        if let Some(age) = listings.borrow().last.map(|last| last.elapsed()) {
            now.map_listed.set(unix_seconds(SystemTime::now() - age));
        }
        metrics.encode()
    }
}
