//! What librdkafka reports of itself, as far as we read it; a report holds a hundred times more.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One report.
#[derive(Deserialize)]
pub(super) struct Report {
    /// Replies and events that wait for us.
    #[serde(default)]
    pub(super) replyq: i64,
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
    #[serde(default)]
    pub(super) topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    /// Negative where it is none of the cluster: bootstrap addresses, the coordinator's alias.
    #[serde(default = "none")]
    nodeid: i64,
    #[serde(default)]
    state: String,
    #[serde(default)]
    txerrs: i64,
    #[serde(default)]
    rxerrs: i64,
    #[serde(default)]
    req_timeouts: i64,
    #[serde(default)]
    rtt: Window,
}

/// Of a sliding window, in microseconds.
#[derive(Default, Deserialize)]
struct Window {
    #[serde(default)]
    p99: i64,
}

/// One topic of a report.
#[derive(Deserialize)]
pub(super) struct Topic {
    #[serde(default)]
    pub(super) partitions: BTreeMap<String, Figures>,
}

/// One partition of a report. Offsets are negative until a fetch has answered.
#[derive(Deserialize)]
pub(super) struct Figures {
    #[serde(default = "none")]
    pub(super) app_offset: i64,
    #[serde(default = "none")]
    pub(super) ls_offset: i64,
    #[serde(default = "none")]
    pub(super) hi_offset: i64,
    /// What is fetched and not received.
    #[serde(default)]
    fetchq_cnt: i64,
    #[serde(default)]
    fetchq_size: i64,
}

/// How the client as a whole is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Health {
    pub(super) brokers_up: i64,
    pub(super) brokers_down: i64,
    /// Failed and timed out requests since the client was made.
    pub(super) errors: i64,
    /// Of the slowest broker.
    pub(super) round_trip_seconds: f64,
    pub(super) fetched_records: i64,
    pub(super) fetched_bytes: i64,
}

impl Report {
    /// Reads a report; `None`: it cannot be read.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Sums it up.
    pub(super) fn health(&self) -> Health {
        let mut health = Health::default();
        let mut slowest = 0;
        for broker in self.brokers.values() {
            health.errors += broker.txerrs + broker.rxerrs + broker.req_timeouts;
            if broker.nodeid < 0 {
                continue;
            }
            slowest = slowest.max(broker.rtt.p99);
            match broker.state.as_str() {
                "UP" => health.brokers_up += 1,
                // Never needed so far, so never tried.
                "INIT" => {}
                _ => health.brokers_down += 1,
            }
        }
        for figures in self.topics.values().flat_map(|topic| topic.partitions.values()) {
            health.fetched_records += figures.fetchq_cnt;
            health.fetched_bytes += figures.fetchq_size;
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one request")]
        let slowest = slowest as f64;
        health.round_trip_seconds = slowest / 1e6;
        health
    }
}

fn none() -> i64 {
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_summed_up() {
        let json = br#"{
            "replyq": 3, "ts": 5016483227792,
            "brokers": {
                "a:9092/1": {"nodeid": 1, "state": "UP", "txerrs": 1, "rtt": {"p99": 2000}},
                "b:9092/2": {"nodeid": 2, "state": "TRY_CONNECT", "req_timeouts": 2},
                "c:9092/3": {"nodeid": 3, "state": "INIT"},
                "a:9092/bootstrap": {"nodeid": -1, "state": "DOWN", "rxerrs": 4, "rtt": {"p99": 9000}}
            },
            "topics": {"orders": {"partitions": {
                "0": {"fetchq_cnt": 5, "fetchq_size": 100, "hi_offset": 7},
                "-1": {"fetchq_cnt": 0}
            }}}
        }"#;
        let report = Report::read(json).unwrap();
        assert_eq!(report.replyq, 3);
        let orders = &report.topics["orders"].partitions["0"];
        assert_eq!((orders.hi_offset, orders.app_offset), (7, -1));
        let health = Health {
            brokers_up: 1,
            brokers_down: 1,
            errors: 7,
            round_trip_seconds: 0.002,
            fetched_records: 5,
            fetched_bytes: 100,
        };
        assert_eq!(report.health(), health);
        assert!(Report::read(b"{").is_none());
    }
}
