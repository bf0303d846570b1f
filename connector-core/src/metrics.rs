//! Every metric: its name, unit and labels, in one place.
//!
//! Labels come from closed sets: outcomes and reasons are enumerations, functions are those the
//! gateway lists. A topic is never a label here, since a wildcard subscription makes their number
//! unbounded; a source that knows its topics to be few adds its own.
//!
//! Each delivery is counted once, by the worst outcome of its functions:
//! `received = delivered + dead_lettered + dropped + unmatched + repeated + released + in flight`
//! (invariant 14).

mod arrivals;
mod book;
mod gauges;
mod outcome;
mod process;

use std::any::Any;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use tokio::time::Instant;

use arrivals::Arrivals;
pub(crate) use arrivals::Arrived;
pub use book::Book;
pub use gauges::Gauges;
pub use outcome::{Called, Came};
use process::Process;

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

/// A gauge of seconds and their parts.
pub type Seconds = Gauge<f64, AtomicU64>;

/// Sets a gauge to how long ago something was; 0 when there is nothing, or it is yet to come.
pub fn set_age(gauge: &Seconds, since: Option<SystemTime>) {
    let age = since.and_then(|since| since.elapsed().ok());
    gauge.set(age.unwrap_or_default().as_secs_f64());
}

/// Whole seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The metrics of the process.
pub struct Metrics {
    book: Mutex<Book>,
    /// How many rows of the book are for every connector.
    shared: usize,
    /// What sources have registered, by type.
    sources: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
    received: Counter,
    in_flight: Gauge,
    arrivals: Arrivals,
    oldest: Seconds,
    came: [Counter; 6],
    calls: Family<OfFunctionOutcome, Counter>,
    call_seconds: Family<OfFunction, Histogram, fn() -> Histogram>,
    function_running: Family<OfFunction, Gauge>,
    function_limit: Family<OfFunction, Gauge>,
    function_retrying: Family<OfFunction, Gauge>,
    dead_letters: Family<OfFunctionReason, Counter>,
    dropped: Family<OfFunctionReason, Counter>,
    /// Calls that run now.
    pub calls_running: Gauge,
    /// The bound on running calls.
    pub calls_limit: Gauge,
    /// 1 while the source is connected.
    pub source_connected: Gauge,
    /// How often the source was started again.
    pub source_restarts: Counter,
    /// What is asked for when somebody asks for the page.
    pub now: Gauges,
}

/// The metrics of one function, looked up once and kept.
#[derive(Debug)]
pub struct FunctionMetrics {
    calls: [Counter; 6],
    seconds: Histogram,
    running: Gauge,
    limit: Gauge,
    retrying: Gauge,
}

/// Buckets from half a millisecond to two minutes: a function's time, not a network's.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    120.0,
];

impl Metrics {
    /// Enters everything. `kind` and `version` go into `tributary_build_info`.
    #[must_use]
    pub fn new(kind: &'static str, version: &'static str) -> Self {
        let mut book = Book::default();
        let started = SystemTime::now();
        book.enter_collector(process::ROWS, Box::new(Process { started }));
        let info = Info::new(vec![("connector", kind), ("version", version)]);
        book.enter("tributary_build_info", &["connector", "version"], "What runs here", info);
        let gauge = |book: &mut Book, name, help| {
            let gauge = Gauge::default();
            book.enter(name, &[], help, gauge.clone());
            gauge
        };
        let received = Counter::default();
        book.enter(
            "tributary_events_received_total",
            &[],
            "Deliveries taken from the source",
            received.clone(),
        );
        let events = Family::<Outcome, Counter>::default();
        book.enter(
            "tributary_events_total",
            &["outcome"],
            "Deliveries that ended, by the worst outcome of their functions",
            events.clone(),
        );
        let came = Came::ALL.map(|c| events.get_or_create_owned(&Outcome { outcome: c.label() }));
        let in_flight =
            gauge(&mut book, "tributary_events_in_flight", "Deliveries without a verdict");
        let oldest = Seconds::default();
        book.enter(
            "tributary_oldest_event_seconds",
            &[],
            "How long the oldest delivery without a verdict has been here, to the second; 0 when there is none",
            oldest.clone(),
        );

        let calls = Family::default();
        book.enter(
            "tributary_calls_total",
            &["function", "outcome"],
            "Calls of functions, by what they came to; `retry`: they failed and are tried again",
            calls.clone(),
        );
        let call_seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        book.enter(
            "tributary_call_seconds",
            &["function"],
            "How long calls of functions took",
            call_seconds.clone(),
        );
        let calls_running = gauge(&mut book, "tributary_calls_running", "Calls that run now");
        let calls_limit =
            gauge(&mut book, "tributary_calls_limit", "How many calls may run (`max_inflight`)");
        let of_function = |book: &mut Book, name, help| {
            let family = Family::<OfFunction, Gauge>::default();
            book.enter(name, &["function"], help, family.clone());
            family
        };
        let function_running = of_function(
            &mut book,
            "tributary_function_calls_running",
            "Calls of the function that run now",
        );
        let function_limit = of_function(
            &mut book,
            "tributary_function_calls_limit",
            "How many calls of the function may run (`function_concurrency`, `connector.concurrency`)",
        );
        let function_retrying = of_function(
            &mut book,
            "tributary_function_retrying_events",
            "Events that wait here for their next call of the function",
        );

        let dead_letters = Family::default();
        book.enter(
            "tributary_dead_letters_total",
            &["function", "reason"],
            "Letters stored, by reason",
            dead_letters.clone(),
        );
        let dropped = Family::default();
        book.enter(
            "tributary_dropped_total",
            &["function", "reason"],
            "Events dropped by policy, by reason",
            dropped.clone(),
        );
        let source_connected =
            gauge(&mut book, "tributary_source_connected", "1 while the broker is reached");
        let source_restarts = Counter::default();
        book.enter(
            "tributary_source_restarts_total",
            &[],
            "How often the source was started again",
            source_restarts.clone(),
        );
        let now = Gauges::enter(&mut book);
        now.map_listed.set(unix_seconds(started));
        Self {
            shared: book.rows().len(),
            book: Mutex::new(book),
            sources: Mutex::default(),
            received,
            in_flight,
            arrivals: Arrivals::new(),
            oldest,
            came,
            calls,
            call_seconds,
            function_running,
            function_limit,
            function_retrying,
            dead_letters,
            dropped,
            calls_running,
            calls_limit,
            source_connected,
            source_restarts,
            now,
        }
    }

    /// The metrics that only the source knows, under names of its own: entered by the first
    /// call, and given back by each. A source is made anew at each connect; its metrics are not.
    pub fn of_source<T: Send + Sync + 'static>(
        &self,
        enter: impl FnOnce(&mut Book) -> T,
    ) -> Arc<T> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.iter().find_map(|it| Arc::clone(it).downcast::<T>().ok()) {
            return known;
        }
        let made = enter(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner));
        let made = Arc::new(made);
        sources.push(Arc::<T>::clone(&made));
        made
    }

    /// The text of `/metrics`, in OpenMetrics form.
    #[must_use]
    pub fn encode(&self) -> String {
        self.oldest.set(self.arrivals.oldest().as_secs_f64());
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::new();
        // Writing to a string fails only if an encoder of ours is broken; half a page is no answer.
        match text::encode(&mut page, book.registry()) {
            Ok(()) => page,
            Err(_) => "# EOF\n".to_owned(),
        }
    }

    /// What every metric means, as Markdown: a table of the source's own, if it has any, and one
    /// of those that every connector has.
    #[must_use]
    pub fn reference(&self, program: &str) -> String {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let (shared, own) = book.rows().split_at(self.shared);
        let mut text = String::new();
        for (whose, rows) in [(program, own), ("every connector", shared)] {
            if !rows.is_empty() {
                text += &format!("## Metrics of {whose}\n\n{}\n", book::table(rows));
            }
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }

    /// One more delivery. What is given back goes to [`came`](Self::came).
    pub(crate) fn received(&self, now: Instant) -> Arrived {
        self.received.inc();
        self.in_flight.inc();
        self.arrivals.enter(now)
    }

    /// A delivery has ended.
    pub(crate) fn came(&self, came: Came, arrived: Arrived) {
        self.came[came as usize].inc();
        self.in_flight.dec();
        self.arrivals.leave(arrived);
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
        let of = OfFunction { function: function.to_owned() };
        FunctionMetrics {
            calls,
            seconds: self.call_seconds.get_or_create_owned(&of),
            running: self.function_running.get_or_create_owned(&of),
            limit: self.function_limit.get_or_create_owned(&of),
            retrying: self.function_retrying.get_or_create_owned(&of),
        }
    }

    /// Forgets a function that is gone.
    pub fn forget_function(&self, function: &str) {
        for called in Called::ALL {
            let labels =
                OfFunctionOutcome { function: function.to_owned(), outcome: called.label() };
            self.calls.remove(&labels);
        }
        let of = OfFunction { function: function.to_owned() };
        self.call_seconds.remove(&of);
        for family in [&self.function_running, &self.function_limit, &self.function_retrying] {
            family.remove(&of);
        }
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

    /// Notes how its calls are now: how many run, how many may, and how many events wait for
    /// their next one.
    pub fn now(&self, running: usize, limit: usize, retrying: usize) {
        for (gauge, count) in
            [(&self.running, running), (&self.limit, limit), (&self.retrying, retrying)]
        {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_delivery_and_ends_properly() {
        let metrics = Metrics::new("test", "0.0.0");
        let arrived = metrics.received(Instant::now());
        metrics.received(Instant::now());
        metrics.came(Came::Unmatched, arrived);
        let function = metrics.function("f.ns");
        function.called(Called::Well, Duration::from_millis(3));
        function.now(2, 10, 7);
        let page = metrics.encode();
        for line in [
            "tributary_events_received_total 2",
            "tributary_events_in_flight 1",
            "tributary_events_total{outcome=\"unmatched\"} 1",
            "tributary_events_total{outcome=\"delivered\"} 0",
            "tributary_calls_total{function=\"f.ns\",outcome=\"well\"} 1",
            "tributary_call_seconds_count{function=\"f.ns\"} 1",
            "tributary_function_calls_running{function=\"f.ns\"} 2",
            "tributary_function_calls_limit{function=\"f.ns\"} 10",
            "tributary_function_retrying_events{function=\"f.ns\"} 7",
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
        let enter = |book: &mut Book| {
            let own = Counter::<u64>::default();
            book.enter("own_total", &[], "The source's own", own.clone());
            own
        };
        metrics.of_source(enter).inc();
        metrics.of_source(enter).inc();
        let page = metrics.encode();
        assert_eq!(page.matches("# TYPE own counter").count(), 1);
        assert!(page.contains("own_total 2\n"), "{page}");
        let reference = metrics.reference("test-connector");
        let own = "## Metrics of test-connector\n\n| Metric";
        assert!(reference.starts_with(own), "{reference}");
        assert!(reference.contains("## Metrics of every connector\n\n"), "{reference}");
    }
}
