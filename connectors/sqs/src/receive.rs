//! Receiving: slots first, then a long poll for exactly as many messages.
//!
//! A message's lease runs from the moment it is received, so none is asked for that there is no
//! room for. One receive waits at an idle queue; while answers come back full, more are added, and
//! when one comes back empty they go again: each costs money.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use connector_core::fail_point::{self, Step};
use connector_core::lane::Slot;
use connector_core::{Intake, Lane};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::consume::Serving;
use crate::lease::Lease;
use crate::settle::Arrival;
use crate::trouble::{Kind, Trouble};

/// How long to collect more slots before a receive while there is a backlog: slots become free one
/// by one, and a request for one message costs as much as one for ten.
const COLLECT: Duration = Duration::from_millis(10);
/// The most receives at one queue.
const MOST: usize = 16;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Receives from one queue.
pub(crate) struct Receivers {
    pub(crate) serving: Arc<Serving>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) arrivals: mpsc::UnboundedSender<Arrival>,
    /// Whether too many messages wait for their delete: see [`Settler`](crate::settle::Settler).
    pub(crate) stuck: watch::Receiver<bool>,
}

/// What one receive came to.
enum Polled {
    LaneEnded,
    Answered { asked: usize, got: usize },
    Failed(Trouble),
}

impl Receivers {
    /// Receives until the lane has ended. Before that it ends only when the queue is gone.
    ///
    /// A receive that runs when the lane ends is waited for, because messages of an answer that
    /// nobody hears would stay hidden until their lease ends; but not beyond the drain deadline.
    pub(crate) async fn run(self) -> Option<Trouble> {
        let ended = self.receive().await;
        self.serving.meters.receivers.set(0);
        ended
    }

    async fn receive(&self) -> Option<Trouble> {
        let window = self.serving.window.get();
        let most = window.div_ceil(self.serving.batch.get()).clamp(1, MOST);
        let mut polls: FuturesUnordered<BoxFuture<'_, Polled>> = FuturesUnordered::new();
        polls.push(Box::pin(self.poll(Duration::ZERO, false)));
        let too_late = async {
            self.lane.ended().await;
            sleep(last_receive(&self.serving.intake)).await;
        };
        tokio::pin!(too_late);
        let mut failures = 0;
        loop {
            self.serving.meters.receivers.set(i64::try_from(polls.len()).unwrap_or(i64::MAX));
            let polled = tokio::select! {
                biased;
                Some(polled) = polls.next() => polled,
                () = &mut too_late => return None,
            };
            let again = |pause, hungry| polls.push(Box::pin(self.poll(pause, hungry)));
            match polled {
                Polled::LaneEnded if polls.is_empty() => return None,
                Polled::LaneEnded => {}
                Polled::Answered { asked, got } => {
                    failures = 0;
                    self.serving.report.well();
                    self.serving.meters.receives.inc();
                    if got > 0 {
                        again(Duration::ZERO, got == asked);
                        if got == asked && polls.len() < most {
                            polls.push(Box::pin(self.poll(Duration::ZERO, true)));
                        }
                    } else if polls.is_empty() {
                        again(Duration::ZERO, false);
                    }
                }
                Polled::Failed(trouble) if trouble.kind == Kind::UnknownQueue => {
                    return Some(trouble);
                }
                Polled::Failed(trouble) => {
                    self.serving.report.trouble(&trouble);
                    // The last one carries on alone; only its failures count, or an outage that
                    // ends sixteen receives at once would look like sixteen.
                    if polls.is_empty() {
                        again(pause(failures), false);
                        failures += 1;
                    }
                }
            }
        }
    }

    /// One receive, after a pause. `hungry`: the one before came back full.
    async fn poll(&self, pause: Duration, hungry: bool) -> Polled {
        let slots = async {
            sleep(pause).await;
            loop {
                self.receivable().await;
                let slots = self.lane.slots(self.serving.batch, self.serving.largest).await?;
                let slots = if hungry { self.collect(slots).await } else { slots };
                // Getting the slots may have taken long.
                if self.is_receivable() {
                    return Some(slots);
                }
            }
        };
        let slots = tokio::select! {
            biased;
            () = self.lane.ended() => None,
            slots = slots => slots,
        };
        let Some(slots) = slots else { return Polled::LaneEnded };
        let asked = slots.len();
        let Serving { api, lease, wait, .. } = &*self.serving;
        match api.receive(asked, *lease, *wait).await {
            Err(trouble) => Polled::Failed(trouble),
            Ok(messages) => {
                let received = Instant::now();
                let got = messages.len();
                for (message, slot) in messages.into_iter().zip(slots) {
                    self.submit(message, slot, received);
                }
                Polled::Answered { asked, got }
            }
        }
    }

    async fn collect(&self, mut slots: Vec<Slot>) -> Vec<Slot> {
        let missing = self.serving.batch.get() - slots.len();
        if missing > 0 {
            sleep(COLLECT).await;
        }
        for _ in 0..missing {
            let Some(slot) = self.lane.try_slot(self.serving.largest) else { break };
            slots.push(slot);
        }
        slots
    }

    /// Not async: nothing can come between a message and its books.
    fn submit(&self, message: aws_sdk_sqs::types::Message, slot: Slot, received: Instant) {
        fail_point::pass(Step::Received);
        let Some(message) = self.serving.origin.take(message) else {
            tracing::warn!(queue = self.serving.name(), "a message without an id was left alone");
            return;
        };
        let event = message.event.id.clone();
        if let Some(types) = message.types {
            self.serving.remember_types(&event, types);
        }
        let sent = message.event.occurred_at;
        let (settlement, loan) = slot.submit_lent(message.event);
        let lease = Lease::new(received, self.serving.lease);
        let (id, handle) = (message.id, message.handle);
        // The settler outlives the receivers. If it has failed, the message comes back by itself.
        drop(self.arrivals.send(Arrival { id, handle, event, sent, lease, loan, settlement }));
    }

    /// Waits until new messages may be received: somebody is mapped to the queue, the platform is
    /// up, and what was done can be deleted.
    async fn receivable(&self) {
        let intake = &self.serving.intake;
        while !self.is_receivable() {
            // The senders live as long as the process and the settler.
            drop(intake.platform().wait_for(|up| *up).await);
            drop(self.stuck.clone().wait_for(|stuck| !stuck).await);
            if !self.serving.holds() {
                continue;
            }
            drop(intake.topics().wait_for(|map| self.serving.is_mapped(map)).await);
        }
    }

    fn is_receivable(&self) -> bool {
        let held =
            self.serving.holds() && !self.serving.is_mapped(&self.serving.intake.topics().borrow());
        !held && !*self.stuck.borrow() && *self.serving.intake.platform().borrow()
    }
}

/// How long a receive may still run when the lane has ended. None waits longer at the queue: the
/// queue would give a message to a receive that was broken off, and keep it hidden from others.
pub(crate) fn last_receive(intake: &Intake) -> Duration {
    let drain = intake.config().drain_timeout;
    drain.saturating_sub(Duration::from_secs(1)).max(drain / 2)
}

/// The wait after so many failures in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE * 2_u32.pow(failures.min(10));
    // Spread out: replicas that lost the same service must not return in step.
    pause.min(LONGEST_PAUSE).mul_f64(rand::random_range(0.5..1.0))
}

/// At least one.
pub(crate) fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}
