//! The metrics of the Kafka connector.
//!
//! Those named `kafka_connector_*` are the upstream connector's, by their exact names. They are
//! registered as gauges although two of them only grow: the text format would append `_total` to
//! a counter, and dashboards look for the name they know.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use connector_core::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

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

/// A gauge of seconds and their parts.
type Seconds = Gauge<f64, AtomicU64>;

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
    /// but a metric is registered once.
    pub(crate) fn of(metrics: &Metrics) -> Arc<Self> {
        metrics.of_source(|registry| {
            let meters = Self::default();
            meters.register(registry);
            meters
        })
    }

    fn register(&self, registry: &mut Registry) {
        let upstream = registry.sub_registry_with_prefix("kafka_connector");
        upstream.register(
            "consumer_group_connect",
            "How often the consumer group was joined",
            self.connects.clone(),
        );
        upstream.register("messages_consumed", "Records received", self.consumed.clone());
        upstream.register(
            "messages_offset",
            "The offset of the last record received",
            self.offset.clone(),
        );
        let ours = registry.sub_registry_with_prefix("tributary_kafka");
        ours.register(
            "lag",
            "Records between the last one received and the log's end",
            self.lag.clone(),
        );
        ours.register(
            "commit_gap",
            "Offsets between the committed one and the log's end",
            self.commit_gap.clone(),
        );
        ours.register_with_unit(
            "head_age",
            "Age of the oldest record received and not finished, by its timestamp; 0 when there is none",
            Unit::Seconds,
            self.head_age.clone(),
        );
        ours.register_with_unit(
            "retention",
            "How long the topic keeps its records, where it deletes them by age and the broker says so",
            Unit::Seconds,
            self.retention.clone(),
        );
        ours.register(
            "paused_lanes",
            "Partitions of which nothing is received for now",
            self.paused.clone(),
        );
        ours.register(
            "rebalances",
            "Assignments and revocations answered",
            self.rebalances.clone(),
        );
        ours.register(
            "commit_failures",
            "Commits that the broker refused or did not answer",
            self.commit_failures.clone(),
        );
        ours.register(
            "out_of_range",
            "Partitions whose committed offset the log no longer had: records were lost to retention or truncation",
            self.out_of_range.clone(),
        );
        ours.register(
            "finished_before",
            "Records not called again because a commit's metadata lists them as finished",
            self.skipped.clone(),
        );
        self.client.register(ours.sub_registry_with_prefix("client"));
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

    /// Notes how long a topic keeps its records. `None`: not by age, or it is not known.
    pub(crate) fn retention(&self, topic: &str, seconds: Option<i64>) {
        let of = OfTopic { topic: topic.to_owned() };
        match seconds {
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
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).remove(partition);
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
