//! The partitions of this member: answering the group, starting and ending lanes.
//!
//! The group waits for each answer, so an answer may take a moment: running calls may end, and
//! what is done is committed, before partitions are handed over. The order is what keeps it
//! right. On assign: resolve positions, split the queues, start the lanes, then assign. On
//! revoke: end the lanes, commit, let their queues drop, then unassign. What is lost is already
//! somebody else's: nothing is waited for, and nothing committed.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use connector_core::source::SourceError;
use connector_core::{Intake, LaneOptions};
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::client::{Partition, Rebalance};
use crate::commit::{Commits, Last, Standing};
use crate::config::KafkaConfig;
use crate::lane::{Reader, Stuck};
use crate::meters::Meters;
use crate::missing::Missing;
use crate::positions::Positions;
use crate::tracker::Tracker;

/// How long the member that decides where a topic begins is waited for, to commit its positions.
const FIRST_COMMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The partitions that are ours, and their lanes.
pub(crate) struct Assignment<B> {
    broker: Arc<B>,
    config: Arc<KafkaConfig>,
    intake: Intake,
    commits: Commits,
    meters: Arc<Meters>,
    stuck: mpsc::UnboundedSender<Stuck>,
    lanes: HashMap<Partition, Running>,
    /// Those that have no lane yet.
    missing: Missing<B>,
    /// The number of the next lane. Tells assignments of one partition apart.
    next: u64,
    /// Whether the group has given us anything that it has not taken back.
    holds: bool,
    member: String,
    /// What the lanes' clocks count from.
    began: Instant,
}

struct Running {
    /// `None` once it has been seen to end.
    task: Option<JoinHandle<()>>,
    finish: watch::Sender<Option<Instant>>,
}

impl<B: Broker> Assignment<B> {
    pub(crate) fn new(
        broker: Arc<B>,
        config: Arc<KafkaConfig>,
        intake: Intake,
        commits: Commits,
        meters: Arc<Meters>,
        stuck: mpsc::UnboundedSender<Stuck>,
    ) -> Self {
        let missing = Missing::new(
            Arc::clone(&broker),
            config.initial_offset,
            intake.conditions().clone(),
            !intake.config().topics.is_empty(),
            stuck.clone(),
        );
        Self {
            broker,
            config,
            intake,
            commits,
            meters,
            stuck,
            lanes: HashMap::new(),
            missing,
            next: 0,
            holds: false,
            member: String::new(),
            began: Instant::now(),
        }
    }

    /// Whether the group has given us anything that it has not taken back: leaving it, we will be
    /// asked for it once more.
    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    /// Does what the group asks, and answers it.
    ///
    /// Not cancel-safe: the group would wait for an answer that never comes.
    pub(crate) async fn answer(&mut self, rebalance: Rebalance) -> Result<(), SourceError> {
        self.meters.rebalances.inc();
        match rebalance {
            Rebalance::Assigned(partitions) => {
                self.log("partitions assigned", &partitions);
                self.assign(partitions).await
            }
            Rebalance::Revoked(partitions) => {
                self.log("partitions revoked", &partitions);
                self.end(&partitions, self.config.revoke_wait).await;
                self.unassign(&partitions)
            }
            Rebalance::Lost(partitions) => {
                tracing::warn!(
                    group = self.config.group,
                    partitions = named(&partitions),
                    "partitions lost: what they had not committed is delivered again"
                );
                self.drop_lanes(&partitions).await;
                self.unassign(&partitions)
            }
        }
    }

    fn log(&self, what: &str, partitions: &[Partition]) {
        if self.config.log_sessions {
            tracing::info!(group = self.config.group, partitions = named(partitions), "{what}");
        }
    }

    async fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), SourceError> {
        self.member = self.broker.member();
        let mut starts = HashMap::new();
        let mut missing = Vec::new();
        // While draining nothing new is begun; the answer alone is owed. A broker that hangs would
        // keep its question open for longer than there is time to drain.
        if !partitions.is_empty() {
            let found = tokio::select! {
                biased;
                () = self.intake.draining() => None,
                found = self.begin_at(&partitions) => Some(found?),
            };
            let (positions, denied) = found.unwrap_or_default();
            (starts, missing) = (positions.starts, positions.missing);
            for partition in &partitions {
                if let Some(start) = starts.get(partition) {
                    self.start(partition, start.clone(), !denied.contains(partition))?;
                }
            }
        }
        self.broker.assign(&starts).map_err(broken)?;
        self.missing.add(missing);
        self.holds = true;
        self.meters.connected(&self.config.group);
        Ok(())
    }

    /// Where each partition begins. What the group had not committed is committed then; beside it,
    /// the partitions for which the broker does not let us commit. It does not let us read them
    /// either, so nothing of them is called before.
    async fn begin_at(
        &self,
        partitions: &[Partition],
    ) -> Result<(Positions, Vec<Partition>), SourceError> {
        let patience = Instant::now() + FIRST_COMMIT;
        let mut denied = Vec::new();
        loop {
            let mut found = self.broker.positions(partitions, self.config.initial_offset).await?;
            let late = Instant::now() >= patience;
            let fresh = std::mem::take(&mut found.fresh);
            let decided = decided_by(partitions, &fresh);
            let (ours, others): (Vec<_>, Vec<_>) = fresh
                .into_iter()
                .partition(|(partition, _)| late || decided.contains(&partition.topic));
            if !ours.is_empty() {
                match self.commit_first(ours).await {
                    Last::Taken => {}
                    Last::Denied(partitions) => denied = partitions,
                    Last::Late => {
                        return Err(SourceError::Broken(
                            "the first positions of a topic cannot be committed".to_owned(),
                        ));
                    }
                }
            }
            if others.is_empty() {
                for partition in std::mem::take(&mut found.out_of_range) {
                    partition.tell(&self.meters);
                }
                return Ok((found, denied));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn commit_first(&self, fresh: Vec<(Partition, Standing)>) -> Last {
        let mut partitions = Vec::new();
        for (partition, standing) in fresh {
            tracing::info!(topic = %partition.topic, partition = partition.number,
                offset = standing.offset, "the group begins here: it has no committed offset");
            let seen = Arc::new(AtomicI64::new(-1));
            self.commits.begin(partition.clone(), u64::MAX, Standing::none(), seen);
            self.commits.report(partition.clone(), u64::MAX, standing);
            partitions.push(partition);
        }
        let last = self.commits.finish(partitions.clone()).await;
        // Most are other members', and ours are noted again when their lanes begin.
        self.gone(&partitions);
        last
    }

    /// Starts a lane. One whose start is not committed commits it as soon as it may.
    fn start(
        &mut self,
        partition: &Partition,
        start: Standing,
        is_committed: bool,
    ) -> Result<(), SourceError> {
        let Partition { topic, number } = partition;
        let queue = self
            .broker
            .queue(partition)
            .ok_or_else(|| SourceError::Broken(format!("{topic}/{number} has no queue")))?;
        let lane = self.next;
        self.next += 1;
        let committed = Arc::new(AtomicI64::new(start.offset));
        let before = if is_committed { start.clone() } else { Standing::none() };
        self.commits.begin(partition.clone(), lane, before, Arc::clone(&committed));
        if !is_committed {
            self.commits.report(partition.clone(), lane, start.clone());
        }
        let (finish, told) = watch::channel(None);
        let window =
            NonZeroUsize::new(self.intake.config().lane_window).unwrap_or(NonZeroUsize::MIN);
        let mut options = LaneOptions::new(format!("{topic}/{number}"), window);
        options.ordered = true;
        let reader = Reader {
            partition: partition.clone(),
            number: lane,
            queue,
            broker: Arc::clone(&self.broker),
            lane: self.intake.lane(options),
            intake: self.intake.clone(),
            ordering: self.config.ordering,
            commits: self.commits.clone(),
            stuck: self.stuck.clone(),
            finish: told,
        };
        // In step with all others, so that one commit takes what all of them report.
        let reports = tokio::time::interval_at(self.began, self.config.commit_interval);
        let meters = self.meters.lane(&self.config.group, &self.member, partition);
        let task = tokio::spawn(reader.run(Tracker::new(start, committed), reports, meters));
        self.lanes.insert(partition.clone(), Running { task: Some(task), finish });
        Ok(())
    }

    /// Ends these lanes: what waits is given back, what runs may go on for `patience`, what is
    /// done is committed.
    pub(crate) async fn end(&mut self, partitions: &[Partition], patience: Duration) {
        let until = Instant::now() + patience;
        let mut ending = Vec::new();
        for partition in partitions {
            if let Some(running) = self.lanes.remove(partition) {
                running.finish.send_replace(Some(until));
                ending.push((partition.clone(), running.task));
            }
        }
        if ending.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        for (partition, task) in ending {
            if let Some(task) = task {
                see_off(task.await, &partition);
            }
            ended.push(partition);
        }
        // Its answer is noted in the metrics, so they are let go of behind it.
        self.commits.finish(ended.clone()).await;
        self.gone(&ended);
    }

    /// Ends the lanes of topics that are not to be consumed any more.
    pub(crate) async fn end_topics(&mut self, ends: impl Fn(&str) -> bool) {
        let partitions: Vec<_> = self.lanes.keys().filter(|p| ends(&p.topic)).cloned().collect();
        self.end(&partitions, self.config.revoke_wait).await;
    }

    /// Ends all lanes.
    pub(crate) async fn end_all(&mut self, patience: Duration) {
        let partitions: Vec<_> = self.lanes.keys().cloned().collect();
        self.end(&partitions, patience).await;
    }

    /// Waits until every lane has ended by itself, as they do once draining has begun.
    ///
    /// Cancel-safe: lanes that have ended stay ended.
    pub(crate) async fn drained(&mut self) {
        for (partition, running) in &mut self.lanes {
            if let Some(task) = &mut running.task {
                see_off(task.await, partition);
                running.task = None;
            }
        }
    }

    /// Lets go of lanes whose partitions others have.
    async fn drop_lanes(&mut self, partitions: &[Partition]) {
        self.commits.forget(partitions.to_vec());
        for partition in partitions {
            if let Some(Running { task: Some(task), .. }) = self.lanes.remove(partition) {
                task.abort();
                // Its queue must be gone before the answer.
                drop(task.await);
            }
        }
        self.gone(partitions);
    }

    fn gone(&self, partitions: &[Partition]) {
        for partition in partitions {
            self.meters.gone(&self.config.group, &self.member, partition);
        }
    }

    fn unassign(&mut self, partitions: &[Partition]) -> Result<(), SourceError> {
        // The client refuses to give up what it was never told to take.
        let begun = self.missing.remove(partitions);
        let answered = self.broker.unassign(&begun);
        self.holds =
            self.broker.is_cooperative() && !(self.lanes.is_empty() && self.missing.is_empty());
        answered.map_err(broken)
    }
}

/// The topics whose fresh partitions the owner of these is to commit: those of which it has the
/// first. One member decides for all partitions of a new topic, or two would each choose another
/// "newest", and the later one overwrite the earlier.
fn decided_by(owned: &[Partition], fresh: &[(Partition, Standing)]) -> HashSet<Arc<str>> {
    let mut first = HashMap::new();
    for (Partition { topic, number }, _) in fresh {
        let lowest = first.entry(topic).or_insert(*number);
        *lowest = (*lowest).min(*number);
    }
    let is_first = |partition: &&Partition| first.get(&partition.topic) == Some(&partition.number);
    owned.iter().filter(is_first).map(|partition| Arc::clone(&partition.topic)).collect()
}

fn broken(error: KafkaError) -> SourceError {
    SourceError::Broken(format!("the client refuses an assignment: {error}"))
}

fn see_off(ended: Result<(), JoinError>, Partition { topic, number }: &Partition) {
    if let Err(panic) = ended {
        tracing::error!(%panic, %topic, partition = number, "a lane failed");
    }
}

fn named(partitions: &[Partition]) -> String {
    let mut names: Vec<_> =
        partitions.iter().map(|p| format!("{}/{}", p.topic, p.number)).collect();
    names.sort_unstable();
    names.join(" ")
}
