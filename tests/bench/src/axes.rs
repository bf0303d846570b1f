//! How what an event costs grows along one axis at a time, everything else as usual.

use integration::Gateway;
use serde_json::json;

use crate::figures::{count, mib, micros, table};
use crate::run::Run;
use crate::source::{PAYLOAD, RUNNING, Source};

const EVENTS_AXIS: &str = "events";
/// How many events a run has where a single figure of many is looked at.
const EVENTS: u64 = 20_000;
/// The most bytes of the payloads of a run.
const BYTES: u64 = 200_000_000;
/// How long a function takes where the number of running calls is looked at.
const FUNCTION_MS: u64 = 5;

/// One axis with what was measured on it.
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) points: Vec<Point>,
}

/// What was measured at one point of an axis.
pub(crate) struct Point {
    pub(crate) at: f64,
    pub(crate) rate: f64,
    pub(crate) each: f64,
    pub(crate) peak: f64,
    /// From the start of the process to its last call, in seconds.
    pub(crate) all: f64,
}

/// What one run is like, where it is not as usual.
struct Shape {
    events: u64,
    functions: usize,
    width: usize,
    running: usize,
    bytes: usize,
    function_ms: u64,
}

pub(crate) async fn axes<S: Source>(source: &S) -> Vec<Axis> {
    let events = EVENTS.min(S::EVENTS);
    let usual = || Shape {
        events,
        functions: 1,
        width: S::WIDTH,
        running: RUNNING,
        bytes: PAYLOAD,
        function_ms: 0,
    };
    let tens = |most: u64| (0..7).map(|power| 10_u64.pow(power)).filter(move |at| *at <= most);
    let mut all = Vec::new();
    let shapes = tens(S::MOST).map(|events| (events, Shape { events, ..usual() }));
    all.push(along(source, EVENTS_AXIS, shapes).await);
    let shapes = tens(10_000).map(|at| (at, Shape { functions: at as usize, ..usual() }));
    all.push(along(source, "functions mapped", shapes).await);
    let shapes = [1, 3, 10, 30, 100].map(|at| (at, Shape { width: at as usize, ..usual() }));
    all.push(along(source, S::WIDTHS, shapes).await);
    let shapes = [1, 4, 16, 64, 256, 1_000].map(|at| {
        // About four seconds of calls, if they run as they may.
        let events = events.min(at * 4_000 / FUNCTION_MS);
        (at, Shape { running: at as usize, function_ms: FUNCTION_MS, events, ..usual() })
    });
    all.push(along(source, "calls running, function of 5 ms", shapes).await);
    let sizes = [100, 1_000, 10_000, 100_000, 1_000_000];
    let shapes = sizes.into_iter().filter(|bytes| *bytes <= S::LARGEST).map(|bytes| {
        let events = events.min(BYTES / bytes as u64);
        (bytes as u64, Shape { bytes, events, ..usual() })
    });
    all.push(along(source, "bytes of a payload", shapes).await);
    all
}

async fn along<S: Source>(
    source: &S,
    title: &str,
    shapes: impl IntoIterator<Item = (u64, Shape)>,
) -> Axis {
    let mut points = Vec::new();
    for (at, shape) in shapes {
        eprintln!("{}: {title}: {at}", S::TITLE);
        points.push(point(source, at, &shape).await);
    }
    Axis { title: title.to_owned(), points }
}

async fn point<S: Source>(source: &S, at: u64, shape: &Shape) -> Point {
    let gateway = Gateway::start(None).await;
    let place = source.place(shape.width, &gateway).await;
    gateway.deploy("work", &place.asked).await;
    for other in 1..shape.functions {
        gateway.deploy(&format!("other-{other}"), &format!("never-{other}")).await;
    }
    if shape.function_ms > 0 {
        gateway.fault("work", &json!({ "delay_ms": shape.function_ms })).await;
    }
    source.publish(&place, shape.bytes, shape.events).await;
    let run = Run::of::<S>(source.launch(&place), &gateway, shape.running, shape.events).await;
    gateway.end().await;
    Point {
        at: at as f64,
        rate: run.rate(),
        // What starting costs is part of it where there is hardly anything else.
        each: if shape.events < 1_000 { run.whole(shape.events) } else { run.each() },
        peak: run.peak as f64,
        all: run.last.as_secs_f64(),
    }
}

impl Axis {
    /// Whether the rate means something, and processor time is not that of starting: a few events are over before they
    /// can be timed.
    pub(crate) fn is_timed(&self, point: &Point) -> bool {
        self.title != EVENTS_AXIS || point.at >= 1_000.0
    }

    /// A table of Markdown.
    pub(crate) fn table(&self) -> String {
        let head = [
            &*self.title,
            "events a second",
            "processor time per event",
            "peak memory",
            "start to last call",
        ];
        let lines = self.points.iter().map(|point| {
            let rate = if self.is_timed(point) { count(point.rate) } else { String::new() };
            let (at, each, peak) = (count(point.at), micros(point.each), mib(point.peak));
            format!("| {at} | {rate} | {each} | {peak} | {:.2} s |", point.all)
        });
        table(&head, lines)
    }
}
