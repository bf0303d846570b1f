//! A play: who may do what next, until the steps are used up; then everything goes well.

use std::sync::Arc;
use std::time::Duration;

use connector_core::testing::{Outside, Process, Settings};
use model::{Answers, Choices, Life, Rule, Told, World, settle};
use tokio::time::sleep;

use super::cluster::{Cluster, Commit};
use super::member::Member;
use super::shape::{LONG, SHORT, Shape, settings};
use crate::Kafka;
use crate::client::Rebalance;

/// In how many seconds everything must have ended once all goes well.
const MOST_ROUNDS: usize = 200;
/// How many of the calls that run may be answered next.
const NEXT_CALLS: usize = 2;
/// How many seconds a process has to drain before its calls are cut.
const DRAIN: usize = 20;

/// A world of one shape, to be played any number of times.
pub(super) struct Play {
    shape: Shape,
    settings: Settings<Kafka>,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Pass(Duration),
    Answer(u64, Answers),
    Store(u64, bool),
    Commit(Commit),
    Produce,
    Revoke(usize),
    Lose(usize),
    Give(usize),
    Elsewhere(usize),
    MakeAnew,
    Drain,
    Crash,
}

/// How one life of the process went.
#[derive(PartialEq, Eq)]
enum End {
    /// There is to be another one.
    Dead,
    /// All is over.
    Over,
}

/// One run of a play.
struct Run<'a> {
    play: &'a Play,
    choices: &'a mut Choices,
    world: World,
    cluster: Arc<Cluster>,
    functions: Vec<String>,
    produced: usize,
    steps: usize,
    crashes: usize,
}

impl Play {
    pub(super) fn new(shape: Shape) -> Self {
        let settings = settings(shape.settings);
        Self { shape, settings }
    }

    /// Plays it once.
    pub(super) fn run(&self, choices: &mut Choices) -> Told {
        let Shape { functions, attempts, .. } = self.shape;
        let core = &self.settings.core;
        let world = World::new(functions, core.max_inflight, core.function_concurrency, attempts);
        world.tells(choices.tells());
        if self.shape.holds {
            world.holds(core.retry.max_wait());
        }
        let partitions = i32::try_from(self.shape.partitions).expect("a few");
        let mut run = Run {
            play: self,
            choices,
            cluster: Cluster::new(world.clone(), partitions, self.settings.source.ordering),
            world,
            functions: (0..functions).map(|number| format!("f{number}")).collect(),
            produced: 0,
            steps: 0,
            crashes: 0,
        };
        for _ in 0..self.shape.records.div_ceil(2) {
            run.produce();
        }
        while Life::begin().live(run.lives()) == End::Dead {
            run.cluster.process_ends();
        }
        Told { history: run.world.history(), steps: run.steps, broken: run.world.broken() }
    }
}

impl Run<'_> {
    async fn lives(&mut self) -> End {
        let end = self.life().await;
        self.world.process_ends();
        end
    }

    async fn life(&mut self) -> End {
        self.world.process_begins();
        self.world.note(|| "a process begins".to_owned());
        let outside: Arc<dyn Outside> = Arc::new(self.world.clone());
        let functions: Vec<_> = self.functions.iter().map(|name| (name.as_str(), "t")).collect();
        let process = Process::begin::<Kafka>(&self.play.settings, &functions, &outside);
        let mut member = self.join(&process).await;
        while self.steps < self.play.shape.steps {
            settle().await;
            if self.world.broken().is_some() {
                return End::Over;
            }
            if member.is_over() {
                self.cluster.takes_all();
                member = self.join(&process).await;
            }
            let turns = self.turns(&member);
            let turn = turns[self.choices.pick(turns.len())];
            self.steps += 1;
            match turn {
                Turn::Crash => {
                    self.crashes += 1;
                    self.world.note(|| "SIGKILL".to_owned());
                    return End::Dead;
                }
                Turn::Drain => {
                    self.crashes += 1;
                    self.drain(&process, &member).await;
                    return End::Dead;
                }
                turn => self.take(turn, &mut member).await,
            }
        }
        self.end_well(&process, member).await;
        End::Over
    }

    /// A session begins, and is given everything.
    async fn join(&self, process: &Process) -> Member {
        let mut member = Member::joins(&self.cluster, &self.play.settings.source, process.intake());
        self.cluster.gives();
        member.ask(Rebalance::Assigned(self.cluster.partitions()));
        while member.owes() && !member.is_over() {
            settle().await;
            self.cluster.answer(Commit::Takes);
        }
        member
    }

    fn turns(&self, member: &Member) -> Vec<Turn> {
        let Shape { partitions, records, crashes, turns: may, .. } = self.play.shape;
        let mut turns = vec![Turn::Pass(SHORT)];
        for call in self.world.calls().into_iter().take(NEXT_CALLS) {
            turns.extend(may.answers.iter().map(|answer| Turn::Answer(call, *answer)));
        }
        if may.letters
            && let Some(letter) = self.world.letters().first()
        {
            turns.extend([true, false].map(|stored| Turn::Store(*letter, stored)));
        }
        if self.cluster.commits_waiting() > 0 {
            turns.extend(may.commits.iter().map(|commit| Turn::Commit(*commit)));
        }
        turns.push(Turn::Pass(LONG));
        if self.produced < records {
            turns.push(Turn::Produce);
        }
        if may.group && !member.owes() {
            for partition in 0..partitions {
                if self.cluster.owns(partition) {
                    turns.extend([Turn::Revoke(partition), Turn::Lose(partition)]);
                } else {
                    turns.extend([Turn::Give(partition), Turn::Elsewhere(partition)]);
                }
            }
            if (0..partitions).all(|partition| !self.cluster.owns(partition)) {
                turns.push(Turn::MakeAnew);
            }
        }
        if self.crashes < crashes {
            turns.extend([Turn::Crash, Turn::Drain]);
        }
        turns
    }

    async fn take(&mut self, turn: Turn, member: &mut Member) {
        let of = |partition: usize| vec![self.cluster.partitions()[partition].clone()];
        match turn {
            Turn::Pass(time) => {
                self.world.note(|| format!("{time:?} pass"));
                sleep(time).await;
            }
            Turn::Answer(call, answer) => self.world.answer(call, answer),
            Turn::Store(letter, stored) => self.world.store(letter, stored),
            Turn::Commit(commit) => self.cluster.answer(commit),
            Turn::Produce => self.produce(),
            Turn::Revoke(partition) => {
                self.world.note(|| format!("the group revokes {partition}"));
                member.ask(Rebalance::Revoked(of(partition)));
            }
            Turn::Lose(partition) => {
                self.world.note(|| format!("the group has given {partition} to another"));
                self.cluster.takes(partition);
                member.ask(Rebalance::Lost(of(partition)));
            }
            Turn::Give(partition) => {
                self.world.note(|| format!("the group gives {partition}"));
                self.cluster.gives();
                member.ask(Rebalance::Assigned(of(partition)));
            }
            Turn::Elsewhere(partition) => self.cluster.done_elsewhere(partition),
            Turn::MakeAnew => self.cluster.make_anew(),
            // These end the life that they happen in.
            Turn::Drain | Turn::Crash => {}
        }
    }

    /// The next record: partitions and keys by turns, now and then behind a hole.
    fn produce(&mut self) {
        let Shape { partitions, keys, records, .. } = self.play.shape;
        let (number, partition) = (self.produced, self.produced % partitions);
        self.produced += 1;
        let key = u8::try_from(number / partitions % keys).expect("a few");
        self.cluster.produce(partition, key, i64::from(number % 3 == 1));
        if self.produced == records {
            self.cluster.end_with_hole(partition);
        }
    }

    /// SIGTERM. Calls that run are answered or cut; whatever has its outcome then is committed.
    async fn drain(&mut self, process: &Process, member: &Member) {
        self.world.note(|| "SIGTERM".to_owned());
        let received = process.counters().received;
        process.drain();
        let answers = [Some(Answers::Well), Some(Answers::Busy), None][self.choices.pick(3)];
        for second in 0..MOST_ROUNDS {
            settle().await;
            if second == DRAIN {
                process.cut();
            }
            if let Some((call, answers)) = self.world.calls().first().zip(answers) {
                self.world.answer(*call, answers);
            }
            self.cluster.takes_commits();
            if member.is_over() {
                break;
            }
            sleep(SHORT).await;
        }
        if !member.is_over() {
            self.world.breaks(Rule::NothingLeft, "the session never ended");
        }
        if process.counters().received != received {
            self.world.breaks(Rule::Drained, "events were submitted after the drain began");
        }
        self.cluster.judge_hand_over();
    }

    /// From now on every call is answered well and every commit taken.
    async fn end_well(&mut self, process: &Process, mut member: Member) {
        self.world.note(|| "from now on all goes well".to_owned());
        for _ in 0..MOST_ROUNDS {
            settle().await;
            if self.world.broken().is_some() {
                return;
            }
            if member.is_over() {
                self.cluster.takes_all();
                member = self.join(process).await;
            }
            let away: Vec<_> = (0..self.play.shape.partitions)
                .filter(|partition| !self.cluster.owns(*partition))
                .collect();
            if !away.is_empty() && !member.owes() {
                for partition in away {
                    self.take(Turn::Give(partition), &mut member).await;
                }
            }
            self.cluster.takes_commits();
            let (letters, calls) = (self.world.letters(), self.world.calls());
            if letters.is_empty() && calls.is_empty() && self.cluster.is_settled() {
                break;
            }
            letters.into_iter().for_each(|letter| self.world.store(letter, true));
            calls.into_iter().for_each(|call| self.world.answer(call, Answers::Well));
            sleep(SHORT).await;
        }
        settle().await;
        self.world.ends();
        if let Some(why) = self.cluster.unsettled() {
            self.world.breaks(Rule::AllIsSettled, why);
        }
        process.judge_rest(|why| self.world.breaks(Rule::NothingLeft, why));
        let counters = process.counters();
        if !counters.add_up() {
            self.world.breaks(Rule::Counters, format!("{counters:?}"));
        }
    }
}
