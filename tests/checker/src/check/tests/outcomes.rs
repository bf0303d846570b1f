//! What becomes of each event.

use super::*;

#[test]
fn an_event_never_called_is_lost() {
    let mut story = Story::new();
    for event in [0, 1, 3] {
        story.deliver("p", event);
    }
    story.call("p", "f", 2, 200);
    // Nothing was committed meanwhile: that would be a violation of its own.
    story.sample(0);
    story.violates(&[LOST, OUTCOMES]);
    let named = &judge(&story.evidence).rules[2].named;
    assert_eq!(named, &["kafka:t/0@2 to g was lost after 0 calls"]);
}

#[test]
fn a_failed_call_is_no_delivery() {
    for status in [0, 202, 404, 500] {
        let mut story = Story::new();
        for event in 0..3 {
            story.deliver("p", event);
        }
        story.call("p", "f", 3, 200);
        story.call("p", "g", 3, status);
        story.sample(0);
        if status == 202 { story.is_kept() } else { story.violates(&[LOST, OUTCOMES]) }
    }
    let mut story = Story::told();
    story.evidence.calls[7].end.as_mut().unwrap().too_late = true;
    story.evidence.samples[0].committed = vec![0];
    story.violates(&[LOST, OUTCOMES]);
}

#[test]
fn two_outcomes_are_one_too_many() {
    let mut story = Story::told();
    story.bury("g", 1);
    story.violates(&[OUTCOMES]);
}
