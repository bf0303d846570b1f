//! The metrics of the Kafka connector.
//!
//! Those named `kafka_connector_*` are the upstream connector's, by their exact names. They are
//! entered as gauges although two of them only grow: the text format would append `_total` to
//! a counter, and dashboards look for the name they know.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use connector_core::metrics::{Book, Metrics, Seconds};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::client::Partition;

mod client;
mod lane;
mod statistics;

use client::Client;
use lane::OfCause;
pub(crate) use lane::{LaneMeters, Paused};
use statistics::Report;

/// The metrics of one process.
#[derive(Default)]
pub(crate) struct Meters {
    connects: Family<OfGroup, Gauge>,
    consumed: Family<OfMember, Gauge>,
    offset: Family<OfMember, Gauge>,
    lag: Family<OfPartition, Gauge>,
    commit_gap: Family<OfPartition, Gauge>,
    head_age: Family<OfPartition, Seconds>,
    retention: Family<OfTopic, Gauge>,
    paused: Family<OfCause, Gauge>,
    client: Client,
    pub(crate) rebalances: Counter,
    pub(crate) commit_failures: Counter,
    pub(crate) out_of_range: Counter,
    pub(crate) skipped: Counter,
    /// The committed offset of each partition that is ours, for the gap to the log's end.
    committed: Mutex<HashMap<Partition, i64>>,
}

const OF_MEMBER: &[&str] = &["group", "topic", "partition", "member_id"];
const OF_PARTITION: &[&str] = &["topic", "partition"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTopic {
    topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGroup {
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMember {
    group: String,
    topic: String,
    partition: i32,
    member_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPartition {
    topic: String,
    partition: i32,
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

    fn enter(&self, book: &mut Book) {
        book.enter(
            "kafka_connector_consumer_group_connect",
            &["group"],
            "How often the consumer group was joined",
            self.connects.clone(),
        );
        book.enter(
            "kafka_connector_messages_consumed",
            OF_MEMBER,
            "Records received",
            self.consumed.clone(),
        );
        book.enter(
            "kafka_connector_messages_offset",
            OF_MEMBER,
            "The offset of the last record received",
            self.offset.clone(),
        );
        book.enter(
            "tributary_kafka_lag",
            OF_PARTITION,
            "Records between the last one received and the log's end",
            self.lag.clone(),
        );
        book.enter(
            "tributary_kafka_commit_gap",
            OF_PARTITION,
            "Offsets between the committed one and the log's end: what a crash now would leave to be looked at again",
            self.commit_gap.clone(),
        );
        book.enter(
            "tributary_kafka_head_age_seconds",
            OF_PARTITION,
            "Age of the oldest record received and not finished, by its timestamp; 0 when there is none. \
             Of a held partition one record is received, so that its age is known",
            self.head_age.clone(),
        );
        book.enter(
            "tributary_kafka_retention_seconds",
            &["topic"],
            "How long the topic keeps its records. Left out where nothing is deleted by age, or the broker \
             does not let us ask (`DescribeConfigs` on the topic)",
            self.retention.clone(),
        );
        book.enter(
            "tributary_kafka_paused_lanes",
            &["cause"],
            "Partitions that receive nothing for now: `held` (no function is mapped), `full` (their window, or \
             the payloads' bytes), `beyond` (more is finished behind a stuck head than a commit can note), \
             `uncommitted` (the broker takes no commits, and much is done)",
            self.paused.clone(),
        );
        book.enter(
            "tributary_kafka_rebalances_total",
            &[],
            "Assignments and revocations answered",
            self.rebalances.clone(),
        );
        book.enter(
            "tributary_kafka_commit_failures_total",
            &[],
            "Commits that the broker refused or did not answer",
            self.commit_failures.clone(),
        );
        book.enter(
            "tributary_kafka_out_of_range_total",
            &[],
            "Partitions whose committed offset the log no longer had: records were lost to retention or truncation",
            self.out_of_range.clone(),
        );
        book.enter(
            "tributary_kafka_finished_before_total",
            &[],
            "Records not called again because a commit's metadata lists them as finished",
            self.skipped.clone(),
        );
        self.client.enter(book);
    }

    /// Counts one join of the group.
    pub(crate) fn connected(&self, group: &str) {
        self.connects.get_or_create(&OfGroup { group: group.to_owned() }).inc();
    }

    /// The metrics of one lane.
    pub(crate) fn lane(&self, group: &str, member: &str, partition: &Partition) -> LaneMeters {
        let of = of_member(group, member, partition);
        LaneMeters {
            consumed: self.consumed.get_or_create_owned(&of),
            offset: self.offset.get_or_create_owned(&of),
            skipped: self.skipped.clone(),
            head_age: self.head_age.get_or_create_owned(&of_partition(partition)),
            pauses: self.paused.clone(),
            paused: None,
        }
    }

    /// The topics that partitions are ours of.
    pub(crate) fn topics(&self) -> BTreeSet<Arc<str>> {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.keys().map(|partition| Arc::clone(&partition.topic)).collect()
    }

    /// Notes how long a topic keeps its records, if partitions of it are still ours. `None`: not by
    /// age, or it is not known.
    pub(crate) fn retention(&self, topic: &str, seconds: Option<i64>) {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = committed.keys().any(|partition| *partition.topic == *topic);
        let of = OfTopic { topic: topic.to_owned() };
        match seconds.filter(|_| is_ours) {
            Some(seconds) => drop(self.retention.get_or_create(&of).set(seconds)),
            None => drop(self.retention.remove(&of)),
        }
    }

    /// Notes what is committed.
    pub(crate) fn committed(&self, partition: &Partition, offset: i64) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.insert(partition.clone(), offset);
    }

    /// Forgets the partition: it went to another member.
    pub(crate) fn gone(&self, group: &str, member: &str, partition: &Partition) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.remove(partition);
        if !committed.keys().any(|other| other.topic == partition.topic) {
            self.retention.remove(&OfTopic { topic: partition.topic.to_string() });
        }
        drop(committed);
        let of = of_member(group, member, partition);
        self.consumed.remove(&of);
        self.offset.remove(&of);
        let of = of_partition(partition);
        self.lag.remove(&of);
        self.commit_gap.remove(&of);
        self.head_age.remove(&of);
    }

    /// Takes one of librdkafka's reports.
    pub(crate) fn statistics(&self, json: &[u8]) {
        let Some(report) = Report::read(json) else {
            tracing::debug!("the client's statistics cannot be read");
            return;
        };
        self.client.take(report.health(), report.replyq);
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, offset) in &*committed {
            let figures = report
                .topics
                .get(&*partition.topic)
                .and_then(|topic| topic.partitions.get(partition.number.to_string().as_str()));
            let Some(figures) = figures else { continue };
            let of = of_partition(partition);
            if figures.app_offset >= 0 && figures.ls_offset >= 0 {
                let lag = (figures.ls_offset - figures.app_offset).max(0);
                self.lag.get_or_create(&of).set(lag);
            }
            if figures.hi_offset >= 0 {
                self.commit_gap.get_or_create(&of).set((figures.hi_offset - offset).max(0));
            }
        }
    }
}

fn of_member(group: &str, member: &str, partition: &Partition) -> OfMember {
    OfMember {
        group: group.to_owned(),
        topic: partition.topic.to_string(),
        partition: partition.number,
        member_id: member.to_owned(),
    }
}

fn of_partition(partition: &Partition) -> OfPartition {
    OfPartition { topic: partition.topic.to_string(), partition: partition.number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_retention_goes_with_its_last_partition() {
        let metrics = Metrics::new("kafka", "0.0.0");
        let meters = Meters::of(&metrics);
        let partition = |number| Partition { topic: "orders".into(), number };
        let told = || metrics.encode().contains("tributary_kafka_retention_seconds{");
        meters.committed(&partition(0), 0);
        meters.committed(&partition(1), 0);
        meters.retention("orders", Some(60));
        meters.gone("group", "member", &partition(0));
        assert!(told());
        meters.gone("group", "member", &partition(1));
        assert!(!told());
        // The broker was still being asked.
        meters.retention("orders", Some(60));
        assert!(!told());
    }
}
