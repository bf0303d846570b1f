//! What may be lost where nothing is settled, and what may not.

use super::sources::at;
use super::*;
use crate::plan::{Dropped, Entry, Message};

/// Events 0, 1 and 3 are delivered, and nobody is called for event 2.
fn without_event_2() -> Story {
    let mut story = at(Broker::CoreNats, Ordering::None);
    story.evidence.run.settling = Settling::Never;
    for event in [0, 1, 3] {
        story.deliver("p", event);
    }
    story
}

/// So many are counted as dropped between two looks, at which so many had been produced.
fn dropped(events: usize, produced_before: usize, until: usize) -> (Dropped, usize) {
    (Dropped { process: "p".to_owned(), why: "full".to_owned(), events, produced_before }, until)
}

#[test]
fn what_is_not_settled_may_be_lost_to_a_fault_and_to_nothing_else() {
    let lost = |fault: Option<FaultKind>| {
        let mut story = without_event_2();
        if let Some(kind) = fault {
            story.fault(kind, None).produced_before = Some(3);
            story.evidence.faults[0].1 = 3;
        }
        story
    };
    lost(None).violates(&[LOSSES]);
    lost(Some(FaultKind::Strain)).violates(&[LOSSES]);
    // Event 2 was published just before.
    lost(Some(FaultKind::BrokerOutage)).is_kept();
    // A function that was called and failed has had its chance.
    let mut story = lost(None);
    story.call("p", "f", 2, 500);
    story.call("p", "g", 2, 500);
    story.is_kept();
    story.call("p", "g", 3, 200);
    story.violates(&[AGAIN]);
}

#[test]
fn what_is_counted_as_dropped_explains_as_many_as_were_counted() {
    let lost = |counts: &[(Dropped, usize)]| {
        let mut story = without_event_2();
        story.evidence.dropped = counts.to_vec();
        story
    };
    lost(&[dropped(1, 2, 3)]).is_kept();
    lost(&[dropped(0, 2, 3)]).violates(&[LOSSES]);
    // Two are lost, and one was counted; then the other one as well, elsewhere.
    let mut story = lost(&[dropped(1, 2, 4)]);
    story.evidence.calls.retain(|call| call.event_id.as_deref() != Some("kafka:t/0@3"));
    story.violates(&[LOSSES]);
    story.evidence.dropped.push(dropped(1, 2, 3));
    story.is_kept();
    story.evidence.dropped.swap(0, 1);
    story.is_kept();
}

#[test]
fn a_count_explains_what_was_published_while_it_grew_or_was_on_its_way_then() {
    for (produced_before, until, kept) in
        [(0, 2, false), (2, 3, true), (3, 4, true), (4, 4, false), (0, 4, true)]
    {
        let mut story = without_event_2();
        story.evidence.dropped = vec![dropped(1, produced_before, until)];
        if kept { story.is_kept() } else { story.violates(&[LOSSES]) }
    }
}

#[test]
fn what_one_function_was_called_for_was_not_dropped() {
    let mut story = without_event_2();
    story.evidence.dropped = vec![dropped(1, 2, 3)];
    story.call("p", "f", 2, 200);
    story.violates(&[LOSSES]);
}

#[test]
fn counts_are_told_and_stand_in_the_plan_where_they_were_made() {
    let mut run = without_event_2().evidence.run;
    run.lane_window = 0;
    let produced = |payload: &str| Entry::Produced(Message::of("a", payload.as_bytes(), vec![]));
    let (one, _) = dropped(2, 0, 1);
    let other = Dropped { why: "stopped".to_owned(), ..one.clone() };
    let plan = vec![
        Entry::Run(run),
        produced("7"),
        Entry::Dropped(one.clone()),
        produced("8"),
        Entry::Dropped(one),
        Entry::Dropped(other),
    ];
    let evidence = Evidence::of(plan).unwrap();
    let until: Vec<_> = evidence.dropped.iter().map(|(_, until)| *until).collect();
    assert_eq!(until, [1, 2, 2]);
    let text = judge(&evidence).to_string();
    assert!(text.contains("counted as dropped") && text.contains("4 full, 2 stopped"), "{text}");
}
