//! One partition: its records, what is committed of it, and how far its member has read.

use model::{Rule, World};
use tokio::time::Instant;

use crate::broker::Received;
use crate::client::Partition;
use crate::commit::Standing;
use crate::config::Ordering;
use crate::progress::{Beyond, Place};
use crate::record::Record;

/// A partition, as its broker knows it.
pub(super) struct Log {
    pub(super) partition: Partition,
    pub(super) records: Vec<Logged>,
    /// What the next record will have at least.
    pub(super) end: i64,
    /// Grows when the topic is made anew.
    pub(super) incarnation: i64,
    /// Grows when the member loses the partition.
    pub(super) generation: u32,
    /// The generation that this process began with.
    pub(super) first_generation: u32,
    pub(super) committed: Option<Standing>,
    /// Where the assigned member reads on; `None`: nobody has it.
    pub(super) fetched: Option<i64>,
    /// When the member lost it.
    pub(super) left: Option<Instant>,
    /// The end that the member was told.
    pub(super) told_end: i64,
    /// How many queues there are.
    pub(super) queues: usize,
}

pub(super) struct Logged {
    pub(super) offset: i64,
    pub(super) event: usize,
    pub(super) key: u8,
}

impl Log {
    pub(super) fn new(partition: Partition) -> Self {
        Self {
            partition,
            records: Vec::new(),
            end: 0,
            incarnation: 0,
            generation: 0,
            first_generation: 0,
            committed: None,
            fetched: None,
            left: None,
            told_end: -1,
            queues: 0,
        }
    }

    pub(super) fn append(&mut self, world: &World, key: u8, ordering: Ordering) {
        let number = self.partition.number;
        let again = if self.incarnation == 0 { "" } else { " of the new topic" };
        let name = format!("{number}@{}{again}", self.end);
        let order = match ordering {
            Ordering::Partition => Some((number.cast_unsigned(), 0)),
            Ordering::Key => Some((number.cast_unsigned(), key)),
            Ordering::None => None,
        };
        let event = world.event(name, order);
        self.records.push(Logged { offset: self.end, event, key });
        self.end += 1;
    }

    fn place(&self, offset: i64) -> Place {
        let before = self.records.iter().rev().find(|record| record.offset < offset);
        let previous = before.map_or(-1, |record| record.offset);
        Place { offset, previous, timestamp: self.timestamp(offset), epoch: 0 }
    }

    fn timestamp(&self, offset: i64) -> i64 {
        1_000_000 * self.incarnation + offset
    }

    /// Whether a commit says that the record at `offset`, which is beyond it, is finished.
    pub(super) fn lists(&self, standing: &Standing, offset: i64) -> bool {
        let beyond = Beyond::decode(standing.metadata.as_bytes(), standing.offset);
        beyond.is_some_and(|beyond| {
            beyond.is_headed_by(&self.place(standing.offset)) && beyond.lists(&self.place(offset))
        })
    }

    pub(super) fn commit(&mut self, world: &World, standing: Standing) {
        let before = self.committed.as_ref().map_or(0, |committed| committed.offset);
        if standing.offset < before {
            world.breaks(Rule::Backwards, format!("from {before} to {}", standing.offset));
        }
        self.committed = Some(standing);
    }

    /// The member reads on from here.
    pub(super) fn joins(&mut self, world: &World, start: &Standing) {
        self.fetched = Some(start.offset);
        self.told_end = -1;
        for record in &self.records {
            let is_done = record.offset < start.offset || self.lists(start, record.offset);
            world.forbid(record.event, is_done.then_some(Rule::CommittedAgain));
        }
    }

    pub(super) fn leaves(&mut self, world: &World) {
        self.fetched = None;
        self.left = Some(Instant::now());
        self.generation += 1;
        self.forbid(world, Some(Rule::Over));
    }

    pub(super) fn forbid(&self, world: &World, rule: Option<Rule>) {
        for record in &self.records {
            world.forbid(record.event, rule);
        }
    }

    /// The next thing for whoever reads.
    pub(super) fn fetch(&mut self) -> Option<Received> {
        let from = self.fetched?;
        if let Some(record) = self.records.iter().find(|record| record.offset >= from) {
            self.fetched = Some(record.offset + 1);
            let value = record.event.to_string();
            return Some(Received::Record(Record::of(
                record.offset,
                self.timestamp(record.offset),
                &[record.key],
                value.as_bytes(),
            )));
        }
        if self.told_end >= self.end {
            return None;
        }
        self.told_end = self.end;
        self.fetched = Some(self.end);
        Some(Received::End(Some(self.end)))
    }
}
