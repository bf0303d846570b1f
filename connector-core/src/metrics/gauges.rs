//! What is asked for when somebody asks for the page, so that it costs an event nothing.
//!
//! [`Intake::page`](crate::Intake) sets these from what the process keeps anyway.

use prometheus_client::metrics::gauge::Gauge;

use super::book::Book;

/// How things are now.
#[derive(Debug)]
pub struct Gauges {
    /// 1 while `/readyz` says so.
    pub ready: Gauge,
    /// Bytes of events held.
    pub buffer_bytes: Gauge,
    /// The bound on payload bytes held.
    pub buffer_limit_bytes: Gauge,
    /// Topics held for a function.
    pub holds: Gauge,
    /// Events that wait in these holds.
    pub held_events: Gauge,
    /// 1 while the platform is proven down.
    pub platform_down: Gauge,
    /// Functions in the topic map.
    pub map_functions: Gauge,
    /// Items of annotations that are not used and not plainly another connector's.
    pub map_skipped: Gauge,
    /// When the gateway last listed its functions, or else the process started, in Unix seconds.
    pub map_listed: Gauge,
}

impl Gauges {
    pub(super) fn enter(book: &mut Book) -> Self {
        let mut gauge = |name, help| {
            let gauge = Gauge::default();
            book.enter(name, &[], help, gauge.clone());
            gauge
        };
        Self {
            ready: gauge("tributary_ready", "1 while `/readyz` says so"),
            buffer_bytes: gauge(
                "tributary_buffer_bytes",
                "Bytes held of payloads, keys and attributes",
            ),
            buffer_limit_bytes: gauge(
                "tributary_buffer_limit_bytes",
                "How many bytes of events may be held (`buffer_bytes`)",
            ),
            holds: gauge("tributary_holds", "Topics held for a function"),
            held_events: gauge(
                "tributary_held_events",
                "Events that wait because their topic is held for a function",
            ),
            platform_down: gauge("tributary_platform_down", "1 while the gateway is proven down"),
            map_functions: gauge("tributary_map_functions", "Functions in the topic map"),
            map_skipped: gauge(
                "tributary_map_skipped",
                "Items of annotations that are not used, but for those plainly meant for another connector",
            ),
            map_listed: gauge(
                "tributary_map_listed_timestamp_seconds",
                "When the gateway last listed its functions, in Unix time; before the first time, when the process started",
            ),
        }
    }
}
