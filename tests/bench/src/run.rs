//! One run of a connector: it finds events waiting, and has all of them called.

use std::time::{Duration, Instant};

use integration::{Connector, Gateway, Launch, process};
use tokio::time::sleep;

use crate::figures::each;
use crate::peer::Process;
use crate::source::Source;

/// How often the gateway is asked how many calls have begun.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a run came to.
pub(crate) struct Run {
    /// From the start of the process to its first call.
    pub(crate) first: Duration,
    /// From the start of the process to its last call.
    pub(crate) last: Duration,
    /// The highest resident memory, in bytes.
    pub(crate) peak: u64,
    /// Processor time of the threads of the broker's client, from the start on, for each event, in microseconds.
    pub(crate) client: Option<f64>,
    /// Processor time of all of it.
    pub(crate) used: Duration,
    /// Between the first tenth of the events and the last, where what starting and ending cost is not seen.
    steady: Steady,
}

struct Steady {
    used: Duration,
    events: u64,
    took: Duration,
}

/// Who calls.
pub(crate) enum Caller {
    Ours(Connector),
    Peer(Process),
}

impl Caller {
    fn pid(&self) -> u32 {
        match self {
            Self::Ours(connector) => connector.pid(),
            Self::Peer(process) => process.pid(),
        }
    }

    async fn end(self) {
        match self {
            Self::Ours(connector) => drop(connector.end().await),
            Self::Peer(process) => process.end().await,
        }
    }
}

impl Run {
    /// Runs a connector until it has called so many events, which wait for it.
    pub(crate) async fn of<S: Source>(
        launch: Launch,
        gateway: &Gateway,
        running: usize,
        events: u64,
    ) -> Self {
        let launch = limited(launch, gateway, running);
        let start = async || Caller::Ours(launch.start().await);
        Self::measured(start, S::CLIENT, gateway, events).await
    }

    /// Runs whatever `start` starts. `client` is how the threads of its broker's client are called.
    pub(crate) async fn measured(
        start: impl AsyncFnOnce() -> Caller,
        client: Option<&str>,
        gateway: &Gateway,
        events: u64,
    ) -> Self {
        let before = gateway.begun().await;
        let started = Instant::now();
        let caller = start().await;
        let pid = caller.pid();
        reach(gateway, before + 1).await;
        let first = started.elapsed();
        let steady = Steady::of(pid, gateway, before, events).await;
        reach(gateway, before + events).await;
        let last = started.elapsed();
        let client = client.map(|name| each(process::cpu_of_threads(pid, name), events));
        let used = process::cpu(pid).expect("it runs");
        let peak = process::peak_resident(pid).expect("it runs");
        caller.end().await;
        Self { first, last, peak, client, used, steady }
    }

    /// Processor time for each event, of all threads, in microseconds.
    pub(crate) fn each(&self) -> f64 {
        each(self.steady.used, self.steady.events)
    }

    /// The same, with what starting and ending cost.
    pub(crate) fn whole(&self, events: u64) -> f64 {
        each(self.used, events)
    }

    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        self.steady.events as f64 / self.steady.took.as_secs_f64()
    }
}

impl Steady {
    async fn of(pid: u32, gateway: &Gateway, before: u64, events: u64) -> Self {
        let used = || process::cpu(pid).expect("it runs");
        let from = reach(gateway, before + events / 10).await;
        let (idle, began) = (used(), Instant::now());
        let to = reach(gateway, before + events - events / 10).await;
        Self { used: used() - idle, events: (to - from).max(1), took: began.elapsed() }
    }
}

/// The connector with its calls limited, and without a line for each.
pub(crate) fn limited(launch: Launch, gateway: &Gateway, running: usize) -> Launch {
    launch
        .set("gateway_url", gateway.url())
        .set("function_concurrency", running.to_string())
        .set("max_inflight", running.to_string())
        .set("print_response", "false")
}

/// Waits until so many calls have begun; gives how many had.
pub(crate) async fn reach(gateway: &Gateway, calls: u64) -> u64 {
    loop {
        let begun = gateway.begun().await;
        if begun >= calls {
            return begun;
        }
        sleep(LOOK_EVERY).await;
    }
}
