//! One partition: from its queue into the core, and from verdicts to a standing.
//!
//! A lane receives one record, holds it until it has a slot, submits it, and receives the next.
//! So a full window pauses this partition and no other, and at most one record is in hand. It is
//! one task, which owns the partition's queue: when the task has ended, the queue is dropped, and
//! only then may the revocation be answered (the handle of an earlier assignment would steal the
//! records of the next).

use std::sync::Arc;
use std::time::Duration;

use connector_core::conditions::{Conditions, Subject};
use connector_core::fail_point::{self, Step};
use connector_core::settings::UnmatchedPolicy;
use connector_core::topics::TopicMap;
use connector_core::{Intake, Lane};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::broker::{Broker, Queue as _, Received};
use crate::client::Partition;
use crate::commit::Commits;
use crate::config::Ordering;
use crate::meters::{LaneMeters, Paused};
use crate::tracker::{Admission, Tracker};

/// How long after the drain deadline the verdicts of cut calls are waited for: they come at once.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// How often the broker is asked for a topic that it does not let us read.
const ACCESS: Duration = Duration::from_secs(5);

/// Why a lane cannot go on; only a fresh connection mends it.
#[derive(Debug)]
pub(crate) struct Stuck(pub(crate) String);

/// What one lane needs.
pub(crate) struct Reader<B: Broker> {
    pub(crate) partition: Partition,
    /// Tells this assignment of the partition from others.
    pub(crate) number: u64,
    pub(crate) queue: B::Queue,
    pub(crate) broker: Arc<B>,
    pub(crate) lane: Lane,
    pub(crate) intake: Intake,
    pub(crate) ordering: Ordering,
    pub(crate) commits: Commits,
    pub(crate) stuck: mpsc::UnboundedSender<Stuck>,
    /// Set when the lane is to end: until when running calls are waited for.
    pub(crate) finish: watch::Receiver<Option<Instant>>,
}

/// The part of a lane that goes on while a record waits for its slot.
struct Keeper<B> {
    partition: Partition,
    number: u64,
    tracker: Tracker,
    commits: Commits,
    ticks: Interval,
    topics: watch::Receiver<Arc<TopicMap>>,
    /// `unmatched=hold`: nothing is submitted while no function is mapped to the topic.
    holds: bool,
    /// That is so now.
    held: bool,
    /// The timestamp of the record that waits for its slot, or for a function.
    in_hand: Option<i64>,
    broker: Arc<B>,
    paused: bool,
    meters: LaneMeters,
    stuck: mpsc::UnboundedSender<Stuck>,
}

impl<B: Broker> Reader<B> {
    /// Runs the lane until it is told to finish, or draining begins. Its standing has then been
    /// reported, and its queue dropped.
    pub(crate) async fn run(mut self, tracker: Tracker, mut reports: Interval, meters: LaneMeters) {
        // Skip: a lane that begins late owes no reports for the time before it.
        reports.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let alarm = Alarm { stuck: self.stuck.clone(), partition: self.partition.clone() };
        let mut keeper = Keeper {
            partition: self.partition.clone(),
            number: self.number,
            tracker,
            commits: self.commits.clone(),
            ticks: reports,
            topics: self.intake.topics(),
            holds: self.intake.config().unmatched == UnmatchedPolicy::Hold,
            held: false,
            in_hand: None,
            broker: Arc::clone(&self.broker),
            paused: false,
            meters,
            stuck: self.stuck.clone(),
        };
        keeper.follow_map();
        let mut finish = self.finish.clone();
        let told_to_finish = async {
            tokio::select! {
                // An error says that the assignment is gone, which ends its lanes.
                _ = finish.wait_for(Option::is_some) => {}
                () = self.lane.ended() => {}
            }
        };
        tokio::select! {
            biased;
            () = told_to_finish => {}
            () = self.receive(&mut keeper) => {}
        }
        self.lane.end();
        keeper.finish(&mut self.finish, &self.intake).await;
        drop(alarm);
    }

    /// Receives and submits, one record at a time, until it is dropped.
    ///
    /// Cancel-safe: a record in hand was never tracked, so the partition's next owner begins with it.
    async fn receive(&self, keeper: &mut Keeper<B>) {
        let mut access = Access::new(&self.partition, &self.intake);
        loop {
            let receives = keeper.tracker.has_room();
            let received = tokio::select! {
                biased;
                () = keeper.tend() => continue,
                () = access.next_look() => {
                    keeper.fetch_anew();
                    continue;
                }
                received = self.queue.next(), if receives => received,
            };
            let record = match received {
                Ok(Received::Record(record)) => {
                    fail_point::pass(Step::Received);
                    access.granted();
                    record
                }
                Ok(Received::End(end)) => {
                    access.granted();
                    keeper.tracker.ends_at(end);
                    continue;
                }
                Err(KafkaError::MessageConsumption(
                    code @ RDKafkaErrorCode::TopicAuthorizationFailed,
                )) => {
                    access.denied(code);
                    continue;
                }
                Err(error) => {
                    self.refused(&error);
                    continue;
                }
            };
            keeper.meters.consumed.inc();
            keeper.meters.offset.set(record.offset);
            let place = match keeper.tracker.admit(|previous| record.place(previous)) {
                Admission::New(place) => place,
                Admission::Finished => {
                    keeper.meters.skipped.inc();
                    continue;
                }
            };

            keeper.takes_in_hand(place.timestamp);
            while keeper.held {
                keeper.tend().await;
            }
            // Kept over everything else that happens: whoever waits longest is served first.
            let slot = self.lane.slot(record.size());
            tokio::pin!(slot);
            let slot = loop {
                tokio::select! {
                    biased;
                    slot = &mut slot => break slot,
                    () = keeper.tend() => {}
                }
            };
            let Some(slot) = slot else { return };
            keeper.in_hand = None;
            let event =
                record.into_event(&self.partition.topic, self.partition.number, self.ordering);
            keeper.tracker.track(place, slot.submit(event));
        }
    }

    /// What the broker refuses is either tried again by the client, or of no more use.
    fn refused(&self, error: &KafkaError) {
        let Partition { topic, number } = &self.partition;
        match fatal(error) {
            Some(reason) => drop(self.stuck.send(Stuck(format!("{topic}/{number}: {reason}")))),
            None => tracing::warn!(%topic, partition = number, %error,
                "the broker refuses a fetch; it is tried again"),
        }
    }
}

impl<B: Broker> Keeper<B> {
    /// Waits for one thing to do beside receiving, and does it.
    ///
    /// Cancel-safe: what it waits for is, and what it does then has no await.
    async fn tend(&mut self) {
        tokio::select! {
            biased;
            () = self.tracker.settle_next() => if self.tracker.halted() {
                // Nothing asked for it: whoever owed the verdict has failed.
                let Partition { topic, number } = &self.partition;
                drop(self.stuck.send(Stuck(format!("{topic}/{number}: an event got no verdict"))));
            },
            _ = self.ticks.tick() => {
                self.report();
                self.measure();
            }
            Ok(()) = self.topics.changed(), if self.holds => self.follow_map(),
        }
    }

    /// Tells the committer where the lane stands, if that has changed.
    fn report(&mut self) {
        if let Some(standing) = self.tracker.standing_if_changed() {
            self.commits.report(self.partition.clone(), self.number, standing);
        }
    }

    /// Says how old the head is, and what keeps the lane from receiving.
    fn measure(&mut self) {
        self.meters.head(self.tracker.head_timestamp().or(self.in_hand));
        self.meters.pause(if self.held {
            Some(Paused::Held)
        } else if self.in_hand.is_some() {
            Some(Paused::Full)
        } else if self.tracker.awaits_commit() {
            Some(Paused::Uncommitted)
        } else if !self.tracker.has_room() {
            Some(Paused::Beyond)
        } else {
            None
        });
    }

    /// Looks whether anybody is mapped to the topic.
    fn follow_map(&mut self) {
        let held = self.holds && !self.topics.borrow_and_update().is_mapped(&self.partition.topic);
        if held == self.held {
            return;
        }
        self.held = held;
        let Partition { topic, number } = &self.partition;
        if held {
            tracing::info!(%topic, partition = number, "held: no function is mapped");
        } else {
            tracing::debug!(%topic, partition = number, "no longer held");
        }
        self.pause_while_held();
    }

    fn takes_in_hand(&mut self, timestamp: i64) {
        self.in_hand = Some(timestamp);
        self.pause_while_held();
    }

    /// Pauses a held partition, once one record is in hand that says how long it has waited. Pausing
    /// drops what was fetched ahead, so a held partition costs no more memory than that one.
    fn pause_while_held(&mut self) {
        let wanted = self.held && self.in_hand.is_some();
        if wanted == self.paused {
            return;
        }
        self.paused = wanted;
        let this = &self.partition;
        let done = if wanted { self.broker.pause(this) } else { self.broker.resume(this) };
        if let Err(error) = done {
            let Partition { topic, number } = &self.partition;
            tracing::warn!(%topic, partition = number, %error, "cannot pause or resume");
        }
    }

    /// Makes the client fetch as if for the first time: what the broker has against it, and where
    /// the log ends, it tells only once.
    fn fetch_anew(&self) {
        if self.paused {
            return;
        }
        let this = &self.partition;
        let asked = self.broker.pause(this).and_then(|()| self.broker.resume(this));
        if let Err(error) = asked {
            let Partition { topic, number } = &self.partition;
            tracing::debug!(%topic, partition = number, %error, "cannot fetch anew");
        }
    }

    /// Waits for the verdicts of running calls, as long as that is allowed, and reports.
    async fn finish(&mut self, finish: &mut watch::Receiver<Option<Instant>>, intake: &Intake) {
        let mut deadline = *finish.borrow_and_update();
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

/// Whether the broker lets us read the topic.
struct Access {
    conditions: Conditions,
    subject: Subject,
    /// A topic that is only wished for may be refused.
    is_order: bool,
    /// While it is denied: when to ask again.
    again: Option<Instant>,
}

impl Access {
    fn new(partition: &Partition, intake: &Intake) -> Self {
        Self {
            conditions: intake.conditions().clone(),
            subject: crate::subscription::subject(&partition.topic),
            is_order: !intake.config().topics.is_empty(),
            again: None,
        }
    }

    fn denied(&mut self, code: RDKafkaErrorCode) {
        self.again.get_or_insert_with(|| Instant::now() + ACCESS);
        let why = format!("it may not be read: {code}");
        self.conditions.unwell(&self.subject, &why, self.is_order);
    }

    fn granted(&mut self) {
        if self.again.take().is_some() {
            self.conditions.well(&self.subject);
        }
    }

    /// Waits until it is time to ask again; for ever while all is well.
    async fn next_look(&mut self) {
        match self.again {
            Some(time) => tokio::time::sleep_until(time).await,
            None => std::future::pending().await,
        }
        self.again = Some(Instant::now() + ACCESS);
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        // The lane ends: whoever has the partition next finds out for itself.
        if self.again.is_some() {
            self.conditions.forget(&self.subject);
        }
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

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Partition { topic, number } = &self.partition;
            drop(self.stuck.send(Stuck(format!("{topic}/{number}: its lane panicked"))));
        }
    }
}
