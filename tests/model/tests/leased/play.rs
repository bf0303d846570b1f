//! A play: who may do what next, until the steps are used up; then everything goes well.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connector_core::testing::{Outside, Process, Settings};
use connector_core::{
    AnyOrder, Event, EventId, Intake, Lane, LaneOptions, Loan, OrderKey, Pending, Settled, Verdict,
};
use futures_util::FutureExt as _;
use model::{Answers, Choices, Life, Rule, Told, World, settle};
use tokio::time::{Instant, sleep};

use crate::queue::{Delivery, Queue};
use crate::source::{Leased, settings};

/// Time for the first retry.
const SHORT: Duration = Duration::from_secs(1);
/// Time for every wait there is, and for a call to be given up.
const LONG: Duration = Duration::from_secs(15);
/// How long everything may take once it goes well, in seconds.
const MOST_ROUNDS: usize = 200;
/// How many of the calls that run may be answered next.
const NEXT_CALLS: usize = 2;

/// How large the world is.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) messages: usize,
    pub(crate) groups: Option<u8>,
    pub(crate) functions: usize,
    pub(crate) window: usize,
    /// How many calls there are before a letter, at least.
    pub(crate) attempts: usize,
    pub(crate) answers: &'static [Answers],
    /// Leases end, deletions fail.
    pub(crate) loses: bool,
    pub(crate) steps: usize,
    pub(crate) crashes: usize,
}

/// A world of one shape, to be played any number of times.
pub(crate) struct Play {
    shape: Shape,
    settings: Settings<Leased>,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Pass(Duration),
    Answer(u64, Answers),
    Store(u64, bool),
    Receive(usize),
    /// The first event with a verdict of done is deleted, or cannot be.
    Delete(bool),
    /// A lease ends and nobody notices.
    Expire,
    /// A lease ends, and the core is told.
    Revoke,
    EndLane,
    Crash,
}

struct Run<'a> {
    play: &'a Play,
    choices: &'a mut Choices,
    world: World,
    queue: Queue,
    functions: Vec<String>,
    steps: usize,
    crashes: usize,
}

/// What a source keeps of what it has received.
struct Desk {
    lane: Lane,
    pending: Pending<Delivery, AnyOrder>,
    loans: HashMap<u64, Loan>,
    /// Done, and not yet deleted.
    done: VecDeque<(Delivery, Settled)>,
    /// Done, but the deletion failed: kept until the message comes again and is deleted.
    kept: Vec<(usize, Settled)>,
}

impl Play {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, settings: settings() }
    }

    /// Plays it once.
    pub(crate) fn run(&self, choices: &mut Choices) -> Told {
        let Shape { functions, attempts, messages, groups, .. } = self.shape;
        let core = &self.settings.core;
        let world = World::new(functions, core.max_inflight, core.function_concurrency, attempts);
        world.tells(choices.tells());
        let mut run = Run {
            play: self,
            choices,
            queue: Queue::new(&world, messages, groups),
            world,
            functions: (0..functions).map(|number| format!("f{number}")).collect(),
            steps: 0,
            crashes: 0,
        };
        while Life::begin().live(run.lives()) {
            run.crashes += 1;
            run.queue.process_ends();
        }
        Told { history: run.world.history(), steps: run.steps, broken: run.world.broken() }
    }

    fn lane(&self, intake: &Intake) -> Lane {
        let window = NonZeroUsize::new(self.shape.window).expect("not zero");
        let mut options = LaneOptions::new("t", window);
        options.stores_waits = self.shape.groups.is_none();
        options.turn_until_settled = self.shape.groups.is_some();
        intake.lane(options)
    }
}

impl Run<'_> {
    /// `true`: the process was killed.
    async fn lives(&mut self) -> bool {
        let killed = self.life().await;
        self.world.process_ends();
        killed
    }

    async fn life(&mut self) -> bool {
        self.world.process_begins();
        self.world.note(|| "a process begins".to_owned());
        let outside: Arc<dyn Outside> = Arc::new(self.world.clone());
        let functions: Vec<_> = self.functions.iter().map(|name| (name.as_str(), "t")).collect();
        let process = Process::begin(&self.play.settings, &functions, &outside);
        let mut desk = Desk::new(self.play.lane(process.intake()));
        while self.steps < self.play.shape.steps {
            settle().await;
            self.settles(&mut desk);
            if self.world.broken().is_some() {
                return false;
            }
            let turns = self.turns(&desk);
            let turn = turns[self.choices.pick(turns.len())];
            self.steps += 1;
            match turn {
                Turn::Crash => {
                    self.world.note(|| "SIGKILL".to_owned());
                    return true;
                }
                Turn::EndLane => {
                    self.world.note(|| "the lane ends, another begins".to_owned());
                    desk = Desk::new(self.play.lane(process.intake()));
                    self.queue.process_ends();
                }
                turn => self.take(turn, &mut desk).await,
            }
        }
        self.end_well(&process, desk).await;
        false
    }

    fn turns(&mut self, desk: &Desk) -> Vec<Turn> {
        let Shape { answers, loses, crashes, .. } = self.play.shape;
        let mut turns = vec![Turn::Pass(SHORT)];
        turns.extend(self.queue.next().map(Turn::Receive));
        for call in self.world.calls().into_iter().take(NEXT_CALLS) {
            turns.extend(answers.iter().map(|answer| Turn::Answer(call, *answer)));
        }
        if let Some(letter) = self.world.letters().first() {
            turns.extend([true, false].map(|stored| Turn::Store(*letter, stored)));
        }
        if !desk.done.is_empty() {
            turns.push(Turn::Delete(true));
            turns.extend(loses.then_some(Turn::Delete(false)));
        }
        turns.push(Turn::Pass(LONG));
        if loses && !desk.loans.is_empty() {
            turns.extend([Turn::Expire, Turn::Revoke]);
        }
        if self.crashes < crashes {
            turns.extend([Turn::EndLane, Turn::Crash]);
        }
        turns
    }

    async fn take(&mut self, turn: Turn, desk: &mut Desk) {
        match turn {
            Turn::Pass(time) => {
                self.world.note(|| format!("{time:?} pass"));
                sleep(time).await;
            }
            Turn::Answer(call, answer) => self.world.answer(call, answer),
            Turn::Store(letter, stored) => self.world.store(letter, stored),
            Turn::Receive(message) => self.receive(message, desk),
            Turn::Delete(well) => self.delete(well, desk),
            Turn::Expire => {
                let receipt = self.queue.expire();
                self.world.note(|| format!("the lease {receipt:?} ends unnoticed"));
            }
            Turn::Revoke => {
                let receipt = self.queue.expire();
                self.world.note(|| format!("the lease {receipt:?} ends"));
                if let Some(loan) = receipt.and_then(|receipt| desk.loans.get(&receipt)) {
                    loan.revoke();
                }
            }
            // These end more than a turn can reach.
            Turn::EndLane | Turn::Crash => {}
        }
    }

    /// Receives a message, and with it the next of its group.
    fn receive(&mut self, message: usize, desk: &mut Desk) {
        let follower = self.queue.follower(message);
        for message in [Some(message), follower].into_iter().flatten() {
            self.receive_one(message, desk);
        }
    }

    fn receive_one(&mut self, message: usize, desk: &mut Desk) {
        let Some(slot) = desk.lane.try_slot(1) else { return };
        let delivery = self.queue.lend(message);
        self.world.note(|| format!("m{message} is received, lease {}", delivery.receipt));
        let body = Bytes::from(delivery.event.to_string());
        let id = EventId::new(format!("leased:{message}"));
        let mut event = Event::new(id, "t".into(), body);
        match delivery.group {
            Some(group) => event.order_key = Some(OrderKey::with("t", None, Some(&[group]))),
            None => event.delivery_count = Some(delivery.nth),
        }
        let (settlement, loan) = slot.submit_lent(event);
        desk.loans.insert(delivery.receipt, loan);
        desk.pending.track(delivery, settlement);
        self.settles(desk);
        if desk.pending.unjudged() > self.play.shape.window {
            self.world.breaks(Rule::Limits, "more events without a verdict than the window has");
        }
    }

    /// Takes the verdicts that have come.
    fn settles(&mut self, desk: &mut Desk) {
        while let Some((delivery, settled)) = desk.pending.next().now_or_never() {
            desk.loans.remove(&delivery.receipt);
            match settled.verdict {
                Verdict::Done => desk.done.push_back((delivery, settled)),
                Verdict::Release { after } => {
                    self.world.note(|| format!("    m{} is given back", delivery.message));
                    let until = Instant::now() + after.unwrap_or_default();
                    self.queue.give_back(delivery, until);
                }
            }
        }
    }

    fn delete(&mut self, well: bool, desk: &mut Desk) {
        let Some((delivery, settled)) = desk.done.pop_front() else { return };
        let deleted = well && self.queue.delete(delivery);
        self.world.note(|| {
            let what = if deleted { "is deleted" } else { "cannot be deleted" };
            format!("m{} {what}", delivery.message)
        });
        if deleted {
            desk.kept.retain(|(message, _)| *message != delivery.message);
            return;
        }
        self.queue.give_back(delivery, Instant::now());
        if delivery.group.is_some() {
            settled.unsettled();
        } else {
            desk.kept.push((delivery.message, settled));
        }
    }

    /// From now on every call is answered well and every deletion taken.
    async fn end_well(&mut self, process: &Process, mut desk: Desk) {
        self.world.note(|| "from now on all goes well".to_owned());
        for _ in 0..MOST_ROUNDS {
            settle().await;
            self.settles(&mut desk);
            if self.world.broken().is_some() {
                return;
            }
            while !desk.done.is_empty() {
                self.delete(true, &mut desk);
            }
            if self.queue.is_empty() && self.world.calls().is_empty() {
                break;
            }
            if let Some(message) = self.queue.next() {
                self.receive(message, &mut desk);
            }
            self.world.letters().into_iter().for_each(|letter| self.world.store(letter, true));
            let calls = self.world.calls();
            calls.into_iter().for_each(|call| self.world.answer(call, Answers::Well));
            sleep(SHORT).await;
        }
        settle().await;
        self.world.ends();
        if !self.queue.is_empty() {
            self.world.breaks(Rule::AllIsSettled, "messages are left in the queue");
        }
        process.judge_rest(|why| self.world.breaks(Rule::NothingLeft, why));
        let counters = process.counters();
        if !counters.add_up() || counters.in_flight > 0 {
            self.world.breaks(Rule::Counters, format!("{counters:?}"));
        }
    }
}

impl Desk {
    fn new(lane: Lane) -> Self {
        Self {
            lane,
            pending: Pending::new(),
            loans: HashMap::new(),
            done: VecDeque::new(),
            kept: Vec::new(),
        }
    }
}
