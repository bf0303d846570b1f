//! The metrics of the Kafka connector.
//!
//! Those named `kafka_connector_*` are the upstream connector's, by their exact names. They are
//! registered as gauges although two of them only grow: the text format would append `_total` to
//! a counter, and dashboards look for the name they know.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use connector_core::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::client::Partition;

/// The metrics of one process.
#[derive(Default)]
pub(crate) struct Meters {
    connects: Family<OfGroup, Gauge>,
    consumed: Family<OfMember, Gauge>,
    offset: Family<OfMember, Gauge>,
    lag: Family<OfPartition, Gauge>,
    commit_gap: Family<OfPartition, Gauge>,
    pub(crate) rebalances: Counter,
    pub(crate) commit_failures: Counter,
    pub(crate) out_of_range: Counter,
    pub(crate) skipped: Counter,
    /// The committed offset of each partition that is ours, for the gap to the log's end.
    committed: Mutex<HashMap<Partition, i64>>,
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

/// The metrics of one lane, held so that no label is looked up for a record.
#[derive(Debug, Clone)]
pub(crate) struct LaneMeters {
    pub(crate) consumed: Gauge,
    pub(crate) offset: Gauge,
    pub(crate) skipped: Counter,
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
        let of = OfPartition { topic: partition.topic.to_string(), partition: partition.number };
        self.lag.remove(&of);
        self.commit_gap.remove(&of);
    }

    /// Takes one of librdkafka's reports.
    pub(crate) fn statistics(&self, json: &[u8]) {
        let Ok(report) = serde_json::from_slice::<Report>(json) else {
            tracing::debug!("the client's statistics cannot be read");
            return;
        };
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, Topic { partitions }) in report.topics {
            for (number, figures) in partitions {
                let Ok(number) = number.parse() else { continue };
                let partition = Partition { topic: topic.as_str().into(), number };
                let Some(&offset) = committed.get(&partition) else { continue };
                let of = OfPartition { topic: topic.clone(), partition: number };
                // Both are negative until the first fetch has answered.
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
}

fn of_member(group: &str, member: &str, partition: &Partition) -> OfMember {
    OfMember {
        group: group.to_owned(),
        topic: partition.topic.to_string(),
        partition: partition.number,
        member_id: member.to_owned(),
    }
}

/// What we read of a report; it holds a hundred times more.
#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: BTreeMap<String, Figures>,
}

#[derive(Deserialize)]
struct Figures {
    #[serde(default = "unknown")]
    app_offset: i64,
    #[serde(default = "unknown")]
    ls_offset: i64,
    #[serde(default = "unknown")]
    hi_offset: i64,
}

fn unknown() -> i64 {
    -1001
}
