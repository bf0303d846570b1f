//! From schedules to calls: the loop, and what becomes of each tick.
//!
//! A tick is called when it falls due, unless one of these holds:
//!
//! - **It is late**: more than [`ON_TIME`] past its instant, because the host slept, its clock was
//!   set, or the platform was down. The function's [`Missed`] decides.
//! - **An earlier one has not ended.** The function's [`Overlap`] decides. Even with `allow` only
//!   calls that run stay beside each other: a tick that still waits (for a permit, or for a retry)
//!   when the next one falls due is missed, so that ticks never pile up and go off in a heap.
//! - **The platform is down.** The last tick of each function is kept until it is up, and is then
//!   on time or late like any other.
//! - **The function is held**, as one that is set up wrongly is: the core calls one tick of it now
//!   and then, the others are missed.
//!
//! Where several replicas take turns, only what [`lease`](crate::lease) says is ours gets that far.
//!
//! The process around it is behind [`Outlet`], and the clock behind [`Clock`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use connector_core::topics::TopicMap;
use connector_core::{FunctionName, Verdict};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::lease::turn::Turn;
use crate::metrics::CronMetrics;
use crate::plan::{Missed, Overlap, Plan, SCHEDULE};
use crate::timetable::{Change, Due, Tick, Timetable};

/// A tick that is called within this of its instant is on time.
pub const ON_TIME: SignedDuration = SignedDuration::from_secs(60);

/// The wall clock is read at least this often: nobody tells when it is set or the host wakes up.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How many ticks of one function wait for the one before them, with [`Overlap::Queue`].
const QUEUED: usize = 3;

/// The topic of every tick.
pub const TOPIC: &str = "cron-function";

/// Where ticks go to be called.
pub trait Outlet: Send + 'static {
    /// A tick on its way. Dropping it gives the tick up if it only waits; a running call goes on.
    type Flight: Send;

    /// Hands a tick over. The future resolves to its verdict, whatever happens. `None`: nothing is
    /// taken any more.
    fn submit(
        &self,
        tick: &Tick,
        plan: &Plan,
        lateness: Duration,
    ) -> Option<(Self::Flight, BoxFuture<'static, Verdict>)>;

    /// Whether the function is held: its ticks wait while one of them is tried, now and then.
    fn is_held(&self, function: &FunctionName) -> bool;

    /// What to tell an operator about schedules that are not as they should be; empty if all are.
    fn report(&self, trouble: &str);
}

/// What the loop watches.
pub struct Watched {
    /// The topic map.
    pub topics: watch::Receiver<Arc<TopicMap>>,
    /// Whether the platform is believed up.
    pub platform: watch::Receiver<bool>,
}

/// Calls functions on their schedules.
pub struct Ticker<O: Outlet> {
    outlet: O,
    clock: Arc<dyn Clock>,
    metrics: Arc<CronMetrics>,
    watched: Watched,
    timetable: Timetable,
    turn: Turn,
    plans: BTreeMap<FunctionName, Plan>,
    desks: BTreeMap<FunctionName, Desk<O::Flight>>,
    ends: FuturesUnordered<BoxFuture<'static, End>>,
}

/// What is open for one function.
struct Desk<F> {
    flying: Vec<Flying<F>>,
    /// Waiting for those that fly, with [`Overlap::Queue`].
    queued: VecDeque<Tick>,
    /// Waiting for the platform.
    kept: Option<Tick>,
    /// Its last tick was missed, and that has been logged.
    missing: bool,
}

struct Flying<F> {
    tick: Tick,
    /// `None` once it has been given up or taken back.
    flight: Option<F>,
    /// The platform went down: if it comes back un-called it is still to be called.
    taken_back: bool,
}

/// A tick has its verdict.
struct End {
    function: FunctionName,
    number: u64,
    verdict: Verdict,
}

/// Why a tick was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Late,
    Overlap,
    Held,
    Platform,
    GivenUp,
    Removed,
    Draining,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Late => "it could not be called in time",
            Self::Overlap => "the one before it has not ended",
            Self::Held => "the function is held",
            Self::Platform => "the platform was down until the next one",
            Self::GivenUp => "it still waited, or its call was cut",
            Self::Removed => "its schedule was removed",
            Self::Draining => "the process is stopping",
        })
    }
}

impl<O: Outlet> Ticker<O> {
    /// One without schedules; they come with the first look at the topic map.
    pub(crate) fn new(
        outlet: O,
        clock: Arc<dyn Clock>,
        timetable: Timetable,
        metrics: Arc<CronMetrics>,
        watched: Watched,
    ) -> Self {
        Self {
            outlet,
            clock,
            metrics,
            watched,
            timetable,
            turn: Turn::Alone,
            plans: BTreeMap::new(),
            desks: BTreeMap::new(),
            ends: FuturesUnordered::new(),
        }
    }

    /// The same where several replicas take turns.
    pub(crate) fn in_turn(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// Calls functions until `draining` resolves, then waits for what is on its way.
    pub async fn run(mut self, draining: impl Future<Output = ()>) {
        tokio::pin!(draining);
        self.watched.topics.mark_changed();
        loop {
            let now = self.clock.now();
            let silent = self.timetable.silent_count();
            let due = self.timetable.advance(now);
            if self.timetable.silent_count() != silent {
                self.report();
            }
            for Due { tick, passed_over } in self.turn.take(due).await {
                if passed_over > 0 {
                    self.missed(&tick, Why::Late, passed_over);
                }
                self.due(tick, now);
            }
            let sleep = tokio::time::sleep(self.until_nearest(now));
            tokio::select! {
                biased;
                () = &mut draining => break,
                Ok(()) = self.watched.platform.changed() => self.platform(),
                Ok(()) = self.watched.topics.changed() => self.follow(),
                Some(end) = self.ends.next() => self.ended(end),
                () = self.turn.changed() => {}
                () = sleep => {}
            }
        }
        self.drain().await;
    }

    /// `read`: what the clock said when the timetable was asked.
    fn until_nearest(&self, read: Timestamp) -> Duration {
        let Some(nearest) = self.timetable.nearest() else { return LONGEST_SLEEP };
        // If it was set back since, nothing is due for longer, as far as the timetable knows: it would be asked too late.
        let left = nearest.duration_since(self.clock.now().max(read));
        Duration::try_from(left).unwrap_or_default().min(LONGEST_SLEEP)
    }

    /// Follows the topic map.
    fn follow(&mut self) {
        let map = Arc::clone(&self.watched.topics.borrow_and_update());
        let functions = map.functions(TOPIC);
        let mut plans = BTreeMap::new();
        for mapping in functions.iter() {
            let plan = Plan::read(&mapping.annotations);
            let known = self.plans.get(&mapping.function);
            for mistake in &plan.mistakes {
                if !known.is_some_and(|known| known.mistakes.contains(mistake)) {
                    warn!(function = %mapping.function, "annotation ignored: {mistake}");
                }
            }
            plans.insert(mapping.function.clone(), plan);
        }
        self.plans = plans;
        let wanted = functions.iter().map(|mapping| {
            (&mapping.function, SCHEDULE.of(&mapping.annotations).unwrap_or_default())
        });
        for change in self.timetable.apply(wanted, self.clock.now()) {
            self.changed(change);
        }
        self.report();
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Added { function, schedule, fires } => {
                info!("Added: {function} [{schedule}]");
                if !fires {
                    warn!(%function, schedule = &*schedule, "the schedule never fires");
                }
            }
            Change::Removed { function, schedule } => {
                info!("Removed: {function} [{schedule}]");
                self.give_up(&function);
            }
            Change::Refused { function, schedule, why } => {
                warn!(%function, schedule = &*schedule, "the schedule is refused: {why}");
            }
        }
    }

    /// Tells how many schedules there are, and what is wrong with which.
    fn report(&self) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let refused = self.timetable.refused();
        self.metrics.schedules.set(count(self.timetable.in_force()));
        self.metrics.bad_schedules.set(count(refused.len()));
        let refused = refused.map(|(function, why)| format!("{function} is refused: {why}"));
        let silent = self.timetable.silent().map(|(function, _)| format!("{function} never fires"));
        let mut troubles: Vec<String> = refused.chain(silent).collect();
        if let Some(more) = troubles.len().checked_sub(TROUBLES_TOLD).filter(|more| *more > 0) {
            troubles.truncate(TROUBLES_TOLD);
            troubles.push(format!("{more} more"));
        }
        self.outlet.report(&troubles.join("; "));
    }

    /// Decides about a tick that is to be called now.
    fn due(&mut self, tick: Tick, now: Timestamp) {
        let Some(plan) = self.plans.get(&tick.function) else { return };
        let desk = self.desks.entry(tick.function.clone()).or_default();
        if !*self.watched.platform.borrow() {
            if let Some(older) = desk.keep(tick) {
                self.missed(&older, Why::Platform, 1);
            }
            return;
        }
        if plan.missed == Missed::Skip && now.duration_since(tick.instant) > ON_TIME {
            return self.missed(&tick, Why::Late, 1);
        }
        let why = match plan.overlap {
            _ if desk.flying.is_empty() => return self.submit(&tick, now),
            Overlap::Allow if !self.outlet.is_held(&tick.function) => {
                desk.give_up_waiting();
                return self.submit(&tick, now);
            }
            Overlap::Queue if desk.queued.len() < QUEUED => return desk.queued.push_back(tick),
            Overlap::Allow => Why::Held,
            Overlap::Forbid | Overlap::Queue => Why::Overlap,
        };
        self.missed(&tick, why, 1);
    }

    fn submit(&mut self, tick: &Tick, now: Timestamp) {
        let Some(plan) = self.plans.get(&tick.function) else { return };
        let lateness = Duration::try_from(now.duration_since(tick.instant)).unwrap_or_default();
        let Some((flight, verdict)) = self.outlet.submit(tick, plan, lateness) else {
            return self.missed(tick, Why::Draining, 1);
        };
        debug!("Invoking: {} [{}]", tick.function, tick.schedule);
        self.metrics.handed_over(lateness);
        let (function, number) = (tick.function.clone(), tick.number);
        let desk = self.desks.entry(function.clone()).or_default();
        let tick = tick.clone();
        desk.flying.push(Flying { tick, flight: Some(flight), taken_back: false });
        self.ends.push(Box::pin(async move { End { function, number, verdict: verdict.await } }));
    }

    fn ended(&mut self, end: End) {
        let End { function, number, verdict } = end;
        let Some(desk) = self.desks.get_mut(&function) else { return };
        let Some(flown) = desk.land(number) else { return };
        let now = self.clock.now();
        match verdict {
            Verdict::Done => {
                self.metrics.fired.inc();
                desk.missing = false;
            }
            // Unless a later one has taken its place.
            Verdict::Release { .. } if flown.taken_back && !desk.has_later(&flown.tick) => {
                self.due(flown.tick, now);
            }
            Verdict::Release { .. } => self.missed(&flown.tick, Why::GivenUp, 1),
        }
        self.next_queued(&function, now);
    }

    /// Calls the next queued tick if nothing is before it.
    fn next_queued(&mut self, function: &FunctionName, now: Timestamp) {
        let Some(desk) = self.desks.get_mut(function) else { return };
        if desk.flying.is_empty()
            && let Some(tick) = desk.queued.pop_front()
        {
            return self.submit(&tick, now);
        }
        if desk.is_clear() && !self.plans.contains_key(function) {
            self.desks.remove(function);
        }
    }

    /// The platform went down or came up.
    fn platform(&mut self) {
        let is_up = *self.watched.platform.borrow_and_update();
        let now = self.clock.now();
        let mut missed = Vec::new();
        let mut kept = Vec::new();
        for desk in self.desks.values_mut() {
            if is_up {
                kept.extend(desk.kept.take());
                continue;
            }
            for flying in &mut desk.flying {
                flying.taken_back |= flying.flight.take().is_some();
            }
            for tick in std::mem::take(&mut desk.queued) {
                missed.extend(desk.keep(tick));
            }
        }
        for tick in missed {
            self.missed(&tick, Why::Platform, 1);
        }
        for tick in kept {
            self.due(tick, now);
        }
    }

    /// Gives up whatever waits for `function`, whose schedule is gone.
    fn give_up(&mut self, function: &FunctionName) {
        let Some(desk) = self.desks.get_mut(function) else { return };
        for flying in &mut desk.flying {
            flying.flight = None;
            flying.taken_back = false;
        }
        let waiting: Vec<_> = desk.queued.drain(..).chain(desk.kept.take()).collect();
        for tick in waiting {
            self.missed(&tick, Why::Removed, 1);
        }
        self.next_queued(function, self.clock.now());
    }

    fn missed(&mut self, tick: &Tick, why: Why, ticks: u32) {
        let Tick { function, schedule, instant, .. } = tick;
        self.metrics.missed.inc_by(ticks.into());
        // One line for each change: a slow function on a fast schedule misses most of its ticks.
        let news = self.desks.get_mut(function).is_none_or(|desk| !desk.missing);
        if let Some(desk) = self.desks.get_mut(function) {
            desk.missing = true;
        }
        if news {
            info!(scheduled = %instant, ticks, "Missed: {function} [{schedule}] {why}");
        } else {
            debug!(scheduled = %instant, ticks, "Missed: {function} [{schedule}] {why}");
        }
    }

    /// Nothing more falls due; what is on its way has its verdict by the drain deadline.
    async fn drain(&mut self) {
        // Whoever asked for it may have been faster than the timer of a tick. Another replica has
        // that tick, if there is one.
        if matches!(self.turn, Turn::Alone) {
            for Due { tick, passed_over } in self.timetable.advance(self.clock.now()) {
                if passed_over > 0 {
                    self.missed(&tick, Why::Late, passed_over);
                }
                self.missed(&tick, Why::Draining, 1);
            }
        }
        let desks = self.desks.values_mut();
        let waiting: Vec<_> =
            desks.flat_map(|desk| desk.queued.drain(..).chain(desk.kept.take())).collect();
        for tick in waiting {
            self.missed(&tick, Why::Draining, 1);
        }
        while let Some(End { function, number, verdict }) = self.ends.next().await {
            let desk = self.desks.get_mut(&function);
            let Some(flown) = desk.and_then(|desk| desk.land(number)) else { continue };
            match verdict {
                Verdict::Done => {
                    self.metrics.fired.inc();
                }
                Verdict::Release { .. } => self.missed(&flown.tick, Why::Draining, 1),
            }
        }
    }
}

/// How many schedules that are not as they should be are told of at once.
const TROUBLES_TOLD: usize = 10;

impl<F> Default for Desk<F> {
    fn default() -> Self {
        Self { flying: Vec::new(), queued: VecDeque::new(), kept: None, missing: false }
    }
}

impl<F> Desk<F> {
    /// Keeps a tick until the platform is up. Gives back the one that it is kept in place of.
    fn keep(&mut self, tick: Tick) -> Option<Tick> {
        self.kept.replace(tick)
    }

    /// Gives up those that wait. Calls that run go on.
    fn give_up_waiting(&mut self) {
        for flying in &mut self.flying {
            flying.flight = None;
        }
    }

    fn land(&mut self, number: u64) -> Option<Flying<F>> {
        let position = self.flying.iter().position(|flying| flying.tick.number == number)?;
        Some(self.flying.remove(position))
    }

    /// Whether a tick has been given out after this one.
    fn has_later(&self, tick: &Tick) -> bool {
        let flying = self.flying.iter().map(|flying| &flying.tick);
        flying.chain(&self.queued).chain(&self.kept).any(|it| it.follows(tick))
    }

    fn is_clear(&self) -> bool {
        self.flying.is_empty() && self.queued.is_empty() && self.kept.is_none()
    }
}
