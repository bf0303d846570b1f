//! The policy: from a submitted event to its verdict.
//!
//! An event waits for its key's turn, is matched, and is carried to every mapped function at the
//! same time ([`carry`]); the outcomes fold into one verdict. Whatever waits holds its slot but no
//! call permit, and gives up at once when its lane ends.
//!
//! This file decides what becomes of an event; `carry` what becomes of one function's call.

mod carry;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use crate::conditions::Conditions;
use crate::dead_letter::{Address, Letter, Letters};
use crate::event::FunctionName;
use crate::functions::Functions;
use crate::gateway::Progress;
use crate::headers::HeaderRules;
use crate::hold::Holds;
use crate::invoke::Invoker;
use crate::lane::{LaneShared, Reply, Settled, Unmatched, Verdict, Work};
use crate::metrics::{Came, Metrics};
use crate::order::{Entry, Keys, Turn};
use crate::pairs::{Outcome, PairMemory, Pins};
use crate::permits::Running;
use crate::platform::Platform;
use crate::settings::{CoreConfig, UnmatchedPolicy};
use crate::topics::{Mapping, TopicMap};

use self::carry::{Carried, Carrier};

/// Everything an event meets on its way. One for the process.
pub struct Dispatcher {
    pub(crate) config: Arc<CoreConfig>,
    pub(crate) topics: watch::Receiver<Arc<TopicMap>>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) pairs: Arc<PairMemory>,
    pub(crate) holds: Arc<Holds>,
    pub(crate) platform: Platform,
    pub(crate) functions: Functions,
    pub(crate) running: Running,
    pub(crate) invoker: Invoker,
    pub(crate) headers: HeaderRules,
    pub(crate) letters: Letters,
    pub(crate) conditions: Conditions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
    /// Running calls are cut: the drain deadline has passed.
    pub(crate) cut: CancellationToken,
    pub(crate) listings: watch::Receiver<Progress>,
}

/// What an event came to.
struct Judgement {
    verdict: Verdict,
    came: Came,
    reply: Option<Box<Reply>>,
    pins: Pins,
}

impl Judgement {
    fn release(after: Option<Duration>) -> Self {
        let verdict = Verdict::Release { after };
        Self { verdict, came: Came::Released, reply: None, pins: Pins::default() }
    }

    fn done(came: Came) -> Self {
        Self { verdict: Verdict::Done, came, reply: None, pins: Pins::default() }
    }
}

/// A key's turn that lasts until its event is settled with the broker. Dropping it lets the next
/// event of the key go.
pub(crate) struct HeldTurn {
    dispatcher: Arc<Dispatcher>,
    lane: Arc<LaneShared>,
    turn: Option<Turn>,
}

impl HeldTurn {
    /// Releases what waits behind it in its lane, un-called, and ends.
    pub(crate) fn close(self) {
        if let Some(turn) = &self.turn {
            turn.close(&self.lane);
        }
    }
}

impl std::fmt::Debug for HeldTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldTurn").finish_non_exhaustive()
    }
}

impl Drop for HeldTurn {
    fn drop(&mut self) {
        if let Some((work, turn)) = self.turn.take().and_then(Turn::next) {
            self.dispatcher.begin(work, Some(turn));
        }
    }
}

impl Dispatcher {
    /// Takes an event in. Its verdict is told through the work itself.
    pub(crate) fn accept(self: &Arc<Self>, work: Work) {
        match work.event.order_key {
            Some(key) => match self.keys.enter(key, work) {
                Entry::Now(work, turn) => self.begin(work, Some(turn)),
                Entry::Taken => {}
            },
            None if work.is_over() => drop(work),
            None => self.begin(work, None),
        }
    }

    fn begin(self: &Arc<Self>, work: Work, turn: Option<Turn>) {
        self.tasks.spawn(Arc::clone(self).carry_out(work, turn));
    }

    /// Takes an event to its verdict, and then those that wait behind it for their key, one after
    /// the other: a task for each would be the largest thing that is allocated for an event.
    async fn carry_out(self: Arc<Self>, work: Work, turn: Option<Turn>) {
        let mut next = Some((work, turn));
        while let Some((work, turn)) = next {
            let judgement = self.judge(&work).await;
            let following = self.finish(work, turn, judgement);
            next = following.map(|(work, turn)| (work, Some(turn)));
            // Events that are judged without a wait must not keep the others from running.
            tokio::task::consume_budget().await;
        }
    }

    /// Gives the verdict. Gives the next event of the key, if it is its turn now.
    fn finish(
        self: &Arc<Self>,
        work: Work,
        turn: Option<Turn>,
        judgement: Judgement,
    ) -> Option<(Work, Turn)> {
        let released = matches!(judgement.verdict, Verdict::Release { .. });
        if released && let Some(turn) = &turn {
            turn.close(&work.lane);
        }
        let Judgement { verdict, came, reply, pins } = judgement;
        let mut settled = Settled { verdict, reply, _pins: pins, turn: None };
        if work.lane.options.turn_until_settled && !released {
            let (dispatcher, lane) = (Arc::clone(self), Arc::clone(&work.lane));
            settled.turn =
                turn.map(|turn| Box::new(HeldTurn { dispatcher, lane, turn: Some(turn) }));
            work.settle(came, settled);
            return None;
        }
        work.settle(came, settled);
        turn.and_then(Turn::next)
    }

    /// Releases whatever waits for its turn in lanes that have ended or on leases that have.
    pub(crate) fn leave(&self) {
        self.keys.leave();
    }

    async fn judge(&self, work: &Work) -> Judgement {
        loop {
            let functions = self.functions_of(work);
            if functions.is_empty() {
                match Box::pin(self.unmatched(work)).await {
                    Some(judgement) => return judgement,
                    None => continue,
                }
            }
            let carrier = Carrier::new(self, work, functions.len() == 1);
            let carried = match &*functions {
                [one] => vec![carrier.carry(one).await],
                many => Box::pin(join_all(many.iter().map(|one| carrier.carry(one)))).await,
            };
            if let Some(judgement) = fold(carried) {
                return judgement;
            }
            // Every function was unmapped while the event waited.
            if self.goes_back(work) && self.functions_of(work).is_empty() {
                return Judgement::release(None);
            }
        }
    }

    /// Whether an event that has lost its functions is given back rather than judged as unmatched,
    /// which inside a wildcard would acknowledge it: a broker that keeps each event apart keeps it
    /// for their return, unless others have it delivered once more.
    fn goes_back(&self, work: &Work) -> bool {
        let options = &work.lane.options;
        self.config.unmatched == UnmatchedPolicy::Hold
            && options.unmatched == Unmatched::Wildcard
            && options.stores_waits
            && !work.event.last_delivery
    }

    fn functions_of(&self, work: &Work) -> Arc<[Arc<Mapping>]> {
        let functions = self.topics.borrow().functions(&work.event.topic);
        let (only, among) = (&work.event.only, &work.event.among);
        if only.is_none() && among.is_none() {
            return functions;
        }
        let is_meant = |function| {
            only.as_ref().is_none_or(|only| only == function)
                && among.as_ref().is_none_or(|among| among.holds(function))
        };
        functions.iter().filter(|m| is_meant(&m.function)).cloned().collect()
    }

    /// Judges an event that no function is mapped to. `None`: look at the map again.
    async fn unmatched(&self, work: &Work) -> Option<Judgement> {
        let mut topics = self.topics.clone();
        topics.mark_unchanged();
        if !self.functions_of(work).is_empty() {
            return None;
        }
        let ended = work.over();
        let hold = self.config.unmatched == UnmatchedPolicy::Hold;
        // A tick is for the function whose schedule made it: without the function there is none.
        let here = hold && work.lane.options.unmatched == Unmatched::Topic;
        let complete_at = self.complete_at();
        if here || complete_at.is_none_or(|at| at > Instant::now()) {
            let complete = async {
                match complete_at {
                    Some(at) if !here => tokio::time::sleep_until(at).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended => return Some(Judgement::release(None)),
                changed = topics.changed() => {
                    // The sender lives as long as the process.
                    drop(changed);
                    return None;
                }
                () = complete => return None,
            }
        }
        if hold && let Unmatched::Mixed(again) = work.lane.options.unmatched {
            return Some(Judgement::release(Some(again)));
        }
        if self.config.unmatched != UnmatchedPolicy::DeadLetter {
            debug!(topic = &*work.event.topic, event.id = %work.event.id, "no function is mapped");
            return Some(Judgement::done(Came::Unmatched));
        }
        Some(self.bury_unmatched(work).await)
    }

    /// When the map is believed complete: `unmap_after` past the first listing. Until then an
    /// event without functions waits, because after a reboot functions reappear one by one.
    fn complete_at(&self) -> Option<Instant> {
        self.listings.borrow().first.map(|first| first + self.config.unmap_after)
    }

    async fn bury_unmatched(&self, work: &Work) -> Judgement {
        let now = SystemTime::now();
        let letter = Letter {
            event: Arc::clone(&work.event),
            function: None,
            reason: "unmatched",
            status: None,
            error: "no function is mapped to the topic".to_owned(),
            attempts: 0,
            first: now,
            last: now,
            brief: false,
        };
        match &self.config.dead_letter {
            Address::Drop | Address::Hold => {
                error!(topic = &*work.event.topic, event.id = %work.event.id, "dropped: unmatched");
                self.metrics.dropped("-", "unmatched");
                Judgement::done(Came::Dropped)
            }
            address => match self.letters.store(self, work, address, &letter).await {
                true => Judgement::done(Came::DeadLettered),
                false => Judgement::release(None),
            },
        }
    }

    /// The mapping of `function` to the event's topic as it is now.
    pub(crate) fn mapped(&self, topic: &str, function: &FunctionName) -> Option<Arc<Mapping>> {
        self.topics.borrow().functions(topic).iter().find(|m| m.function == *function).cloned()
    }
}

/// Folds what the functions came to into one judgement. `None`: none of them is mapped any more.
fn fold(carried: Vec<Carried>) -> Option<Judgement> {
    let mut worst: Option<Outcome> = None;
    let mut repeated = true;
    let mut released: Option<Option<Duration>> = None;
    let mut reply = None;
    let mut pins = Pins::default();
    for one in carried {
        match one {
            Carried::Unmapped => {}
            Carried::Released { after } => released = released.max(Some(after)),
            Carried::Ended { outcome, again, reply: answer, pin } => {
                worst = worst.max(Some(outcome));
                repeated &= again;
                reply = reply.or(answer);
                if let Some(pin) = pin {
                    pins.push(pin);
                }
            }
        }
    }
    if let Some(after) = released {
        let verdict = Verdict::Release { after };
        return Some(Judgement { verdict, came: Came::Released, reply, pins });
    }
    let came = match worst? {
        _ if repeated => Came::Repeated,
        Outcome::Delivered => Came::Delivered,
        Outcome::DeadLettered => Came::DeadLettered,
        Outcome::Dropped => Came::Dropped,
    };
    Some(Judgement { verdict: Verdict::Done, came, reply, pins })
}
