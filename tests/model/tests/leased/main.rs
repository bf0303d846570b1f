//! A queue that lends its messages, under a model: the core with lanes in any order, as SQS and
//! JetStream have them. The source here is the model's own; everything behind a slot is shipped.

mod play;
mod queue;
mod source;

use model::{Answers, Choices, deep, exhaust, wander};

use play::{Play, Shape};

/// A standard queue: no order, waits are stored in the broker, and a message comes again while its
/// first copy still runs.
const STANDARD: Shape = Shape {
    messages: 4,
    groups: None,
    functions: 1,
    window: 3,
    // The broker's count of deliveries counts as well.
    attempts: 1,
    answers: &[Answers::Well, Answers::Busy, Answers::Refused],
    loses: true,
    steps: 40,
    crashes: 2,
};

/// A queue with groups: a group's messages in order, each settled before the next is called.
const GROUPS: Shape = Shape { groups: Some(2), messages: 5, attempts: 3, ..STANDARD };

fn wandered(name: &str, runs: usize, shape: Shape) {
    let play = Play::new(shape);
    wander(name, runs, |choices| play.run(choices));
}

fn exhausted(name: &str, shape: Shape) {
    let play = Play::new(shape);
    exhaust(name, |choices| play.run(choices));
}

#[test]
fn every_turn_of_two_messages() {
    exhausted("standard-all", Shape { messages: 2, steps: deep(4), crashes: 0, ..STANDARD });
}

#[test]
fn every_turn_of_two_messages_of_a_group() {
    let shape = Shape { messages: 2, groups: Some(1), steps: deep(4), crashes: 0, ..GROUPS };
    exhausted("groups-all", shape);
}

#[test]
fn a_standard_queue() {
    wandered("standard", 1_000, STANDARD);
}

#[test]
fn a_standard_queue_with_two_functions() {
    wandered("standard-two", 600, Shape { functions: 2, ..STANDARD });
}

#[test]
fn a_queue_with_groups() {
    wandered("groups", 1_000, GROUPS);
}

#[test]
fn a_queue_with_groups_and_two_functions() {
    wandered("groups-two", 600, Shape { functions: 2, ..GROUPS });
}

#[test]
fn equal_choices_make_equal_histories() {
    let play = Play::new(Shape { functions: 2, ..GROUPS });
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
