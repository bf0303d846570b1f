//! The one committer: what lanes report becomes commits.
//!
//! A commit is explicit, asynchronous, and one at a time: librdkafka's own commits never send
//! metadata whose offset has not moved, and its synchronous ones have no bound while the
//! coordinator is away. Lanes report every `commit_interval`, all in step, and what they report is
//! committed at once: a lane's progress waits for one interval, not for two. A refused or
//! unanswered commit is tried again an interval later.
//!
//! What a lane of an earlier assignment reports commits nothing: each report carries its lane's
//! number, and only the number that was announced last counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use connector_core::conditions::{Conditions, Subject};
use connector_core::fail_point::{self, Step};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::client::{Committed, Partition};
use crate::meters::Meters;

/// How long a commit's answer is waited for, before it counts as refused.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);

/// How long the first report waits for those of the other lanes, which come in the same moment.
const TOGETHER: Duration = Duration::from_millis(5);

const SUBJECT: Subject = Subject(std::borrow::Cow::Borrowed("kafka commits"));

/// Where a lane stands: what a commit of it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The offset below which everything is finished.
    pub(crate) offset: i64,
    /// What is finished beyond it.
    pub(crate) metadata: String,
}

impl Standing {
    /// That of a lane for which nothing is committed: no offset is this one.
    pub(crate) fn none() -> Self {
        Self { offset: -1, metadata: String::new() }
    }
}

/// The committer's end that lanes and the assignment hold. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Commits(mpsc::UnboundedSender<Request>);

enum Request {
    Begin { partition: Partition, lane: u64, committed: Standing, seen: Arc<AtomicI64> },
    Report { partition: Partition, lane: u64, standing: Standing },
    End { partitions: Vec<Partition> },
    Flush { partitions: Vec<Partition>, done: oneshot::Sender<Vec<Partition>> },
}

/// What became of the last commit for some partitions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// The broker has taken it.
    Taken,
    /// The broker does not let us commit for these.
    Denied(Vec<Partition>),
    /// The broker has not taken it in time.
    Late,
}

impl Commits {
    /// Announces a lane: its number, what is committed for it now, and where the offset committed
    /// last is to be told.
    pub(crate) fn begin(
        &self,
        partition: Partition,
        lane: u64,
        committed: Standing,
        seen: Arc<AtomicI64>,
    ) {
        self.send(Request::Begin { partition, lane, committed, seen });
    }

    /// Tells where a lane stands.
    pub(crate) fn report(&self, partition: Partition, lane: u64, standing: Standing) {
        self.send(Request::Report { partition, lane, standing });
    }

    /// Commits what has been reported for these partitions, now, and waits until the broker has
    /// answered or [`ANSWER`] has passed. Then nothing more is committed for them.
    pub(crate) async fn finish(&self, partitions: Vec<Partition>) -> Last {
        let (done, told) = oneshot::channel();
        self.send(Request::Flush { partitions: partitions.clone(), done });
        let told = tokio::time::timeout(ANSWER, told).await;
        self.forget(partitions);
        match told {
            Ok(Ok(denied)) if denied.is_empty() => Last::Taken,
            Ok(Ok(denied)) => Last::Denied(denied),
            Ok(Err(_)) | Err(_) => Last::Late,
        }
    }

    /// Commits nothing more for these partitions.
    pub(crate) fn forget(&self, partitions: Vec<Partition>) {
        self.send(Request::End { partitions });
    }

    fn send(&self, request: Request) {
        // The committer ends with the session, after every lane; what is told then is too late.
        drop(self.0.send(request));
    }
}

/// The task that commits.
struct Committer<B> {
    broker: Arc<B>,
    conditions: Conditions,
    meters: Arc<Meters>,
    entries: HashMap<Partition, Entry>,
    /// The commit on its way: what it says, and until when it is waited for.
    running: Option<(Vec<Sent>, Instant)>,
    flushes: Vec<(Vec<Partition>, oneshot::Sender<Vec<Partition>>)>,
    /// When to commit what has changed; `None` while nothing has.
    due: Option<Instant>,
    every: Duration,
}

/// What a commit says of one partition, and the number of the lane that said it.
type Sent = (Partition, u64, Standing);

struct Entry {
    lane: u64,
    wanted: Standing,
    committed: Standing,
    seen: Arc<AtomicI64>,
    /// The broker's access control has refused the last commit.
    denied: bool,
}

/// Starts the committer. It ends when the last [`Commits`] is dropped, or by abort.
pub(crate) fn start(
    broker: Arc<impl Broker>,
    conditions: Conditions,
    meters: Arc<Meters>,
    answers: mpsc::UnboundedReceiver<Committed>,
    every: Duration,
) -> (Commits, JoinHandle<()>) {
    let (tell, requests) = mpsc::unbounded_channel();
    let committer = Committer {
        broker,
        conditions,
        meters,
        entries: HashMap::new(),
        running: None,
        flushes: Vec::new(),
        due: None,
        every,
    };
    (Commits(tell), tokio::spawn(committer.run(requests, answers)))
}

impl<B: Broker> Committer<B> {
    async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<Request>,
        mut answers: mpsc::UnboundedReceiver<Committed>,
    ) {
        loop {
            let overdue = at(self.running.as_ref().map(|(_, until)| *until));
            let due = at(self.due.filter(|_| self.running.is_none()));
            tokio::select! {
                biased;
                request = requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                Some(answer) = answers.recv() => self.answered(&answer),
                () = overdue => self.failed("the broker does not answer commits"),
                () = due => self.commit(),
            }
            self.flush();
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Begin { partition, lane, committed, seen } => {
                seen.store(committed.offset, Ordering::Release);
                self.meters.committed(&partition, committed.offset);
                let wanted = committed.clone();
                let entry = Entry { lane, wanted, committed, seen, denied: false };
                self.entries.insert(partition, entry);
            }
            Request::Report { partition, lane, standing } => {
                // Anything else comes from a lane of an earlier assignment.
                if let Some(entry) = self.entries.get_mut(&partition)
                    && entry.lane == lane
                {
                    entry.wanted = standing;
                    self.due.get_or_insert_with(|| Instant::now() + TOGETHER);
                }
            }
            Request::End { partitions } => {
                for partition in partitions {
                    self.entries.remove(&partition);
                }
            }
            Request::Flush { partitions, done } => {
                for partition in &partitions {
                    // It is to be tried once more, whatever became of the last one.
                    if let Some(entry) = self.entries.get_mut(partition) {
                        entry.denied = false;
                    }
                }
                self.flushes.push((partitions, done));
            }
        }
    }

    /// Sends what has changed, unless a commit is on its way.
    fn commit(&mut self) {
        if self.running.is_some() {
            return;
        }
        self.due = None;
        let changed: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.wanted != entry.committed)
            .map(|(partition, entry)| (partition.clone(), entry.lane, entry.wanted.clone()))
            .collect();
        if changed.is_empty() {
            return;
        }
        let standings = changed.iter().map(|(partition, _, standing)| (partition, standing));
        match self.broker.commit(standings) {
            Ok(()) => {
                fail_point::pass_all(Step::Acknowledged, || {
                    changed.iter().map(|(at, _, standing)| self.records(at, standing)).sum()
                });
                self.running = Some((changed, Instant::now() + ANSWER));
            }
            Err(error) => self.failed(&format!("cannot commit: {error}")),
        }
    }

    /// Takes the broker's answer to a commit.
    fn answered(&mut self, answer: &Committed) {
        let Some((sent, _)) = &self.running else { return };
        // An answer to a commit that was given up, or to one that was not ours. By the metadata
        // too: behind a head that takes long the offset stays, and only what is finished beyond it
        // tells one commit from the next.
        let ours = sent.len() == answer.len()
            && sent.iter().all(|(partition, _, standing)| {
                answer.iter().any(|(p, told, _)| p == partition && told == standing)
            });
        if !ours {
            return;
        }
        let Some((sent, _)) = self.running.take() else { return };
        let mut refused = None;
        for (partition, lane, standing) in sent {
            let Some((_, _, refusal)) = answer.iter().find(|(p, _, _)| *p == partition) else {
                continue;
            };
            if let Some(code) = refusal {
                if let Some(entry) = self.entries.get_mut(&partition) {
                    entry.denied = *code == RDKafkaErrorCode::TopicAuthorizationFailed;
                }
                refused = Some((partition, *code));
                continue;
            }
            fail_point::pass_all(Step::Confirmed, || self.records(&partition, &standing));
            if let Some(entry) = self.entries.get_mut(&partition)
                && entry.lane == lane
            {
                self.meters.committed(&partition, standing.offset);
                entry.seen.store(standing.offset, Ordering::Release);
                entry.committed = standing;
                entry.denied = false;
            }
        }
        match refused {
            None => self.conditions.well(&SUBJECT),
            // The group is being joined anew: either it takes the next one, or the partitions are
            // revoked.
            Some((
                _,
                RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::StaleMemberEpoch
                | RDKafkaErrorCode::UnknownMemberId,
            )) => self.again(),
            Some((Partition { topic, number }, code)) => {
                self.failed(&format!("a commit for {topic}/{number} was refused: {code}"));
            }
        }
    }

    /// For fail points alone: about how many records a standing finishes beyond the committed one, as if offsets had no
    /// holes.
    fn records(&self, partition: &Partition, standing: &Standing) -> u64 {
        let committed =
            self.entries.get(partition).map_or(0, |entry| entry.committed.offset.max(0));
        standing.offset.abs_diff(committed)
    }

    /// Commits once more an interval later: what was refused is still a change.
    fn again(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + self.every);
    }

    fn failed(&mut self, why: &str) {
        self.running = None;
        self.again();
        self.meters.commit_failures.inc();
        // Calls go on: what is not committed is at worst delivered again.
        self.conditions.unwell(&SUBJECT, why, false);
    }

    /// Commits for those who wait for it, and lets go of those whose commit has been answered.
    fn flush(&mut self) {
        for (wanted, done) in std::mem::take(&mut self.flushes) {
            if done.is_closed() {
                continue;
            }
            let due = |partition: &&Partition| {
                self.entries.get(partition).is_some_and(|entry| entry.wanted != entry.committed)
            };
            let open: Vec<_> = wanted.iter().filter(due).cloned().collect();
            if open.iter().all(|partition| self.entries[partition].denied) {
                // Closed meanwhile: its patience is over.
                drop(done.send(open));
            } else {
                self.flushes.push((wanted, done));
            }
        }
        if !self.flushes.is_empty() {
            self.commit();
        }
    }
}

/// Waits until then; for ever without a time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
