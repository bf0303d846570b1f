//! One session: a filter's messages, from PUBLISH to PUBACK.
//!
//! A message takes a slot, is submitted, and is acknowledged when its verdict is `Done`, strictly
//! in the order of receipt. MQTT knows no "not now": a message that is given back is one whose
//! connection is closed without an acknowledgement, and the broker sends it again at the next.
//!
//! Messages are taken from the first packet on, since a broker may replay before it answers the
//! SUBSCRIBE. How many of QoS 1 wait here for a slot is the broker's choice, and brokers choose
//! badly: one that restarts may send all it has. So what waits counts against `buffer_bytes` too;
//! what comes beyond that is forgotten, unacknowledged, and when the rest is settled the connection
//! is renewed and brings it again. A message of QoS 0 that finds no slot is dropped and counted.

mod shared;
mod subscription;
mod waiting;

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use connector_core::event::{Among, FunctionName};
use connector_core::fail_point::{self, Step};
use connector_core::lane::{Kept, Lane, LaneOptions, Settled, Slot, Unmatched, Verdict};
use connector_core::pending::{AnyOrder, InOrder, Pending};
use connector_core::source::SourceError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::shared::Shared;
use self::subscription::Subscription;
use self::waiting::Waiting;
use crate::client::{Packet, Place, Received};
use crate::link::Link;
use crate::message::{Reading, ReplyTo};
use crate::meters::Counted;
use crate::plan::Spec;
use crate::reply;

/// The waits between two attempts to subscribe a filter that the broker refuses.
pub(crate) const FIRST_REFUSED_WAIT: Duration = Duration::from_secs(1);
pub(crate) const LONGEST_REFUSED_WAIT: Duration = Duration::from_secs(60);

/// How long the broker may take to answer a SUBSCRIBE.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
pub(crate) const NO_ANSWER: &str = "the broker does not answer";

/// How often a line tells of messages of QoS 0 for which there was no room.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

/// How a session is told to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// Now: what waits stays at the broker.
    pub(crate) stop: CancellationToken,
    /// Nothing new is wanted any more, only what the broker has queued.
    pub(crate) leave: CancellationToken,
}

/// How a session ended without being broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to, or draining began.
    Asked,
    /// The broker closed the connection on the SUBSCRIBE: another way of refusing it.
    Refused,
    /// The broker had sent more than there is room for. The rest comes over a new connection.
    Overrun,
}

/// A connected session.
pub(crate) struct Session {
    shared: Shared,
    spec: Spec,
    reading: Reading,
    link: Link,
    lane: Lane,
    subscription: Subscription,
    waiting: Waiting,
    /// Something was forgotten, and with it everything that came later.
    overrun: bool,
    pending: Pending<Origin, InOrder>,
    /// QoS 0: nothing is acknowledged, but somebody may wait for the answer.
    loose: Pending<Origin, AnyOrder>,
    acks: AckOrder,
    /// Since when everything of QoS 1 that came is acknowledged.
    idle: watch::Sender<Option<Instant>>,
    /// When a loss was last told of.
    loss_told: Option<Instant>,
}

/// Where an event came from.
struct Origin {
    /// Nothing at QoS 0.
    place: Option<Place>,
    reply_to: Option<ReplyTo>,
}

/// How far the messages of QoS 1 are acknowledged, those that are not called among the others: all
/// are in the order of receipt.
#[derive(Debug, Default)]
struct AckOrder {
    /// How many messages have been submitted, and settled.
    submitted: u64,
    settled: u64,
    /// Those that are not called, each with the number of messages before it that are or will be
    /// submitted.
    passed_over: VecDeque<(u64, Place)>,
}

impl Session {
    /// A session over a fresh connection. `among`: the functions it is for.
    pub(crate) fn new(shared: Shared, spec: Spec, link: Link, among: Option<Among>) -> Self {
        let core = shared.intake.config();
        let window = NonZeroUsize::new(core.lane_window).unwrap_or(NonZeroUsize::MIN);
        let is_one_topic = spec.filter.is_exact() && shared.config.keeps_sessions();
        let lane = shared.intake.lane(LaneOptions {
            ordered: true,
            // No id outlives its connection.
            redelivers: false,
            unmatched: if is_one_topic { Unmatched::Topic } else { Unmatched::Wildcard },
            ..LaneOptions::new(spec.filter.text(), window)
        });
        let reading = Reading {
            trim_channel_key: shared.config.trim_channel_key,
            max_packet_bytes: shared.config.max_packet_bytes,
            among,
        };
        Self {
            shared,
            spec,
            reading,
            link,
            lane,
            subscription: Subscription::asked(FIRST_REFUSED_WAIT),
            waiting: Waiting::default(),
            overrun: false,
            pending: Pending::new(),
            loose: Pending::new(),
            acks: AckOrder::default(),
            idle: watch::Sender::new(None),
            loss_told: None,
        }
    }

    /// Since when everything of QoS 1 that came is acknowledged, live.
    pub(crate) fn idle(&self) -> watch::Receiver<Option<Instant>> {
        self.idle.subscribe()
    }

    /// Receives, calls and acknowledges until it is to stop, or until draining begins.
    ///
    /// # Errors
    /// The connection is lost, or an event was given back.
    pub(crate) async fn run(mut self, end: End) -> Result<Ended, SourceError> {
        match self.serve(&end).await {
            Ok(Ended::Overrun) => {
                self.link.close().await;
                Ok(Ended::Overrun)
            }
            Ok(ended) => self.wind_down().await.map(|()| ended),
            Err(error) if matches!(self.subscription, Subscription::Asked { .. }) => {
                self.shared.note(&self.spec, &Err(error.to_string()));
                Ok(Ended::Refused)
            }
            Err(error) => {
                // Where the connection still stands: what was acknowledged is to arrive.
                self.link.close().await;
                Err(error)
            }
        }
    }

    async fn serve(&mut self, end: &End) -> Result<Ended, SourceError> {
        if end.leave.is_cancelled() {
            self.take_back().await;
        } else if self.shared.is_subscribed(&self.spec, &self.link) {
            self.shared.intake.conditions().well(&self.spec.subject());
            self.subscription =
                Subscription::Granted { _counted: Counted::new(&self.shared.meters.sessions) };
        } else {
            self.subscribe(FIRST_REFUSED_WAIT).await?;
        }
        loop {
            if self.overrun && self.waiting.is_empty() && self.pending.is_empty() {
                return Ok(Ended::Overrun);
            }
            self.note_idle();
            let is_taken_back = matches!(self.subscription, Subscription::TakenBack);
            let is_due = !self.is_full() && !self.waiting.is_empty();
            let due = match self.subscription {
                Subscription::Granted { .. } | Subscription::TakenBack => None,
                Subscription::Asked { until, .. } => Some(until),
                Subscription::Refused { again, .. } => Some(again),
            };
            // Settling comes before receiving: it makes room at the broker.
            tokio::select! {
                biased;
                () = end.stop.cancelled() => return Ok(Ended::Asked),
                () = self.shared.intake.draining() => return Ok(Ended::Asked),
                () = end.leave.cancelled(), if !is_taken_back => self.take_back().await,
                (origin, settled) = self.pending.next() => self.settle(origin, settled).await?,
                (origin, settled) = self.loose.next() => self.settle_loose(origin, settled).await?,
                slot = self.waiting.slot(&self.lane), if is_due => {
                    let Some(slot) = slot else { return Ok(Ended::Asked) };
                    if let Some((topic, message)) = self.waiting.pop() {
                        self.submit(slot, &topic, message);
                    }
                }
                packet = self.link.next() => self.take(packet?).await?,
                () = until(due) => match self.subscription {
                    Subscription::Granted { .. } | Subscription::TakenBack => {}
                    Subscription::Asked { .. } => self.answered(&Err(NO_ANSWER.to_owned())),
                    Subscription::Refused { wait, .. } => self.subscribe(wait).await?,
                },
            }
        }
    }

    async fn subscribe(&mut self, wait: Duration) -> Result<(), SourceError> {
        self.subscription = Subscription::asked(wait);
        // If the connection has ended, its last words say why.
        drop(self.link.client.subscribe(&self.spec.filter, self.shared.config.qos).await);
        Ok(())
    }

    /// Has the broker send nothing new. What it has queued it may forget then by the protocol's
    /// words; those that are known send it.
    async fn take_back(&mut self) {
        self.subscription = Subscription::TakenBack;
        self.shared.config.subscribed.remove(&self.spec.client_id);
        self.shared.intake.conditions().well(&self.spec.subject());
        info!(
            filter = %self.spec.filter, client_id = self.spec.client_id,
            "unsubscribed: what the broker has queued is called, and nothing new"
        );
        // If the connection has ended, its last words say why.
        drop(self.link.client.unsubscribe(&self.spec.filter).await);
    }

    fn note_idle(&self) {
        let is_idle = self.waiting.is_empty() && self.pending.is_empty();
        self.idle.send_if_modified(|since| {
            let changes = since.is_some() != is_idle;
            if changes {
                *since = is_idle.then(Instant::now);
            }
            changes
        });
    }

    async fn take(&mut self, packet: Packet) -> Result<(), SourceError> {
        match packet {
            Packet::Publish(message) => self.receive(message).await,
            Packet::SubAck(answer) => {
                self.answered(&answer);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, answer: &Result<u8, String>) {
        self.shared.note(&self.spec, answer);
        let Subscription::Asked { wait, .. } = self.subscription else { return };
        self.subscription = match answer {
            Ok(qos) => {
                info!(filter = %self.spec.filter, client_id = self.spec.client_id, qos, "subscribed");
                Subscription::Granted { _counted: Counted::new(&self.shared.meters.sessions) }
            }
            Err(_) => Subscription::Refused {
                again: Instant::now() + wait,
                wait: (wait * 2).min(LONGEST_REFUSED_WAIT),
                _counted: Counted::new(&self.shared.meters.refused),
            },
        };
    }

    async fn receive(&mut self, message: Received) -> Result<(), SourceError> {
        fail_point::pass(Step::Received);
        // Also what is passed over: the broker is still sending.
        self.idle.send_replace(None);
        let kept = match message.place {
            Some(_) => self.keep(&message),
            None => None,
        };
        if message.place.is_some() && kept.is_none() {
            return Ok(());
        }
        let Some(topic) = std::str::from_utf8(&message.topic).ok().filter(|it| !it.is_empty())
        else {
            let why = "the broker sent a message without a valid topic";
            return Err(SourceError::Broken(why.to_owned()));
        };
        if self.readers_of_letters(topic).is_some_and(|readers| readers.is_empty()) {
            self.shared.meters.own_letters.inc();
            return match message.place {
                Some(place) => self.pass_over(place).await,
                None => Ok(()),
            };
        }
        let topic: Arc<str> = topic.into();
        if message.place.is_some() {
            self.waiting.push(topic, message, kept);
            return Ok(());
        }
        match self.lane.try_slot(message.payload.len()) {
            Some(slot) => self.submit(slot, &topic, message),
            None => self.lose(),
        }
        Ok(())
    }

    /// Whom a message is for that may be a dead letter of our own and came by a wildcard: of those
    /// that the session is for, who asks for the topic by its name.
    fn readers_of_letters(&self, topic: &str) -> Option<BTreeSet<FunctionName>> {
        if self.spec.filter.is_exact() {
            return None;
        }
        let topics = self.shared.letter_topics.borrow();
        let is_asker = |function: &&FunctionName| {
            self.reading.among.as_ref().is_none_or(|among| among.holds(function))
        };
        Some(topics.get(topic)?.iter().filter(is_asker).cloned().collect())
    }

    /// Whether as many messages are unacknowledged as a well-behaved broker would send: so many are
    /// repeated after a break, also those that were answered behind one that still waits.
    fn is_full(&self) -> bool {
        let unsettled = self.acks.submitted - self.acks.settled;
        unsettled >= self.shared.config.receive_maximum.into()
    }

    /// Room for a message that must wait. `None`: it must be forgotten, and all that come later.
    fn keep(&mut self, message: &Received) -> Option<Kept> {
        if self.overrun {
            return None;
        }
        let kept = self.waiting.keep(message, &self.lane, &self.shared);
        if kept.is_none() {
            self.overrun = true;
            warn!(
                filter = %self.spec.filter, waiting = self.waiting.len(),
                "the broker sends more than there is room for: the rest is taken over a new connection"
            );
        }
        kept
    }

    fn submit(&mut self, slot: Slot, topic: &str, message: Received) {
        let place = message.place;
        let (mut event, reply_to) = self.reading.event(topic, message);
        if let Some(readers) = self.readers_of_letters(topic) {
            event.among = Some(Among::new(move |function| readers.contains(function)));
        }
        let settlement = slot.submit(event);
        let origin = Origin { place, reply_to };
        if place.is_some() {
            self.acks.submitted += 1;
            self.pending.track(origin, settlement);
        } else {
            self.loose.track(origin, settlement);
        }
    }

    /// A message of QoS 0 that finds no room.
    fn lose(&mut self) {
        self.shared.meters.lost_full.inc();
        if self.loss_told.is_none_or(|told| told.elapsed() >= LOSS_INTERVAL) {
            self.loss_told = Some(Instant::now());
            warn!(
                filter = %self.spec.filter, lost = self.shared.meters.lost_full.get(),
                "messages of QoS 0 are dropped: the functions do not keep up"
            );
        }
    }

    /// Has a message acknowledged uncalled, once everything received before it is.
    async fn pass_over(&mut self, place: Place) -> Result<(), SourceError> {
        let before = self.acks.submitted + self.waiting.len() as u64;
        self.acks.passed_over.push_back((before, place));
        self.acknowledge_passed_over().await
    }

    async fn acknowledge_passed_over(&mut self) -> Result<(), SourceError> {
        while let Some(&(before, place)) = self.acks.passed_over.front()
            && before <= self.acks.settled
        {
            self.acks.passed_over.pop_front();
            self.acknowledge(place).await?;
        }
        Ok(())
    }

    async fn acknowledge(&self, place: Place) -> Result<(), SourceError> {
        let gone = |_| SourceError::Unreachable("the connection ended before a PUBACK".to_owned());
        self.link.client.acknowledge(place).await.map_err(gone)
    }

    /// Acts on the verdict of the oldest unsettled message.
    async fn settle(&mut self, origin: Origin, settled: Settled) -> Result<(), SourceError> {
        if settled.verdict != Verdict::Done {
            let why = "an event was given back: the broker sends it again over a new connection";
            return Err(SourceError::Broken(why.to_owned()));
        }
        // In this order and over one connection: whoever sees the PUBACK has the answer.
        self.reply(&origin, &settled).await?;
        self.acks.settled += 1;
        if let Some(place) = origin.place {
            self.acknowledge(place).await?;
        }
        self.acknowledge_passed_over().await
    }

    async fn settle_loose(&mut self, origin: Origin, settled: Settled) -> Result<(), SourceError> {
        if settled.verdict != Verdict::Done {
            self.shared.meters.lost_released.inc();
            return Ok(());
        }
        self.reply(&origin, &settled).await
    }

    async fn reply(&self, origin: &Origin, settled: &Settled) -> Result<(), SourceError> {
        let (Some(to), Some(answer)) = (&origin.reply_to, &settled.reply) else { return Ok(()) };
        self.shared.meters.replies.inc();
        let gone = |_| SourceError::Unreachable("the connection ended before an answer".to_owned());
        reply::publish(&self.link, to, answer).await.map_err(gone)
    }

    /// Ends in order: what waits is given back, what runs is awaited and acknowledged as far as
    /// nothing before it was given back.
    async fn wind_down(mut self) -> Result<(), SourceError> {
        self.lane.end();
        self.waiting.clear();
        loop {
            let is_settled = self.pending.halted() || self.pending.is_empty();
            if is_settled && self.loose.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                (origin, settled) = self.pending.next() => {
                    // Nothing behind one that was given back is yielded.
                    if settled.verdict == Verdict::Done {
                        self.settle(origin, settled).await?;
                    }
                }
                (origin, settled) = self.loose.next() => self.settle_loose(origin, settled).await?,
                packet = self.link.next() => {
                    // What still comes is not acknowledged; of QoS 0 it is lost.
                    if let Packet::Publish(Received { place: None, .. }) = packet? {
                        self.shared.meters.lost_released.inc();
                    }
                }
            }
        }
        self.link.close().await;
        Ok(())
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
