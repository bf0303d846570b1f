//! The broker: logs with holes, committed offsets, and who owns what.
//!
//! It judges each commit when it is sent, and tells the world which records may be called now.

mod client;
mod log;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Rule, World};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

pub(super) use self::client::Client;
use self::log::{Log, Logged};
use crate::client::{Committed, Partition};
use crate::commit::Standing;
use crate::config::Ordering;
use crate::progress::MARK;

/// The broker. It outlives every process.
pub(super) struct Cluster {
    world: World,
    state: Mutex<State>,
    /// Something has come for a queue.
    news: Notify,
}

struct State {
    logs: Vec<Log>,
    /// Commits that wait for an answer, the oldest first.
    commits: Vec<Waiting>,
    /// The group waits for the answer to an assignment: first positions may be committed.
    joining: bool,
    ordering: Ordering,
    /// The partition of which nobody says where it begins.
    hidden: Option<usize>,
}

struct Waiting {
    sent: Vec<(Partition, Standing)>,
    /// The assignments that it was sent in.
    generations: Vec<u32>,
    tell: mpsc::UnboundedSender<Committed>,
}

/// What the broker does with a commit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Commit {
    Takes,
    Refuses,
    /// Takes it, and the answer is lost.
    TakesSilently,
    /// Neither the commit nor an answer arrives.
    Loses,
}

impl Cluster {
    pub(super) fn new(world: World, partitions: i32, ordering: Ordering) -> Arc<Self> {
        let topic: Arc<str> = "t".into();
        let logs =
            (0..partitions).map(|number| Log::new(Partition { topic: Arc::clone(&topic), number }));
        let state = State {
            logs: logs.collect(),
            commits: Vec::new(),
            joining: false,
            ordering,
            hidden: None,
        };
        Arc::new(Self { world, state: Mutex::new(state), news: Notify::new() })
    }

    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.lock().logs.iter().map(|log| log.partition.clone()).collect()
    }

    /// Appends a record to a log, behind `hole` offsets that no record has.
    pub(super) fn produce(&self, partition: usize, key: u8, hole: i64) {
        let mut state = self.lock();
        let ordering = state.ordering;
        let log = &mut state.logs[partition];
        log.end += hole;
        log.append(&self.world, key, ordering);
        drop(state);
        self.news.notify_waiters();
    }

    /// Ends a log with an offset that no record has, as a transaction does.
    pub(super) fn end_with_hole(&self, partition: usize) {
        self.lock().logs[partition].end += 1;
        self.news.notify_waiters();
    }

    /// Deletes the topic and makes it again, with as many records at the same offsets.
    pub(super) fn make_anew(&self) {
        self.world.note(|| "the topic is deleted and made again".to_owned());
        let mut state = self.lock();
        let ordering = state.ordering;
        for log in &mut state.logs {
            let old = std::mem::take(&mut log.records);
            log.end = 0;
            // The group's commit may still be found. Beyond the first record it would skip some,
            // which no member can know.
            log.committed = log.committed.take().filter(|committed| committed.offset == 0);
            log.incarnation += 1;
            for Logged { offset, event, key } in old {
                // Gone with its topic.
                self.world.done_elsewhere(event);
                self.world.forbid(event, Some(Rule::Over));
                log.end = offset;
                log.append(&self.world, key, ordering);
            }
            log.forbid(&self.world, Some(Rule::Over));
        }
    }

    /// Another member does the first record that is not finished, and commits.
    pub(super) fn done_elsewhere(&self, partition: usize) {
        let mut state = self.lock();
        let log = &mut state.logs[partition];
        let from = log.committed.as_ref().map_or(0, |committed| committed.offset);
        let Some(next) = log.records.iter().find(|record| record.offset >= from) else { return };
        self.world.note(|| format!("another member does {}@{}", partition, next.offset));
        self.world.done_elsewhere(next.event);
        log.committed = Some(Standing { offset: next.offset + 1, metadata: MARK.to_owned() });
    }

    /// Nobody says any more where this partition begins.
    pub(super) fn hides(&self, partition: Option<usize>) {
        self.lock().hidden = partition;
    }

    /// The group gives partitions to this member: it waits for the answer.
    pub(super) fn gives(&self) {
        self.lock().joining = true;
    }

    /// The member has lost a partition.
    pub(super) fn takes(&self, partition: usize) {
        self.lock().logs[partition].leaves(&self.world);
    }

    /// The member has lost everything.
    pub(super) fn takes_all(&self) {
        let mut state = self.lock();
        state.joining = false;
        for log in &mut state.logs {
            log.leaves(&self.world);
        }
    }

    /// The process is dead, and with it what it had on its way.
    pub(super) fn process_ends(&self) {
        self.takes_all();
        let mut state = self.lock();
        state.commits.clear();
        for log in &mut state.logs {
            log.queues = 0;
            log.left = None;
            log.first_generation = log.generation;
        }
    }

    pub(super) fn owns(&self, partition: usize) -> bool {
        self.lock().logs[partition].fetched.is_some()
    }

    pub(super) fn commits_waiting(&self) -> usize {
        self.lock().commits.len()
    }

    /// Takes every commit that waits.
    pub(super) fn takes_commits(&self) {
        while self.commits_waiting() > 0 {
            self.answer(Commit::Takes);
        }
    }

    /// Answers the oldest commit.
    pub(super) fn answer(&self, commit: Commit) {
        let mut state = self.lock();
        if state.commits.is_empty() {
            return;
        }
        let Waiting { sent, generations, tell } = state.commits.remove(0);
        self.world.note(|| format!("the broker: {commit:?} the commit {}", show(&sent)));
        let joining = state.joining;
        let mut answer = Vec::new();
        for ((partition, standing), generation) in sent.into_iter().zip(generations) {
            let log = state.log(&partition);
            // The broker fences who no longer owns what it commits.
            let takes = generation == log.generation
                && (joining || log.fetched.is_some())
                && matches!(commit, Commit::Takes | Commit::TakesSilently);
            let refusal = (!takes).then_some(RDKafkaErrorCode::IllegalGeneration);
            answer.push((partition, standing.clone(), refusal));
            if takes {
                log.commit(&self.world, standing);
            }
        }
        drop(state);
        if matches!(commit, Commit::Takes | Commit::Refuses) {
            // The session that asked may be over.
            tell.send(answer).ok();
        }
    }

    /// What is committed for the first partition.
    pub(super) fn committed(&self) -> Option<Standing> {
        self.lock().logs[0].committed.clone()
    }

    /// Whether everything is committed.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled().is_none()
    }

    /// A partition of which not everything is committed, and what is.
    pub(super) fn unsettled(&self) -> Option<String> {
        let state = self.lock();
        let log = state.logs.iter().find(|log| {
            log.committed.as_ref().is_none_or(|committed| committed.offset < log.end)
        })?;
        let committed = log.committed.as_ref().map(|committed| committed.offset);
        Some(format!("{} ends at {}, committed: {committed:?}", log.partition.number, log.end))
    }

    /// A member has stopped in good order: what has its outcome, in partitions that it had, must
    /// be committed.
    pub(super) fn judge_hand_over(&self) {
        let state = self.lock();
        // What came and went meanwhile leaves calls behind whose outcomes settle nothing.
        let kept = |log: &&Log| log.fetched.is_some() && log.generation == log.first_generation;
        for log in state.logs.iter().filter(kept) {
            let committed = log.committed.clone().unwrap_or_else(Standing::none);
            let told = |at: i64| at < committed.offset || log.lists(&committed, at);
            let mut done = log.records.iter().filter(|it| self.world.is_finished_here(it.event));
            if let Some(record) = done.find(|record| !told(record.offset)) {
                let number = log.partition.number;
                let why = format!("{number}@{} is not in {committed:?}", record.offset);
                self.world.breaks(Rule::HandOver, why);
            }
        }
    }

    fn judge(&self, state: &mut State, sent: &[(Partition, Standing)]) {
        let joining = state.joining;
        for (partition, standing) in sent {
            let log = state.log(partition);
            let how = || format!("committed {}@{}", partition.number, standing.offset);
            // What is lost in this very moment the member cannot know yet.
            let knows = log.left.is_none_or(|left| left < Instant::now());
            if log.fetched.is_none() && !joining && knows {
                self.world.breaks(Rule::Over, format!("{} after it was given up", how()));
            }
            if standing.offset > log.end {
                self.world.breaks(Rule::Unfinished, format!("{}, the log ends before", how()));
            }
            for record in &log.records {
                if record.offset < standing.offset {
                    self.world.acknowledged(record.event, how());
                } else if log.lists(standing, record.offset) {
                    self.world.acknowledged(record.event, format!("{}, listed as finished", how()));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn log(&mut self, partition: &Partition) -> &mut Log {
        &mut self.logs[usize::try_from(partition.number).expect("numbered from zero")]
    }
}

fn show(sent: &[(Partition, Standing)]) -> String {
    let each = sent.iter().map(|(p, s)| format!("{}@{} {}", p.number, s.offset, s.metadata));
    each.collect::<Vec<_>>().join(", ")
}
