//! The metrics that only this connector has.

use std::sync::Arc;
use std::time::Duration;

use connector_core::metrics::{Book, Metrics, Seconds};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::binding::Terms;

/// The metrics of one process.
#[derive(Default)]
pub(crate) struct Meters {
    messages: Family<OfState, Gauge>,
    head_age: Family<OfConsumer, Seconds>,
    retention: Family<OfConsumer, Gauge>,
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

const OF_CONSUMER: &[&str] = &["stream", "consumer"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfConsumer {
    stream: String,
    consumer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    stream: String,
    consumer: String,
    state: &'static str,
}

/// What the server tells of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Messages that were not delivered yet.
    pub(crate) waiting: u64,
    /// Messages delivered and not acknowledged, to whomever.
    pub(crate) lent: usize,
    /// After how long its stream deletes a message; `None`: never because of its age.
    pub(crate) retention: Option<Duration>,
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
    /// a metric is entered once.
    pub(crate) fn of(metrics: &Metrics) -> Arc<Self> {
        metrics.of_source(|book| {
            let meters = Self::default();
            meters.enter(book);
            meters
        })
    }

    fn enter(&self, book: &mut Book) {
        // Seen at 0 first: who watches a counter grow would miss the step that creates it.
        for why in Lost::ALL {
            self.lost(why, 0);
        }
        book.enter(
            "tributary_nats_messages",
            &["stream", "consumer", "state"],
            "Messages of the consumer as the server tells about once a minute: `waiting`, `lent` (delivered and \
             not acknowledged, to whomever)",
            self.messages.clone(),
        );
        book.enter(
            "tributary_nats_head_age_seconds",
            OF_CONSUMER,
            "Age of the oldest message delivered to this replica and without a verdict, since it was stored; \
             0 when there is none",
            self.head_age.clone(),
        );
        book.enter(
            "tributary_nats_retention_seconds",
            OF_CONSUMER,
            "How long the consumer's stream keeps its messages. Left out where none is deleted by age",
            self.retention.clone(),
        );
        book.enter(
            "tributary_nats_lost_total",
            &["why"],
            "Messages of core NATS that were not handed to any function: `full` (the window or the buffer \
             was), `stopped` (they waited, or their call was cut, when the process was asked to stop)",
            self.lost.clone(),
        );
        book.enter(
            "tributary_nats_settle_retries_total",
            &[],
            "Acknowledgements that the server did not confirm and that were sent again",
            self.settle_retries.clone(),
        );
        book.enter(
            "tributary_nats_recovered_total",
            &[],
            "Messages past the delivery limit of their consumer that were fetched from the stream",
            self.recovered.clone(),
        );
        book.enter(
            "tributary_nats_unreadable_total",
            &[],
            "Messages that break the connection when they are delivered and that were fetched from the stream",
            self.unreadable.clone(),
        );
    }

    /// Takes note of what the server tells of a consumer.
    pub(crate) fn backlog(&self, terms: &Terms, backlog: Backlog) {
        let Backlog { waiting, lent, retention } = backlog;
        let lent = u64::try_from(lent).unwrap_or(u64::MAX);
        for (state, count) in [("waiting", waiting), ("lent", lent)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.messages.get_or_create(&of_state(terms, state)).set(count);
        }
        let seconds = retention.and_then(|retention| i64::try_from(retention.as_secs()).ok());
        let of = of_consumer(terms);
        match seconds {
            Some(seconds) => drop(self.retention.get_or_create(&of).set(seconds)),
            None => drop(self.retention.remove(&of)),
        }
    }

    /// How old the oldest message of a consumer is that has no verdict; held by its lane, so that
    /// no label is looked up for a message.
    pub(crate) fn head_age(&self, terms: &Terms) -> Seconds {
        self.head_age.get_or_create_owned(&of_consumer(terms))
    }

    /// Forgets a consumer that is no longer served.
    pub(crate) fn gone(&self, terms: &Terms) {
        for state in ["waiting", "lent"] {
            self.messages.remove(&of_state(terms, state));
        }
        self.head_age.remove(&of_consumer(terms));
        self.retention.remove(&of_consumer(terms));
    }

    /// Counts lost messages.
    pub(crate) fn lost(&self, why: Lost, messages: u64) {
        self.lost.get_or_create(&Why { why: why.label() }).inc_by(messages);
    }
}

impl Lost {
    const ALL: [Self; 2] = [Self::Full, Self::Stopped];

    fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Stopped => "stopped",
        }
    }
}

fn of_consumer(terms: &Terms) -> OfConsumer {
    OfConsumer { stream: terms.stream.clone(), consumer: terms.consumer.clone() }
}

fn of_state(terms: &Terms, state: &'static str) -> OfState {
    OfState { stream: terms.stream.clone(), consumer: terms.consumer.clone(), state }
}
