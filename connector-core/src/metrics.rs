//! Every metric: its name, unit and labels, in one place.
//!
//! Labels come from closed sets: outcomes and reasons are enumerations, functions are those the
//! gateway lists. A topic is never a label here, since a wildcard subscription makes their number
//! unbounded; a source that knows its topics to be few adds its own.
//!
//! Each delivery is counted once, by the worst outcome of its functions:
//! `received = delivered + dead_lettered + dropped + unmatched + repeated + released + in flight`
//! (invariant 14).

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What one delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Answered well by every function.
    Delivered,
    /// At least one function's letter was stored.
    DeadLettered,
    /// At least one function's event was dropped by policy.
    Dropped,
    /// No function was mapped, and policy did not hold it.
    Unmatched,
    /// Every function had its outcome from an earlier delivery.
    Repeated,
    /// Given back to the broker.
    Released,
}

/// What one call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// Answered well.
    Well,
    /// Failed in a way that is tried again.
    Retry,
    /// Refused for good: no attempt would change it.
    Refused,
    /// Set up wrongly; the topic is held.
    Misconfigured,
    /// Failed because the platform was down, or never written: not counted as an attempt.
    Uncounted,
    /// Cut at the drain deadline.
    Cut,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFunction {
    function: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFunctionOutcome {
    function: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFunctionReason {
    function: String,
    reason: &'static str,
}

/// The metrics of the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// What sources have registered, by type.
    sources: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
    received: Counter,
    in_flight: Gauge,
    came: [Counter; 6],
    calls: Family<OfFunctionOutcome, Counter>,
    call_seconds: Family<OfFunction, Histogram, fn() -> Histogram>,
    dead_letters: Family<OfFunctionReason, Counter>,
    dropped: Family<OfFunctionReason, Counter>,
    /// Calls that run now.
    pub calls_running: Gauge,
    /// The bound on running calls.
    pub calls_limit: Gauge,
    /// Payload bytes held now.
    pub buffer_bytes: Gauge,
    /// Topics held now for a function.
    pub holds: Gauge,
    /// 1 while the platform is proven down.
    pub platform_down: Gauge,
    /// 1 while the source is connected.
    pub source_connected: Gauge,
    /// How often the source was started again.
    pub source_restarts: Counter,
    /// Functions in the topic map.
    pub map_functions: Gauge,
    /// When the gateway last listed its functions, in Unix seconds.
    pub map_listed: Gauge,
}

/// The metrics of one function, looked up once and kept.
#[derive(Debug)]
pub struct FunctionMetrics {
    calls: [Counter; 6],
    seconds: Histogram,
}

/// Buckets from half a millisecond to two minutes: a function's time, not a network's.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    120.0,
];

impl Came {
    const ALL: [Self; 6] = [
        Self::Delivered,
        Self::DeadLettered,
        Self::Dropped,
        Self::Unmatched,
        Self::Repeated,
        Self::Released,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
            Self::Dropped => "dropped",
            Self::Unmatched => "unmatched",
            Self::Repeated => "repeated",
            Self::Released => "released",
        }
    }
}

impl Called {
    /// Everything a call can come to.
    pub const ALL: [Self; 6] =
        [Self::Well, Self::Retry, Self::Refused, Self::Misconfigured, Self::Uncounted, Self::Cut];

    /// Its name as a label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Retry => "retry",
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
            Self::Uncounted => "uncounted",
            Self::Cut => "cut",
        }
    }
}

impl Metrics {
    /// Registers everything. `kind` and `version` go into `tributary_build_info`.
    #[must_use]
    pub fn new(kind: &'static str, version: &'static str) -> Self {
        let mut root = Registry::default();
        root.register_collector(Box::new(Process { started: SystemTime::now() }));
        let registry = root.sub_registry_with_prefix("tributary");
        let info = Info::new(vec![("connector", kind), ("version", version)]);
        registry.register("build", "What runs here", info);

        let received = Counter::default();
        registry.register("events_received", "Deliveries taken from the source", received.clone());
        let events = Family::<Outcome, Counter>::default();
        registry.register(
            "events",
            "Deliveries that ended, by the worst outcome of their functions",
            events.clone(),
        );
        let came = Came::ALL.map(|c| events.get_or_create_owned(&Outcome { outcome: c.label() }));
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let in_flight = gauge(registry, "events_in_flight", "Deliveries without a verdict");
        let calls = Family::default();
        registry.register("calls", "Calls of functions, by what they came to", calls.clone());
        let call_seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register_with_unit(
            "call",
            "How long calls of functions took",
            Unit::Seconds,
            call_seconds.clone(),
        );
        let dead_letters = Family::default();
        registry.register("dead_letters", "Letters stored, by reason", dead_letters.clone());
        let dropped = Family::default();
        registry.register("dropped", "Events dropped by policy, by reason", dropped.clone());
        let calls_running = gauge(registry, "calls_running", "Calls that run now");
        let calls_limit = gauge(registry, "calls_limit", "The bound on running calls");
        let buffer_bytes = gauge(registry, "buffer_bytes", "Payload bytes held");
        let holds = gauge(registry, "holds", "Topics held for a function");
        let platform_down = gauge(registry, "platform_down", "1 while the gateway is proven down");
        let source_connected = gauge(registry, "source_connected", "1 while the broker is reached");
        let source_restarts = Counter::default();
        registry.register(
            "source_restarts",
            "How often the source was started again",
            source_restarts.clone(),
        );
        let map_functions = gauge(registry, "map_functions", "Functions in the topic map");
        let map_listed = Gauge::default();
        registry.register_with_unit(
            "map_listed_timestamp",
            "When the gateway last listed its functions, in Unix time",
            Unit::Seconds,
            map_listed.clone(),
        );
        Self {
            registry: Mutex::new(root),
            sources: Mutex::default(),
            received,
            in_flight,
            came,
            calls,
            call_seconds,
            dead_letters,
            dropped,
            calls_running,
            calls_limit,
            buffer_bytes,
            holds,
            platform_down,
            source_connected,
            source_restarts,
            map_functions,
            map_listed,
        }
    }

    /// The metrics that only the source knows, under names of its own: registered by the first
    /// call, and given back by each. A source is made anew at each connect; its metrics are not.
    pub fn of_source<T: Send + Sync + 'static>(
        &self,
        register: impl FnOnce(&mut Registry) -> T,
    ) -> Arc<T> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.iter().find_map(|it| Arc::clone(it).downcast::<T>().ok()) {
            return known;
        }
        let made = register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        let made = Arc::new(made);
        sources.push(Arc::<T>::clone(&made));
        made
    }

    /// The text of `/metrics`, in OpenMetrics form.
    #[must_use]
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string fails only if an encoder of ours is broken; half a page is no answer.
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(_) => "# EOF\n".to_owned(),
        }
    }

    /// One more delivery.
    pub(crate) fn received(&self) {
        self.received.inc();
        self.in_flight.inc();
    }

    /// A delivery has ended.
    pub(crate) fn came(&self, came: Came) {
        self.came[came as usize].inc();
        self.in_flight.dec();
    }

    /// All deliveries, those in flight, and those that ended, by the worst outcome of their
    /// functions.
    #[must_use]
    pub fn totals(&self) -> (u64, i64, [(&'static str, u64); 6]) {
        let ended = Came::ALL.map(|came| (came.label(), self.came[came as usize].get()));
        (self.received.get(), self.in_flight.get(), ended)
    }

    /// The metrics of one function.
    #[must_use]
    pub fn function(&self, function: &str) -> FunctionMetrics {
        let calls = Called::ALL.map(|called| {
            let labels =
                OfFunctionOutcome { function: function.to_owned(), outcome: called.label() };
            self.calls.get_or_create_owned(&labels)
        });
        let labels = OfFunction { function: function.to_owned() };
        FunctionMetrics { calls, seconds: self.call_seconds.get_or_create_owned(&labels) }
    }

    /// Forgets a function that is gone.
    pub fn forget_function(&self, function: &str) {
        for called in Called::ALL {
            let labels =
                OfFunctionOutcome { function: function.to_owned(), outcome: called.label() };
            self.calls.remove(&labels);
        }
        self.call_seconds.remove(&OfFunction { function: function.to_owned() });
    }

    /// A letter was stored. `function` is `-` where none was involved.
    pub fn dead_lettered(&self, function: &str, reason: &'static str) {
        let labels = OfFunctionReason { function: function.to_owned(), reason };
        self.dead_letters.get_or_create_owned(&labels).inc();
    }

    /// An event was dropped by policy. `function` is `-` where none was involved.
    pub fn dropped(&self, function: &str, reason: &'static str) {
        let labels = OfFunctionReason { function: function.to_owned(), reason };
        self.dropped.get_or_create_owned(&labels).inc();
    }
}

impl FunctionMetrics {
    /// A call has ended.
    pub fn called(&self, called: Called, took: Duration) {
        self.calls[called as usize].inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// How many calls came to this.
    #[must_use]
    pub fn count(&self, called: Called) -> u64 {
        self.calls[called as usize].get()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What the kernel knows of this process, under the names every Prometheus client uses.
#[derive(Debug)]
struct Process {
    started: SystemTime,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)
        };
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge(
            "process_start_time_seconds",
            "When the process started, in Unix time",
            started.as_secs_f64(),
        )?;
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse::<f64>().ok());
            if let Some(kib) = kib {
                gauge("process_resident_memory_bytes", "Resident memory", kib * 1024.0)?;
            }
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            gauge("process_open_fds", "Open file descriptors", files.count() as f64)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Processor time used, in user and system mode",
                None,
                counter.metric_type(),
            )?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

/// User and system time of the whole process. Linux counts it in ticks of 10 ms on every
/// architecture we build for (`USER_HZ`, proc(5)).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold spaces and parentheses; the fields count from its last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_delivery_and_ends_properly() {
        let metrics = Metrics::new("test", "0.0.0");
        metrics.received();
        metrics.received();
        metrics.came(Came::Unmatched);
        metrics.function("f.ns").called(Called::Well, Duration::from_millis(3));
        let page = metrics.encode();
        for line in [
            "tributary_events_received_total 2",
            "tributary_events_in_flight 1",
            "tributary_events_total{outcome=\"unmatched\"} 1",
            "tributary_events_total{outcome=\"delivered\"} 0",
            "tributary_calls_total{function=\"f.ns\",outcome=\"well\"} 1",
            "tributary_call_seconds_count{function=\"f.ns\"} 1",
            "tributary_build_info{connector=\"test\",version=\"0.0.0\"} 1",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
        }
        assert!(page.contains("process_resident_memory_bytes "));
        assert!(page.contains("process_cpu_seconds_total "));
        assert!(page.ends_with("# EOF\n"));
        metrics.forget_function("f.ns");
        assert!(!metrics.encode().contains("f.ns"));
    }

    #[test]
    fn a_source_registers_once_however_often_it_connects() {
        let metrics = Metrics::new("test", "0.0.0");
        let register = |registry: &mut Registry| {
            let own = Counter::<u64>::default();
            registry.register("own", "The source's own", own.clone());
            own
        };
        metrics.of_source(register).inc();
        metrics.of_source(register).inc();
        let page = metrics.encode();
        assert_eq!(page.matches("# TYPE own counter").count(), 1);
        assert!(page.contains("own_total 2\n"), "{page}");
    }
}
