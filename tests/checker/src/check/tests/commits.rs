//! What is committed, when, and in the end.

use super::*;

#[test]
fn a_commit_must_not_pass_what_is_not_finished() {
    let mut story = Story::new();
    story.deliver("p", 0);
    story.call("p", "f", 1, 200);
    story.sample(1);
    let running = story.start("p", "g", 1);
    story.sample(2);
    story.end(running, 200);
    story.sample(2);
    story.deliver("p", 2);
    story.deliver("p", 3);
    story.sample(4);
    story.violates(&[COMMITS]);
    story.evidence.samples.remove(1);
    story.is_kept();
    // Nor by one byte of the ledger.
    story.evidence.samples[1].ledger -= 1;
    story.violates(&[COMMITS]);
}

#[test]
fn a_commit_must_not_pass_a_letter_that_is_not_stored() {
    let mut story = Story::with_a_letter();
    story.evidence.samples[0].letters = Some(0);
    story.violates(&[COMMITS]);
}

#[test]
fn holes_in_a_lane_are_no_events() {
    let mut story = Story::told();
    for event in &mut story.evidence.stored {
        event.position = event.position * 3 + 1;
    }
    story.evidence.samples[0].committed = vec![11];
    (story.evidence.committed, story.evidence.ends) = (vec![12], vec![12]);
    story.is_kept();
}

#[test]
fn without_samples_nothing_is_proven() {
    let mut story = Story::told();
    story.evidence.samples.clear();
    story.violates(&[COMMITS]);
}

#[test]
fn everything_is_committed_in_the_end() {
    for committed in [vec![3], vec![-1], vec![]] {
        let mut story = Story::told();
        story.evidence.committed = committed;
        story.violates(&[COMMITTED]);
    }
}
