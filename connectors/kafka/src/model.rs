//! Partitions under a model: the lanes, the committer and the assignment as they are shipped, with
//! the core behind them, beside a broker and functions that do anything at any time.
//!
//! What the model is and how a failure is repeated stands in the crate `model`.

mod cluster;
mod late;
mod member;
mod play;
mod shape;

use model::{Choices, deep, exhaust, wander};

use self::play::Play;
use self::shape::{Shape, Turns};

/// A little of everything.
const SMALL: Shape = Shape {
    partitions: 1,
    records: 3,
    keys: 2,
    functions: 1,
    settings: &[("ordering", "key")],
    attempts: 3,
    holds: false,
    turns: Turns::ALL,
    steps: 40,
    crashes: 2,
};

fn exhausted(name: &str, shape: Shape) {
    let play = Play::new(shape);
    exhaust(name, |choices| play.run(choices));
}

fn wandered(name: &str, runs: usize, shape: Shape) {
    let play = Play::new(shape);
    wander(name, runs, |choices| play.run(choices));
}

#[test]
fn every_order_of_answers_and_letters() {
    let shape = Shape { turns: Turns::ANSWERS, steps: deep(4), crashes: 0, ..SMALL };
    exhausted("kafka-answers", shape);
}

#[test]
fn every_order_of_rebalances_commits_and_crashes() {
    let shape = Shape { turns: Turns::GROUP, steps: deep(4), crashes: 1, ..SMALL };
    exhausted("kafka-group", shape);
}

/// Two partitions, two functions, and a few keys.
const KEYS: Shape = Shape { partitions: 2, records: 8, keys: 3, functions: 2, ..SMALL };

#[test]
fn equal_keys_in_order() {
    wandered("kafka-key", 400, KEYS);
}

#[test]
fn partitions_in_order() {
    let settings = &[("ordering", "partition")];
    wandered("kafka-partition", 400, Shape { records: 6, functions: 2, settings, ..SMALL });
}

#[test]
fn no_order() {
    let settings = &[("ordering", "none"), ("function_concurrency", "2"), ("lane_window", "3")];
    wandered("kafka-none", 400, Shape { records: 8, settings, ..SMALL });
}

#[test]
fn what_is_refused_is_held() {
    let settings = &[("ordering", "none"), ("dead_letter", "hold"), ("max_retry_attempts", "-1")];
    wandered("kafka-hold", 400, Shape { records: 4, settings, holds: true, ..SMALL });
}

#[test]
fn equal_choices_make_equal_histories() {
    let play = Play::new(KEYS);
    for seed in 0..50 {
        let history = || {
            let mut choices = Choices::seeded(seed).telling();
            play.run(&mut choices).history
        };
        let first = history();
        assert!(first.len() > 10, "{first:?}");
        assert_eq!(first, history());
    }
}
