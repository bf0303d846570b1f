//! The client of one member, as the shipped code asks it.

use std::collections::HashMap;
use std::sync::Arc;

use connector_core::source::SourceError;
use model::Rule;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use super::{Cluster, Waiting, show};
use crate::broker::{Broker, Queue, Received};
use crate::client::{Committed, Partition};
use crate::commit::Standing;
use crate::config::InitialOffset;
use crate::positions::Positions;
use crate::progress::MARK;

/// The client of one session.
pub(in crate::model) struct Client {
    pub(in crate::model) cluster: Arc<Cluster>,
    pub(in crate::model) tell_commit: mpsc::UnboundedSender<Committed>,
}

impl Broker for Client {
    type Queue = Records;

    fn member(&self) -> String {
        "m".to_owned()
    }

    fn queue(self: &Arc<Self>, partition: &Partition) -> Option<Records> {
        let cluster = Arc::clone(&self.cluster);
        let mut state = cluster.lock();
        let log = state.log(partition);
        log.queues += 1;
        if log.queues > 1 {
            let why = format!("{} has a second queue, which steals records", partition.number);
            cluster.world.breaks(Rule::Over, why);
        }
        drop(state);
        Some(Records { cluster, partition: partition.clone() })
    }

    async fn positions(
        self: &Arc<Self>,
        partitions: &[Partition],
        _: InitialOffset,
    ) -> Result<Positions, SourceError> {
        let state = self.cluster.lock();
        let mut positions = Positions::default();
        for (number, log) in state.logs.iter().enumerate() {
            if state.hidden == Some(number) {
                let asked = partitions.iter().filter(|asked| **asked == log.partition);
                positions.missing.extend(asked.cloned());
                continue;
            }
            let start = log.committed.clone().unwrap_or_else(|| {
                let begins = Standing { offset: 0, metadata: MARK.to_owned() };
                positions.fresh.push((log.partition.clone(), begins.clone()));
                begins
            });
            if partitions.contains(&log.partition) {
                positions.starts.insert(log.partition.clone(), start);
            }
        }
        Ok(positions)
    }

    fn assign(&self, starts: &HashMap<Partition, Standing>) -> Result<(), KafkaError> {
        let mut state = self.cluster.lock();
        state.joining = false;
        for (partition, start) in starts {
            state.log(partition).joins(&self.cluster.world, start);
        }
        drop(state);
        self.cluster.news.notify_waiters();
        Ok(())
    }

    fn unassign(&self, partitions: &[Partition]) -> Result<(), KafkaError> {
        let mut state = self.cluster.lock();
        for partition in partitions {
            state.log(partition).leaves(&self.cluster.world);
        }
        Ok(())
    }

    fn is_cooperative(&self) -> bool {
        true
    }

    fn pause(&self, _: &Partition) -> Result<(), KafkaError> {
        Ok(())
    }

    fn resume(&self, _: &Partition) -> Result<(), KafkaError> {
        Ok(())
    }

    fn commit<'a>(
        &self,
        standings: impl Iterator<Item = (&'a Partition, &'a Standing)>,
    ) -> Result<(), KafkaError> {
        let mut sent: Vec<_> = standings.map(|(p, s)| (p.clone(), s.clone())).collect();
        sent.sort_by(|a, b| a.0.cmp(&b.0));
        let mut state = self.cluster.lock();
        self.cluster.world.note(|| format!("    commits {}", show(&sent)));
        self.cluster.judge(&mut state, &sent);
        let generations = sent.iter().map(|(p, _)| state.log(p).generation).collect();
        state.commits.push(Waiting { sent, generations, tell: self.tell_commit.clone() });
        Ok(())
    }
}

/// The queue of one partition.
pub(in crate::model) struct Records {
    cluster: Arc<Cluster>,
    partition: Partition,
}

impl Queue for Records {
    async fn next(&self) -> Result<Received, KafkaError> {
        loop {
            let news = self.cluster.news.notified();
            if let Some(received) = self.cluster.lock().log(&self.partition).fetch() {
                return Ok(received);
            }
            news.await;
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let mut state = self.cluster.lock();
        let log = state.log(&self.partition);
        log.queues = log.queues.saturating_sub(1);
    }
}
