//! The crash matrix: a connector is killed at each step of an event's life, for every source.
//!
//! The steps are those that the code itself names ([`Step`]), and every cell of steps by sources is run, so that none
//! can be forgotten: where a source has no such step, that is shown by a run in which nothing dies. A cell is run
//! several times, killed at the first passing, in the middle and at the last, because the state differs: nothing
//! committed yet, much in flight, everything called.
//!
//! The same processes are also frozen at two of the steps, and go on when another one has done their work.
//!
//! [`work`] says what is published and how functions answer, [`source`] how each broker is handled, [`run`] what
//! happens in a run, [`judge`] what must hold, [`table`] how it is shown.

#![allow(clippy::print_stdout, reason = "it runs for minutes, and ends with a table")]

mod cron;
mod judge;
mod run;
mod source;
mod table;
mod work;

use std::env;
use std::time::Instant;

use connector_core::fail_point::Step;
use futures_util::stream::{self, StreamExt as _};
use integration::connector::{binary, is_mortal, mortal_binary};
use tokio::runtime::Handle;

use judge::Judgement;
use run::Fate;
use source::Kind;
use table::Cell;

/// How many runs are under way at a time. They wait most of their time: for leases, groups and intervals.
const TOGETHER: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_at_any_step() {
    let middle = |step| vec![passings(Kind::Kafka, step).div_ceil(2)];
    assert_kept(&violations(&run_all(Kind::Kafka, Fate::Killed, middle).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes: make crash-matrix"]
async fn nothing_is_lost_at_any_step_of_any_source() {
    let mut broken = Vec::new();
    for kind in chosen() {
        let cells = run_all(kind, Fate::Killed, |step| {
            let last = passings(kind, step);
            if kind.has(step) { vec![1, last.div_ceil(2), last] } else { vec![1] }
        });
        let cells = cells.await;
        let violations = violations(&cells);
        // At once: the next ones take minutes more.
        if violations.is_empty() {
            table::write(&cells);
        }
        broken.extend(violations);
    }
    assert_kept(&broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes: make crash-matrix"]
async fn what_comes_back_takes_back_nothing() {
    // MQTT has no replicas within a session, and what keeps nothing has nothing to take over.
    let replicas = [Kind::Kafka, Kind::SqsStandard, Kind::SqsFifo, Kind::JetStream];
    let mut broken = Vec::new();
    for kind in chosen().into_iter().filter(|kind| replicas.contains(kind)) {
        let cells = run_all(kind, Fate::Frozen, |step| match step {
            Step::Called | Step::Settled => vec![passings(kind, step).div_ceil(2)],
            _ => Vec::new(),
        });
        broken.extend(violations(&cells.await));
    }
    assert_kept(&broken);
}

#[test]
fn the_golden_table_has_every_step_of_every_source() {
    table::check();
}

#[tokio::test]
async fn no_connector_has_fail_points_unless_asked() {
    // Or the look at the others would prove nothing.
    assert!(is_mortal(&mortal_binary("kafka").await));
    for kind in ["cron", "kafka", "mqtt", "nats", "sqs"] {
        assert!(!is_mortal(&binary(kind).await), "{kind}: the plain binary has fail points");
    }
}

/// All sources, or the one that `CRASH_SOURCE` names.
fn chosen() -> Vec<Kind> {
    let only = env::var("CRASH_SOURCE").unwrap_or_default();
    let is_meant = |kind: &Kind| only.is_empty() || kind.name() == only;
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_meant).collect();
    let names = Kind::ALL.map(Kind::name).join("; ");
    assert!(!kinds.is_empty(), "{only} is no source; there are: {names}");
    kinds
}

/// Runs the steps of a source, at the passings chosen, and gives the cells.
async fn run_all(kind: Kind, fate: Fate, choose: impl Fn(Step) -> Vec<usize>) -> Vec<Cell> {
    let began = Instant::now();
    let mut cells = Step::ALL.map(|step| Cell { kind, step, runs: Vec::new() });
    let runs: Vec<_> = Step::ALL
        .into_iter()
        .enumerate()
        .flat_map(|(at, step)| choose(step).into_iter().map(move |passing| (at, step, passing)))
        .collect();
    let count = runs.len();
    let run = async |(at, step, passing)| {
        // On a thread of its own: brokers are handled by scripts, which block, and a run that breaks off has said why and
        // must not take the others with it.
        let runtime = Handle::current();
        let run = move || runtime.block_on(run::run(kind, fate, step, passing));
        let judged = tokio::task::spawn_blocking(run).await;
        (at, passing, judged.unwrap_or_else(|_| Judgement::broken_off()))
    };
    let mut judged = stream::iter(runs).map(run).buffered(TOGETHER);
    while let Some((at, passing, judgement)) = judged.next().await {
        println!("{}, {fate:?} at {}={passing}: {judgement:?}", kind.name(), cells[at].step.name());
        cells[at].runs.push((passing, judgement));
    }
    println!("{}, {fate:?}: {count} runs in {} s", kind.name(), began.elapsed().as_secs());
    cells.into()
}

fn violations(cells: &[Cell]) -> Vec<String> {
    cells.iter().flat_map(Cell::violations).collect()
}

fn assert_kept(violations: &[String]) {
    assert!(violations.is_empty(), "the promise was broken:\n{}", violations.join("\n"));
}

/// How often a step is passed in a run that nothing breaks, at least.
fn passings(kind: Kind, step: Step) -> usize {
    match kind {
        Kind::Cron => cron::passings(step),
        _ => work::passings(step),
    }
}
