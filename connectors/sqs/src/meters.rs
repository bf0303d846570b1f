//! The metrics of the SQS connector. The label `queue` holds the names of the queues consumed,
//! which settings and annotations bound.

use std::sync::Arc;
use std::time::SystemTime;

use connector_core::metrics::{Book, Metrics, Seconds, set_age};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::api::Backlog;

/// The metrics of one process.
#[derive(Default)]
pub(crate) struct Meters {
    messages: Family<OfState, Gauge>,
    head_age: Family<OfQueue, Seconds>,
    retention: Family<OfQueue, Gauge>,
    receives: Family<OfQueue, Counter>,
    receivers: Family<OfQueue, Gauge>,
    extensions: Family<OfQueue, Counter>,
    leases_lost: Family<OfQueue, Counter>,
    deletes_failed: Family<OfQueue, Counter>,
    stale: Family<OfQueue, Counter>,
}

const OF_QUEUE: &[&str] = &["queue"];
const STATES: [&str; 3] = ["waiting", "lent", "delayed"];

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
    head_age: Seconds,
    of: OfQueue,
    /// Of all queues: this one's are there only while it tells.
    messages: Family<OfState, Gauge>,
    retention: Family<OfQueue, Gauge>,
    pub(crate) receives: Counter,
    pub(crate) receivers: Gauge,
    pub(crate) extensions: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) deletes_failed: Counter,
    pub(crate) stale: Counter,
}

impl Meters {
    /// The metrics of the process that `metrics` is of. A source is made anew at each reconnect,
    /// but a metric is entered once.
    pub(crate) fn of(metrics: &Metrics) -> Arc<Self> {
        metrics.of_source(|book| {
            let meters = Self::default();
            meters.enter(book);
            meters
        })
    }

    /// The metrics of one queue.
    pub(crate) fn queue(&self, queue: &str) -> QueueMeters {
        let of = OfQueue { queue: queue.to_owned() };
        QueueMeters {
            messages: self.messages.clone(),
            head_age: self.head_age.get_or_create_owned(&of),
            retention: self.retention.clone(),
            receives: self.receives.get_or_create_owned(&of),
            receivers: self.receivers.get_or_create_owned(&of),
            extensions: self.extensions.get_or_create_owned(&of),
            leases_lost: self.leases_lost.get_or_create_owned(&of),
            deletes_failed: self.deletes_failed.get_or_create_owned(&of),
            stale: self.stale.get_or_create_owned(&of),
            of,
        }
    }

    fn enter(&self, book: &mut Book) {
        book.enter(
            "tributary_sqs_messages",
            &["queue", "state"],
            "Messages of the queue as it tells about once a minute: `waiting`, `lent`, `delayed`",
            self.messages.clone(),
        );
        book.enter(
            "tributary_sqs_head_age_seconds",
            OF_QUEUE,
            "Age of the oldest message received and not settled, since it was sent; 0 when there is none",
            self.head_age.clone(),
        );
        book.enter(
            "tributary_sqs_retention_seconds",
            OF_QUEUE,
            "How long the queue keeps its messages, where it tells",
            self.retention.clone(),
        );
        book.enter(
            "tributary_sqs_receives_total",
            OF_QUEUE,
            "Receives that were answered",
            self.receives.clone(),
        );
        book.enter(
            "tributary_sqs_receivers",
            OF_QUEUE,
            "Receives that run now",
            self.receivers.clone(),
        );
        book.enter(
            "tributary_sqs_extensions_total",
            OF_QUEUE,
            "Leases extended",
            self.extensions.clone(),
        );
        book.enter(
            "tributary_sqs_leases_lost_total",
            OF_QUEUE,
            "Leases that lapsed or were refused before the message had its verdict: an outage of SQS, or a \
             call of more than 12 hours",
            self.leases_lost.clone(),
        );
        book.enter(
            "tributary_sqs_deletes_failed_total",
            OF_QUEUE,
            "Deletes that failed and are tried again; while they fail, `/readyz` says so, and nothing more is \
             received once a window of them waits",
            self.deletes_failed.clone(),
        );
        book.enter(
            "tributary_sqs_stale_handles_total",
            OF_QUEUE,
            "Messages done that could not be deleted because their receipt had become void: they come again",
            self.stale.clone(),
        );
    }
}

impl QueueMeters {
    /// Takes note of what the queue says it has.
    pub(crate) fn backlog(&self, backlog: Backlog) {
        let Backlog { waiting, lent, delayed, retention } = backlog;
        for (state, count) in STATES.into_iter().zip([waiting, lent, delayed]) {
            self.messages.get_or_create(&self.of_state(state)).set(count);
        }
        match retention {
            Some(seconds) => drop(self.retention.get_or_create(&self.of).set(seconds)),
            None => drop(self.retention.remove(&self.of)),
        }
    }

    /// Forgets what the queue said: it is not asked any more.
    pub(crate) fn untold(&self) {
        for state in STATES {
            self.messages.remove(&self.of_state(state));
        }
        self.retention.remove(&self.of);
    }

    fn of_state(&self, state: &'static str) -> OfState {
        OfState { queue: self.of.queue.clone(), state }
    }

    /// Notes when the oldest message was sent that is not settled.
    pub(crate) fn head(&self, sent: Option<SystemTime>) {
        set_age(&self.head_age, sent);
    }
}
