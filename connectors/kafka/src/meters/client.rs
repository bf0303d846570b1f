//! How librdkafka is, by its own reports.

use connector_core::metrics::{Book, Seconds};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::statistics::Health;

/// The metrics of the client.
#[derive(Default)]
pub(super) struct Client {
    brokers: Family<OfState, Gauge>,
    errors: Gauge,
    round_trip: Seconds,
    fetched_records: Gauge,
    fetched_bytes: Gauge,
    waiting_replies: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

impl Client {
    pub(super) fn enter(&self, book: &mut Book) {
        book.enter(
            "tributary_kafka_client_brokers",
            &["state"],
            "Brokers that the client is connected to (`up`), or tries to be (`down`)",
            self.brokers.clone(),
        );
        book.enter(
            "tributary_kafka_client_errors",
            &[],
            "Requests that failed or were not answered, since the client was made",
            self.errors.clone(),
        );
        book.enter(
            "tributary_kafka_client_round_trip_seconds",
            &[],
            "The 99th percentile of the slowest broker's answers",
            self.round_trip.clone(),
        );
        book.enter(
            "tributary_kafka_client_fetched_records",
            &[],
            "Records fetched and not yet received by their lanes",
            self.fetched_records.clone(),
        );
        book.enter(
            "tributary_kafka_client_fetched_bytes",
            &[],
            "What these take",
            self.fetched_bytes.clone(),
        );
        book.enter(
            "tributary_kafka_client_waiting_replies",
            &[],
            "Replies and events that wait to be polled; growing, the process stands still",
            self.waiting_replies.clone(),
        );
    }

    /// Takes what a report comes to.
    pub(super) fn take(&self, health: Health, waiting_replies: i64) {
        let brokers = [("up", health.brokers_up), ("down", health.brokers_down)];
        for (state, count) in brokers {
            self.brokers.get_or_create(&OfState { state }).set(count);
        }
        self.errors.set(health.errors);
        self.round_trip.set(health.round_trip_seconds);
        self.fetched_records.set(health.fetched_records);
        self.fetched_bytes.set(health.fetched_bytes);
        self.waiting_replies.set(waiting_replies);
    }
}
