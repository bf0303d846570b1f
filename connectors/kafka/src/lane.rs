//! One partition: from its queue into the core, and from verdicts to a standing.
//!
//! A lane receives one record, holds it until it has a slot, submits it, and receives the next.
//! So a full window pauses this partition and no other, and at most one record is in hand. It is
//! one task, which owns the partition's queue: when the task has ended, the queue is dropped, and
//! only then may the revocation be answered (the handle of an earlier assignment would steal the
//! records of the next).

use std::sync::Arc;
use std::time::Duration;

use connector_core::Lane;
use connector_core::settings::UnmatchedPolicy;
use connector_core::topics::TopicMap;
use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval};

use crate::client::{Consumer, Listener, Partition, end_of_partition, list};
use crate::commit::Commits;
use crate::config::Ordering;
use crate::meters::LaneMeters;
use crate::record::Record;
use crate::tracker::{Admission, Tracker};

/// How long after the drain deadline the verdicts of cut calls are waited for: they come at once.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// Why a lane cannot go on; only a fresh connection mends it.
#[derive(Debug)]
pub(crate) struct Stuck(pub(crate) String);

/// What one lane needs.
pub(crate) struct Reader {
    pub(crate) partition: Partition,
    /// Tells this assignment of the partition from others.
    pub(crate) number: u64,
    pub(crate) queue: StreamPartitionQueue<Listener>,
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) lane: Lane,
    pub(crate) intake: connector_core::Intake,
    pub(crate) ordering: Ordering,
    pub(crate) commits: Commits,
    pub(crate) meters: LaneMeters,
    pub(crate) stuck: mpsc::UnboundedSender<Stuck>,
    /// Set when the lane is to end: until when running calls are waited for.
    pub(crate) finish: watch::Receiver<Option<Instant>>,
}

/// The part of a lane that goes on while a record waits for its slot.
struct Keeper {
    partition: Partition,
    number: u64,
    tracker: Tracker,
    commits: Commits,
    ticks: Interval,
    topics: watch::Receiver<Arc<TopicMap>>,
    /// `unmatched=hold`: nothing is received while no function is mapped to the topic.
    holds: bool,
    consumer: Arc<Consumer>,
    paused: bool,
}

impl Reader {
    /// Runs the lane until it is told to finish, or draining begins. Its standing has then been
    /// reported, and its queue dropped.
    pub(crate) async fn run(self, tracker: Tracker, report_every: Duration) {
        let Self { partition, number, queue, lane, intake, commits, mut finish, stuck, .. } = self;
        let mut alarm = Alarm { stuck: stuck.clone(), partition: partition.clone() };
        let mut keeper = Keeper {
            partition: partition.clone(),
            number,
            tracker,
            commits,
            ticks: tokio::time::interval(report_every),
            topics: intake.topics(),
            holds: intake.config().unmatched == UnmatchedPolicy::Hold,
            consumer: self.consumer,
            paused: false,
        };
        keeper.follow_map();

        let told_to_finish = async {
            tokio::select! {
                _ = finish.wait_for(Option::is_some) => {}
                () = lane.ended() => {}
            }
        };
        tokio::pin!(told_to_finish);
        loop {
            let receives = !keeper.paused && keeper.tracker.has_room();
            let received = tokio::select! {
                biased;
                () = &mut told_to_finish => break,
                () = keeper.tend() => continue,
                // Copied at once: a borrowed record pins the fetch that it came with.
                received = queue.recv(), if receives => received.map(|message| Record::copy(&message)),
            };
            let record = match received {
                Ok(record) => record,
                Err(KafkaError::PartitionEOF(_)) => {
                    keeper.tracker.ends_at(end_of_partition());
                    continue;
                }
                Err(error) => {
                    if let Some(reason) = fatal(&error) {
                        drop(stuck.send(Stuck(format!(
                            "{}/{}: {reason}",
                            partition.topic, partition.number
                        ))));
                        (&mut told_to_finish).await;
                        break;
                    }
                    tracing::warn!(topic = %partition.topic, partition = partition.number, %error,
                        "the broker refuses a fetch; it is tried again");
                    continue;
                }
            };
            self.meters.consumed.inc();
            self.meters.offset.set(record.offset);
            let admission = keeper.tracker.admit(|previous| record.place(previous));
            let place = match admission {
                Admission::Finished => {
                    self.meters.skipped.inc();
                    continue;
                }
                Admission::New(place) => place,
            };

            let slot = lane.slot(record.payload_len());
            tokio::pin!(slot);
            let slot = loop {
                tokio::select! {
                    biased;
                    () = &mut told_to_finish => break None,
                    slot = &mut slot => break slot,
                    () = keeper.tend() => {}
                }
            };
            // The record in hand was never tracked: the next owner begins with it.
            let Some(slot) = slot else { break };
            let event = record.into_event(&partition.topic, partition.number, self.ordering);
            keeper.tracker.track(place, slot.submit(event));
            if keeper.tracker.halted() {
                drop(stuck.send(Stuck(format!(
                    "{}/{}: an event was given back",
                    partition.topic, partition.number
                ))));
            }
        }

        lane.end();
        let deadline = *finish.borrow();
        keeper.finish(deadline, &mut finish, &intake).await;
        alarm.disarm();
    }
}

impl Keeper {
    /// Waits for one thing to do beside receiving, and does it.
    ///
    /// Cancel-safe: what it waits for is, and what it does then has no await.
    async fn tend(&mut self) {
        tokio::select! {
            biased;
            () = self.tracker.settle_next() => {}
            _ = self.ticks.tick() => self.report(),
            Ok(()) = self.topics.changed(), if self.holds => self.follow_map(),
        }
    }

    /// Tells the committer where the lane stands, if that has changed.
    fn report(&mut self) {
        if let Some(standing) = self.tracker.standing_if_changed() {
            self.commits.report(self.partition.clone(), self.number, standing);
        }
    }

    /// Pauses the partition while nobody is mapped to its topic. Pausing drops what was fetched
    /// ahead, so a held partition costs no memory.
    fn follow_map(&mut self) {
        let held = self.holds && !self.topics.borrow_and_update().is_mapped(&self.partition.topic);
        if held == self.paused {
            return;
        }
        self.paused = held;
        let this = list([&self.partition]);
        let done = if held { self.consumer.pause(&this) } else { self.consumer.resume(&this) };
        let Partition { topic, number } = &self.partition;
        match done {
            Ok(()) if held => tracing::info!(%topic, partition = number, "held: no function is mapped"),
            Ok(()) => tracing::debug!(%topic, partition = number, "no longer held"),
            Err(error) => tracing::warn!(%topic, partition = number, %error, "cannot pause or resume"),
        }
    }

    /// Waits for the verdicts of running calls, as long as that is allowed, and reports.
    async fn finish(
        &mut self,
        deadline: Option<Instant>,
        finish: &mut watch::Receiver<Option<Instant>>,
        intake: &connector_core::Intake,
    ) {
        let mut deadline = deadline;
        let cut = async {
            intake.cut().await;
            tokio::time::sleep(AFTER_CUT).await;
        };
        tokio::pin!(cut);
        loop {
            let passed = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.tracker.judged() => break,
                () = passed => break,
                () = &mut cut => break,
                _ = self.ticks.tick() => {
                    self.tracker.settle_judged();
                    self.report();
                }
                // A revocation during the drain shortens it.
                Ok(()) = finish.changed() => deadline = *finish.borrow_and_update(),
            }
        }
        self.tracker.settle_judged();
        self.report();
    }
}

/// What on a partition's queue only a fresh connection mends.
fn fatal(error: &KafkaError) -> Option<String> {
    match error {
        KafkaError::MessageConsumptionFatal(code) => Some(code.to_string()),
        KafkaError::MessageConsumption(
            code @ (RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::LogTruncation),
        ) => Some(code.to_string()),
        _ => None,
    }
}

/// Tells of a lane that panics: its partition would silently stand still.
struct Alarm {
    stuck: mpsc::UnboundedSender<Stuck>,
    partition: Partition,
}

impl Alarm {
    fn disarm(&mut self) {
        // Nobody is told through a channel whose receiver is gone.
        let (nobody, _) = mpsc::unbounded_channel();
        self.stuck = nobody;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Partition { topic, number } = &self.partition;
            drop(self.stuck.send(Stuck(format!("{topic}/{number}: its lane panicked"))));
        }
    }
}
