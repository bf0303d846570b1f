//! What a Kafka connector's log tells of its partitions, as faults for the judge.

use ledger_checker::plan::{Fault, FaultKind};

use crate::Connector;

/// How much of a connector's log has been looked at, and what goes on.
#[derive(Debug, Default)]
pub struct Rebalances {
    lines: usize,
    /// What was done, and how long the ledger was when the group began to take partitions away, until it has given some
    /// again. Calls that were about to begin may still do so.
    began: Option<(FaultKind, u64)>,
}

impl Rebalances {
    /// Gives the rebalances that have come to their end. Whatever the log tells now happened after the last look, when the
    /// ledger was `before` long; it is `now`.
    pub fn look(&mut self, connector: &Connector, before: u64, now: u64) -> Vec<Fault> {
        let mut over = Vec::new();
        let log = connector.lines();
        for line in &log[std::mem::replace(&mut self.lines, log.len())..] {
            if line.contains("partitions revoked") {
                self.began.get_or_insert((FaultKind::Revoke, before));
            } else if line.contains("partitions lost") {
                self.began = Some((FaultKind::Lose, before));
            } else if line.contains("partitions assigned") {
                over.extend(self.over(now));
            }
        }
        over
    }

    /// The rebalance that goes on, as if it were over now.
    pub fn over(&mut self, now: u64) -> Option<Fault> {
        let (kind, began) = self.began.take()?;
        Some(Fault::new(kind, began, now))
    }
}
