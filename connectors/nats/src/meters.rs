//! The metrics that only this connector has.

use std::sync::Arc;

use connector_core::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// The metrics of one process.
#[derive(Default)]
pub(crate) struct Meters {
    lost: Family<Why, Counter>,
    /// Settlements that the server did not confirm and that were repeated.
    pub(crate) settle_retries: Counter,
    /// Messages that a bound consumer gave up on and that were fetched from the stream.
    pub(crate) recovered: Counter,
    /// Messages that cannot be delivered and that were fetched from the stream.
    pub(crate) unreadable: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

/// Why a message of core NATS was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The window or the buffer was full: the newest message gives way.
    Full,
    /// It waited, or its call was cut, when the process was asked to stop.
    Stopped,
}

impl Meters {
    /// The metrics of the process that `metrics` is of. A source is made anew at each connect, but
    /// a metric is registered once.
    pub(crate) fn of(metrics: &Metrics) -> Arc<Self> {
        metrics.of_source(|registry| {
            let meters = Self::default();
            registry.register(
                "nats_connector_lost",
                "Messages of core NATS that were not handed to any function",
                meters.lost.clone(),
            );
            registry.register(
                "nats_connector_settle_retries",
                "Acknowledgements that the server did not confirm and that were sent again",
                meters.settle_retries.clone(),
            );
            registry.register(
                "nats_connector_recovered",
                "Messages past the delivery limit of their consumer that were fetched from the stream",
                meters.recovered.clone(),
            );
            registry.register(
                "nats_connector_unreadable",
                "Messages that break the connection when they are delivered and that were fetched from the stream",
                meters.unreadable.clone(),
            );
            meters
        })
    }

    /// Counts lost messages.
    pub(crate) fn lost(&self, why: Lost, messages: u64) {
        let why = match why {
            Lost::Full => "full",
            Lost::Stopped => "stopped",
        };
        self.lost.get_or_create(&Why { why }).inc_by(messages);
    }
}
