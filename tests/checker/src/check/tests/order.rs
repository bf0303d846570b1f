//! What comes in order, and what is called at the same time.

use super::*;

#[test]
fn equal_keys_are_answered_in_order() {
    let mut story = Story::new();
    for event in [2, 0, 1, 3] {
        story.deliver("p", event);
    }
    story.sample(4);
    story.violates(&[ORDER]);
    story.evidence.run.ordering = Ordering::None;
    story.is_kept();
}

#[test]
fn other_keys_are_in_no_order_unless_the_partition_is() {
    let mut story = Story::new();
    for event in [3, 1, 0, 2] {
        story.deliver("p", event);
    }
    story.sample(4);
    story.is_kept();
    story.evidence.run.ordering = Ordering::Partition;
    story.violates(&[ORDER]);
}

/// Two events run at the same time.
fn overlapping(first: usize, second: usize, processes: [&str; 2]) -> Story {
    let mut story = Story::new();
    story.evidence.processes = vec!["p".to_owned(), "q".to_owned()];
    let one = story.start(processes[0], "f", first);
    let two = story.start(processes[1], "f", second);
    story.end(one, 200);
    story.end(two, 200);
    story.call("p", "g", first, 200);
    story.call("q", "g", second, 200);
    for event in (0..4).filter(|event| ![first, second].contains(event)) {
        story.deliver("p", event);
    }
    story.sample(4);
    story
}

#[test]
fn equal_keys_do_not_overlap_in_one_process() {
    overlapping(0, 2, ["p", "p"]).violates(&[ORDER, APART]);
    // Whichever process calls the follower, it has to know that the one in front is finished.
    overlapping(0, 2, ["p", "q"]).violates(&[ORDER]);
    overlapping(0, 1, ["p", "p"]).is_kept();
    overlapping(0, 3, ["p", "p"]).is_kept();
    let mut story = overlapping(0, 1, ["p", "p"]);
    story.evidence.run.ordering = Ordering::Partition;
    story.violates(&[ORDER, APART]);
}

#[test]
fn a_call_that_ends_in_the_instant_in_which_the_next_begins_does_not_overlap() {
    let mut story = Story::told();
    let end = story.evidence.calls[1].end.unwrap().at.ns;
    // Event 2 has event 0's key. The places tell which came first, where the times do not.
    story.evidence.calls[4].start.ns = end;
    story.is_kept();
}

#[test]
fn a_pair_does_not_overlap_itself() {
    let mut story = Story::new();
    for event in 0..3 {
        story.deliver("p", event);
    }
    story.call("p", "f", 3, 200);
    let (one, two) = (story.start("p", "g", 3), story.start("p", "g", 3));
    story.end(one, 500);
    story.end(two, 200);
    story.sample(4);
    story.violates(&[PAIRS]);
    // The gateway may notice a little late that its caller has left.
    story.evidence.calls[one].end.as_mut().unwrap().caller_left = true;
    story.is_kept();
    story.evidence.calls[one].end.as_mut().unwrap().at.ns += 400_000_000;
    story.violates(&[PAIRS]);
}

/// What follows a letter is not called too early because a kill has the event of the letter called again.
#[test]
fn a_letter_is_finished_before_a_fault_has_it_written_again() {
    let mut story = Story::new();
    story.call("p", "f", 0, 200);
    story.call("p", "g", 0, 400);
    story.bury("g", 0);
    story.deliver("p", 2);
    story.killed();
    story.call("q", "g", 0, 400);
    story.bury("g", 0);
    for event in [1, 3] {
        story.deliver("q", event);
    }
    story.sample(4);
    story.is_kept();
    story.evidence.faults.clear();
    story.violates(&[ONCE, ORDER]);
}
