//! The metrics of the SQS connector. The label `queue` holds the names of the queues consumed,
//! which settings and annotations bound.

use std::sync::Arc;

use connector_core::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::Backlog;

/// The metrics of one process.
#[derive(Default)]
pub(crate) struct Meters {
    messages: Family<OfState, Gauge>,
    receives: Family<OfQueue, Counter>,
    receivers: Family<OfQueue, Gauge>,
    extensions: Family<OfQueue, Counter>,
    leases_lost: Family<OfQueue, Counter>,
    deletes_failed: Family<OfQueue, Counter>,
    stale: Family<OfQueue, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    queue: String,
    state: &'static str,
}

/// The metrics of one queue, held so that no label is looked up for a message.
#[derive(Debug)]
pub(crate) struct QueueMeters {
    messages: [Gauge; 3],
    pub(crate) receives: Counter,
    pub(crate) receivers: Gauge,
    pub(crate) extensions: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) deletes_failed: Counter,
    pub(crate) stale: Counter,
}

impl Meters {
    /// The metrics of the process that `metrics` is of. A source is made anew at each reconnect,
    /// but a metric is registered once.
    pub(crate) fn of(metrics: &Metrics) -> Arc<Self> {
        metrics.of_source(|registry| {
            let meters = Self::default();
            meters.register(registry);
            meters
        })
    }

    /// The metrics of one queue.
    pub(crate) fn queue(&self, queue: &str) -> QueueMeters {
        let of = OfQueue { queue: queue.to_owned() };
        let messages = ["waiting", "lent", "delayed"].map(|state| {
            self.messages.get_or_create_owned(&OfState { queue: queue.to_owned(), state })
        });
        QueueMeters {
            messages,
            receives: self.receives.get_or_create_owned(&of),
            receivers: self.receivers.get_or_create_owned(&of),
            extensions: self.extensions.get_or_create_owned(&of),
            leases_lost: self.leases_lost.get_or_create_owned(&of),
            deletes_failed: self.deletes_failed.get_or_create_owned(&of),
            stale: self.stale.get_or_create_owned(&of),
        }
    }

    fn register(&self, registry: &mut Registry) {
        let ours = registry.sub_registry_with_prefix("tributary_sqs");
        ours.register(
            "messages",
            "Messages of the queue as it tells about once a minute, by state",
            self.messages.clone(),
        );
        ours.register("receives", "Receives that were answered", self.receives.clone());
        ours.register("receivers", "Receives that run now", self.receivers.clone());
        ours.register("extensions", "Leases extended", self.extensions.clone());
        ours.register(
            "leases_lost",
            "Leases that lapsed or were refused before the message had its verdict",
            self.leases_lost.clone(),
        );
        ours.register(
            "deletes_failed",
            "Deletes that failed and are tried again",
            self.deletes_failed.clone(),
        );
        ours.register(
            "stale_handles",
            "Messages that could not be deleted because their receipt had become void",
            self.stale.clone(),
        );
    }
}

impl QueueMeters {
    /// Takes note of what the queue says it has.
    pub(crate) fn backlog(&self, backlog: Backlog) {
        let Backlog { waiting, lent, delayed } = backlog;
        for (gauge, count) in self.messages.iter().zip([waiting, lent, delayed]) {
            gauge.set(count);
        }
    }
}
