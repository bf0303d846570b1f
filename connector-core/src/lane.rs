//! Lanes and slots: how a source hands events in, and how their outcome travels back.
//!
//! A lane is what a broker settles together. It has a window: the number of events received and
//! still without a verdict. A source asks for a [`Slot`] before it takes (or, for a log that
//! prefetches, before it passes on) one more event, so back-pressure reaches the broker and a full
//! lane pauses nothing but itself. Payload bytes are bounded process-wide by [`crate::budget`].
//!
//! [`Slot::submit`] is not async on purpose: between having a slot and tracking the settlement
//! there is no await, so no cancellation can lose an event there.

mod kept;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Held, LaneBytes};
use crate::conditions::Conditions;
use crate::dead_letter::Address;
use crate::dispatch::{Dispatcher, HeldTurn};
use crate::event::{Event, FunctionName};
use crate::fail_point::{self, Step};
use crate::gateway::Progress;
use crate::metrics::{Arrived, Came, Metrics};
use crate::order::Closed;
use crate::pairs::Pins;
use crate::recent::Traffic;
use crate::settings::CoreConfig;
use crate::settlement::{Settlement, Teller};
use crate::topics::TopicMap;

pub use self::kept::Kept;

/// What became of an event. There is no third answer.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answered well by every function, or dead-lettered, or dropped by policy: forget it.
    Done,
    /// Not handled: give it back to the broker, not sooner than `after`.
    Release {
        /// How long the broker should wait before it delivers the event again.
        after: Option<Duration>,
    },
}

/// A verdict with what belongs to it.
///
/// Keep it until the broker is known to have taken the settlement: while it lives, the outcomes of
/// the event's calls are remembered, so a redelivery calls nothing again (invariant 11).
#[must_use]
#[derive(Debug)]
pub struct Settled {
    /// What to tell the broker.
    pub verdict: Verdict,
    /// The function's answer, where the publisher waits for one. In a box, as the turn: few have
    /// either, and settled events are kept by the ten thousand.
    pub reply: Option<Box<Reply>>,
    /// Kept for its drop, which says that the event is settled.
    pub(crate) _pins: Pins,
    pub(crate) turn: Option<Box<HeldTurn>>,
}

impl Settled {
    /// What a lost or silent verdict reads as.
    pub(crate) fn silence() -> Self {
        let verdict = Verdict::Release { after: None };
        Self { verdict, reply: None, _pins: Pins::default(), turn: None }
    }

    /// Says that the broker has not taken the settlement and that it cannot be told again: the
    /// place has become void. Where the next event of the key waits for the settlement, it and
    /// those behind it are released un-called, since this one will be delivered before them.
    pub fn unsettled(mut self) {
        if let Some(turn) = self.turn.take() {
            turn.close();
        }
    }
}

/// A function's answer to a publisher that waits for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status the function answered with; 0 when there was no answer.
    pub status: u16,
    /// The answer's content type.
    pub content_type: Option<Bytes>,
    /// The answer's body, cut at 1 MiB.
    pub body: Bytes,
}

/// Hands out lanes and whatever else a source needs of the process around it. Cheap to clone.
#[derive(Clone)]
pub struct Intake(pub(crate) Arc<IntakeInner>);

pub(crate) struct IntakeInner {
    pub(crate) config: Arc<CoreConfig>,
    pub(crate) budget: Budget,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) topics: watch::Receiver<Arc<TopicMap>>,
    pub(crate) listings: watch::Receiver<Progress>,
    pub(crate) conditions: Conditions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traffic: Traffic,
    pub(crate) draining: CancellationToken,
    pub(crate) cut: CancellationToken,
}

/// What a lane is like.
#[derive(Debug, Clone)]
pub struct LaneOptions {
    /// What the status page and the log call it: `orders/3`.
    pub name: String,
    /// Settled strictly in order of arrival: nothing after a released place is ever settled.
    pub ordered: bool,
    /// How many events may be received and without a verdict.
    pub window: NonZeroUsize,
    /// Whether the broker may deliver the same event id again. If so, outcomes are remembered.
    pub redelivers: bool,
    /// What an event that no function is mapped to means: see [`Unmatched`].
    pub unmatched: Unmatched,
    /// A wait before the next attempt is stored in the broker, by releasing with that wait, where
    /// a single function is mapped. An event of several functions waits here: one of them may have
    /// answered well, or be about to, and must not be called by whoever gets the event next.
    pub stores_waits: bool,
    /// What the broker itself does with an event that keeps coming back.
    pub redrive: Option<Redrive>,
    /// The next event of a key is called only once this one's [`Settled`] has been dropped, that
    /// is, once the broker has taken the settlement.
    pub turn_until_settled: bool,
}

impl LaneOptions {
    /// A lane of `window` events, unordered, whose events the broker may deliver again; the rest
    /// is set by field.
    #[must_use]
    pub fn new(name: impl Into<String>, window: NonZeroUsize) -> Self {
        Self {
            name: name.into(),
            ordered: false,
            window,
            redelivers: true,
            unmatched: Unmatched::Topic,
            stores_waits: false,
            redrive: None,
            turn_until_settled: false,
        }
    }
}

/// A broker's own rule about events that keep coming back: after so many deliveries it moves them
/// to a dead-letter place of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The number of deliveries after which the broker moves an event. No function is called more
    /// often for one event, whatever the retry settings say.
    pub deliveries: u32,
    /// Where letters go that neither an annotation nor a setting has an address for. If storing
    /// fails there and the lane stores waits, the event is given back to the broker, whose rule
    /// then takes its course.
    pub address: Option<Address>,
}

/// What it means that nobody is mapped to an event's topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// The whole lane is one topic, which the policy `unmatched` decides about: with `hold` the
    /// event waits until a function is mapped.
    Topic,
    /// One message inside a wildcard subscription: it cannot be held apart from the others, so
    /// `hold` acknowledges it, counted.
    Wildcard,
    /// The lane has events of many topics, and its broker keeps each of them apart: with `hold` the
    /// event is given back, and comes again after this wait.
    Mixed(Duration),
}

impl Intake {
    /// Opens a lane. It ends when the [`Lane`] is dropped or draining begins.
    #[must_use]
    pub fn lane(&self, options: LaneOptions) -> Lane {
        let window = Arc::new(Semaphore::new(options.window.get()));
        let ended = self.0.draining.child_token();
        let bytes = self.0.budget.lane();
        let shared = Arc::new(LaneShared { options, ended, closed: Closed::default() });
        Lane { intake: self.clone(), shared, window, bytes }
    }

    /// Resolves when draining begins: nothing more is to be received.
    pub async fn draining(&self) {
        self.0.draining.cancelled().await;
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Resolves when the drain deadline has passed and running calls are being cut.
    pub async fn cut(&self) {
        self.0.cut.cancelled().await;
    }

    /// The topic map, live. Its first value is loaded before a source connects.
    #[must_use]
    pub fn topics(&self) -> watch::Receiver<Arc<TopicMap>> {
        self.0.topics.clone()
    }

    /// Changes with each successful listing, whether or not it brought something new: the moment
    /// to ask the broker again for what it refused or did not know.
    #[must_use]
    pub fn listings(&self) -> watch::Receiver<Progress> {
        self.0.listings.clone()
    }

    /// Whether the platform is believed up, live: while it is down, calls wait.
    #[must_use]
    pub fn platform(&self) -> watch::Receiver<bool> {
        self.0.dispatcher.platform.watch()
    }

    /// Whether `topic` is held for `function`: its events wait while one of them is tried, now and
    /// then.
    #[must_use]
    pub fn is_held(&self, topic: &Arc<str>, function: &FunctionName) -> bool {
        self.0.dispatcher.holds.is_held(topic, function)
    }

    /// Where a source reports what it sees, for `/readyz`, the status and the log.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.0.conditions
    }

    /// The metrics of the process. A source registers its own there.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// How many bytes of the payload budget are taken now, by all lanes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.0.budget.used()
    }

    /// The settings that all connectors share.
    #[must_use]
    pub fn config(&self) -> &Arc<CoreConfig> {
        &self.0.config
    }
}

/// What a broker settles together: a Kafka partition, an SQS queue, a JetStream consumer.
///
/// Dropping it ends it: events that wait are released un-called, calls that run go on, and their
/// answers are remembered but settle nothing (invariant 7).
pub struct Lane {
    intake: Intake,
    shared: Arc<LaneShared>,
    window: Arc<Semaphore>,
    bytes: LaneBytes,
}

/// The part of a lane that its events hold.
#[derive(Debug)]
pub(crate) struct LaneShared {
    pub(crate) options: LaneOptions,
    pub(crate) ended: CancellationToken,
    pub(crate) closed: Closed,
}

impl Lane {
    /// Waits for a place in the window and for `bytes` of the payload budget.
    ///
    /// `bytes` is the payload's length where it is known, else the most it can be. `None` once
    /// the lane has ended or draining has begun: receive no more.
    ///
    /// Cancel-safe: a dropped call has taken nothing.
    pub async fn slot(&self, bytes: usize) -> Option<Slot> {
        // Most often there is one. Whoever waits for a permit is served before this gets one.
        if let Some(slot) = self.try_slot(bytes) {
            return Some(slot);
        }
        let take = async {
            // The window first: a lane at its window must not sit on bytes that others need.
            let permit = Arc::clone(&self.window).acquire_owned().await.ok()?;
            let held = self.bytes.hold(bytes).await;
            Some(Slot { lane: Arc::clone(&self.shared), intake: self.intake.clone(), permit, held })
        };
        tokio::select! {
            biased;
            () = self.shared.ended.cancelled() => None,
            slot = take => slot,
        }
    }

    /// Takes a slot if one is free now.
    #[must_use]
    pub fn try_slot(&self, bytes: usize) -> Option<Slot> {
        if self.shared.ended.is_cancelled() {
            return None;
        }
        let permit = Arc::clone(&self.window).try_acquire_owned().ok()?;
        let held = self.bytes.try_hold(bytes)?;
        Some(Slot { lane: Arc::clone(&self.shared), intake: self.intake.clone(), permit, held })
    }

    /// Waits for one slot, then takes as many more as are free now, up to `at_most`: for sources
    /// whose clock starts at receipt, which must ask for exactly as many as they have slots for.
    ///
    /// Cancel-safe.
    pub async fn slots(&self, at_most: NonZeroUsize, bytes_each: usize) -> Option<Vec<Slot>> {
        let mut slots = vec![self.slot(bytes_each).await?];
        while slots.len() < at_most.get()
            && let Some(slot) = self.try_slot(bytes_each)
        {
            slots.push(slot);
        }
        Some(slots)
    }

    /// How many places of the window are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.window.available_permits()
    }

    /// Ends the lane: no more slots, and events that wait are released un-called. Calls that run
    /// go on; their verdicts still arrive while the lane's `Pending` lives.
    pub fn end(&self) {
        self.shared.ended.cancel();
        self.intake.0.dispatcher.leave();
    }

    /// Resolves when the lane has ended, by [`end`](Self::end) or because draining began.
    pub async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.end();
    }
}

/// The right to have one more event received and without a verdict. Dropping it gives it back.
pub struct Slot {
    lane: Arc<LaneShared>,
    intake: Intake,
    permit: OwnedSemaphorePermit,
    held: Held,
}

impl Slot {
    /// Hands the event in. The settlement resolves to its verdict, whatever happens.
    #[must_use = "an event whose settlement is dropped can never be settled"]
    pub fn submit(self, event: Event) -> Settlement {
        self.hand_in(event, None)
    }

    /// Hands in an event that the broker only lends. The lease can end before the verdict.
    #[must_use = "an event whose settlement is dropped can never be settled"]
    pub fn submit_lent(self, event: Event) -> (Settlement, Loan) {
        let revoked = CancellationToken::new();
        let dispatcher = Arc::clone(&self.intake.0.dispatcher);
        let settlement = self.hand_in(event, Some(revoked.clone()));
        (settlement, Loan { revoked, dispatcher })
    }

    fn hand_in(mut self, event: Event, revoked: Option<CancellationToken>) -> Settlement {
        self.held.fill(event.bytes());
        let (tell, settlement) = Settlement::owed();
        let now = Instant::now();
        let arrived = self.intake.0.metrics.received(now);
        self.intake.0.traffic.received(&event.topic, now);
        self.intake.0.dispatcher.accept(Work {
            event: Arc::new(event),
            lane: self.lane,
            revoked,
            place: Some(Occupied { _permit: self.permit, _held: self.held }),
            tell: Some(tell),
            arrived,
            metrics: Arc::clone(&self.intake.0.metrics),
        });
        fail_point::pass(Step::Submitted);
        settlement
    }
}

/// The right to have a lent event called. It lasts until it is [revoked](Self::revoke).
pub struct Loan {
    revoked: CancellationToken,
    dispatcher: Arc<Dispatcher>,
}

impl Loan {
    /// Says that the broker no longer lends the event: no call of it may begin any more. If it
    /// waits, it is released now, and with it whatever of the lane waits behind it for the same
    /// key. A call that runs goes on, and what it comes to is remembered.
    pub fn revoke(&self) {
        if !self.revoked.is_cancelled() {
            self.revoked.cancel();
            self.dispatcher.leave();
        }
    }
}

impl std::fmt::Debug for Loan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loan").field("revoked", &self.revoked.is_cancelled()).finish()
    }
}

/// A submitted event on its way through dispatch: the owing side of a [`Settlement`].
///
/// Dropped without [`settle`](Self::settle), by panic or because its lane ended while it waited,
/// it counts and reads as released, and its slot is free again.
pub(crate) struct Work {
    pub(crate) event: Arc<Event>,
    pub(crate) lane: Arc<LaneShared>,
    /// Cancelled when the broker no longer lends the event.
    revoked: Option<CancellationToken>,
    place: Option<Occupied>,
    tell: Option<Teller>,
    arrived: Arrived,
    metrics: Arc<Metrics>,
}

/// A used slot: its place in the window and its share of the byte budget.
struct Occupied {
    _permit: OwnedSemaphorePermit,
    _held: Held,
}

impl Work {
    /// Whether the broker no longer lends the event.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Whether no call may begin any more: the lane has ended, or the event's lease has.
    pub(crate) fn is_over(&self) -> bool {
        self.lane.ended.is_cancelled() || self.is_revoked()
    }

    /// Resolves when no call may begin any more.
    pub(crate) async fn over(&self) {
        match &self.revoked {
            None => self.lane.ended.cancelled().await,
            Some(revoked) => tokio::select! {
                () = self.lane.ended.cancelled() => {}
                () = revoked.cancelled() => {}
            },
        }
    }

    /// Gives the verdict and frees the slot.
    pub(crate) fn settle(mut self, came: Came, settled: Settled) {
        self.tell(came, settled);
    }

    fn tell(&mut self, came: Came, settled: Settled) {
        let Some(tell) = self.tell.take() else { return };
        // The slot and the counters first: whoever hears the verdict may look at either at once.
        self.place = None;
        self.metrics.came(came, self.arrived);
        // Nobody listens once the lane is gone; the outcome is in the pair memory (invariant 7).
        tell.tell(settled);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.tell(Came::Released, Settled::silence());
    }
}
