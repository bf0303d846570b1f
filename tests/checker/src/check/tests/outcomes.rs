//! What becomes of each event, and of each letter.

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
fn a_letter_is_an_outcome_if_it_is_byte_for_byte_the_event() {
    Story::with_a_letter().is_kept();
    let changes: [fn(&mut Content); 4] = [
        |content| content.payload[0] ^= 1,
        |content| content.key = None,
        |content| content.headers[0].1 = None,
        |content| content.headers.push(("more".to_owned(), None)),
    ];
    for change in changes {
        let mut story = Story::with_a_letter();
        change(&mut story.evidence.letters[0].content);
        story.violates(&[LETTERS]);
    }
}

#[test]
fn a_letter_of_something_else_is_no_outcome() {
    let mut story = Story::with_a_letter();
    story.evidence.letters[0].event_id = "kafka:t/0@9".to_owned();
    story.violates(&[LOST, LETTERS, OUTCOMES, COMMITS]);
    let mut story = Story::with_a_letter();
    story.evidence.letters[0].function = "h".to_owned();
    story.violates(&[LOST, LETTERS, OUTCOMES, COMMITS]);
}

#[test]
fn two_outcomes_are_one_too_many() {
    let mut story = Story::with_a_letter();
    story.bury("g", 1);
    story.violates(&[OUTCOMES]);
    let mut story = Story::told();
    story.bury("g", 1);
    story.violates(&[OUTCOMES]);
}
