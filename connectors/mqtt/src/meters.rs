//! The metrics of the MQTT connector, beside those that all connectors have.

use std::sync::Arc;

use connector_core::metrics::{Book, Metrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The metrics of one process.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Sessions that are connected and subscribed.
    pub(crate) sessions: Gauge,
    /// Filters that the broker refuses.
    pub(crate) refused: Gauge,
    /// Messages of QoS 0 for which there was no room.
    pub(crate) lost_full: Counter,
    /// Messages of QoS 0 that had no verdict when their session ended.
    pub(crate) lost_released: Counter,
    /// Messages acknowledged uncalled, because they are dead letters of our own.
    pub(crate) own_letters: Counter,
    /// Answers published for their publishers.
    pub(crate) replies: Counter,
}

/// Something that a gauge counts as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lost {
    reason: &'static str,
}

impl Meters {
    /// The metrics of the process that `metrics` is of. A source is made anew at each reconnect,
    /// but a metric is entered once.
    pub(crate) fn of(metrics: &Metrics) -> Arc<Self> {
        metrics.of_source(Self::enter)
    }

    fn enter(book: &mut Book) -> Self {
        let lost = Family::<Lost, Counter>::default();
        let reason = |reason| lost.get_or_create_owned(&Lost { reason });
        let meters = Self {
            sessions: Gauge::default(),
            refused: Gauge::default(),
            lost_full: reason("full"),
            lost_released: reason("released"),
            own_letters: Counter::default(),
            replies: Counter::default(),
        };
        book.enter(
            "tributary_mqtt_sessions",
            &[],
            "Sessions connected and subscribed",
            meters.sessions.clone(),
        );
        book.enter(
            "tributary_mqtt_refused_filters",
            &[],
            "Filters that the broker refuses",
            meters.refused.clone(),
        );
        book.enter(
            "tributary_mqtt_lost_total",
            &["reason"],
            "Messages of QoS 0 that no function was called with: `full` (there was no room), `released` \
             (they had no verdict when their session ended)",
            lost,
        );
        book.enter(
            "tributary_mqtt_own_letters_total",
            &[],
            "Messages acknowledged uncalled: dead letters of this connector that came back by a wildcard",
            meters.own_letters.clone(),
        );
        book.enter(
            "tributary_mqtt_replies_total",
            &[],
            "Answers published to response topics",
            meters.replies.clone(),
        );
        meters
    }
}
