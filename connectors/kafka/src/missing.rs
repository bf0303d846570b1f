//! Partitions that the group has given us and that cannot be begun yet.
//!
//! Nobody says where they begin: they have no leader, or the broker that was asked does not know
//! them so far. The others are begun without them. They are asked for every now and then, and once
//! one of them can be begun the session begins anew, because the group's classic protocol takes
//! an assignment as a whole or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use connector_core::conditions::{Conditions, Subject};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::broker::Broker;
use crate::client::Partition;
use crate::config::InitialOffset;
use crate::lane::Stuck;

/// How long to wait before asking again.
const AGAIN: Duration = Duration::from_secs(5);

const SUBJECT: Subject = Subject::new("kafka partitions");

/// Those of one session.
pub(crate) struct Missing<B> {
    broker: Arc<B>,
    initial: InitialOffset,
    conditions: Conditions,
    /// Whether the process is not ready meanwhile.
    is_order: bool,
    /// Told when one can be begun.
    stuck: mpsc::UnboundedSender<Stuck>,
    partitions: BTreeSet<Partition>,
    asking: Option<JoinHandle<()>>,
}

impl<B: Broker> Missing<B> {
    pub(crate) fn new(
        broker: Arc<B>,
        initial: InitialOffset,
        conditions: Conditions,
        is_order: bool,
        stuck: mpsc::UnboundedSender<Stuck>,
    ) -> Self {
        let (partitions, asking) = (BTreeSet::new(), None);
        Self { broker, initial, conditions, is_order, stuck, partitions, asking }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Notes what could not be begun of an assignment.
    pub(crate) fn add(&mut self, partitions: Vec<Partition>) {
        self.partitions.extend(partitions);
        self.look();
    }

    /// Forgets those of these partitions that were missing; gives the others.
    pub(crate) fn remove(&mut self, partitions: &[Partition]) -> Vec<Partition> {
        let begun = partitions.iter().filter(|&p| !self.partitions.remove(p)).cloned().collect();
        self.look();
        begun
    }

    /// Says what is missing, and goes on asking for it.
    fn look(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
        let Some(Partition { topic, number }) = self.partitions.first() else {
            return self.conditions.well(&SUBJECT);
        };
        let why = match self.partitions.len() - 1 {
            0 => format!("no broker says where {topic}/{number} begins"),
            more => format!("no broker says where {topic}/{number} and {more} more begin"),
        };
        self.conditions.unwell(&SUBJECT, &why, self.is_order);
        let partitions: Vec<_> = self.partitions.iter().cloned().collect();
        let asking = ask(Arc::clone(&self.broker), self.initial, partitions, self.stuck.clone());
        self.asking = Some(tokio::spawn(asking));
    }
}

impl<B> Drop for Missing<B> {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
            // The session ends: the next one finds out for itself.
            self.conditions.forget(&SUBJECT);
        }
    }
}

/// Asks until one of them can be begun.
async fn ask<B: Broker>(
    broker: Arc<B>,
    initial: InitialOffset,
    partitions: Vec<Partition>,
    stuck: mpsc::UnboundedSender<Stuck>,
) {
    loop {
        sleep(AGAIN).await;
        // Whatever else is wrong is told where it matters more.
        let Ok(found) = broker.positions(&partitions, initial).await else { continue };
        if let Some(Partition { topic, number }) = found.starts.into_keys().next() {
            drop(stuck.send(Stuck(format!("{topic}/{number} can be begun now"))));
            return;
        }
    }
}
