//! What differs where the broker is not Kafka.

use super::*;
use crate::plan::{End as BrokerEnd, Entry, Message};

/// The usual four events at a broker that settles each on its own, with a window of one.
pub(super) fn at(broker: Broker, ordering: Ordering) -> Story {
    let mut story = Story::new();
    story.settles_each(broker, ordering);
    story
}

fn told(broker: Broker, ordering: Ordering) -> Story {
    let mut story = at(broker, ordering);
    for event in 0..4 {
        story.deliver("p", event);
    }
    story
}

#[test]
fn what_is_left_at_the_broker_is_not_settled() {
    let mut story = told(Broker::JetStream, Ordering::None);
    story.is_kept();
    for left in [Some(1), None] {
        story.evidence.left = left;
        story.violates(&[LEFT]);
    }
}

#[test]
fn a_kill_explains_no_more_than_the_window_held() {
    let mut story = told(Broker::JetStream, Ordering::None);
    story.killed();
    story.deliver("q", 3);
    story.is_kept();
    story.deliver("q", 2);
    story.violates(&[BOUND]);
    story.evidence.faults[0].0.forgotten = 1;
    story.is_kept();
}

#[test]
fn settlements_on_their_way_may_be_lost_with_who_sent_them() {
    let killed = |travel_ms| {
        let mut story = told(Broker::Sqs, Ordering::None);
        story.evidence.run.settling = Settling::Single { lease_ms: 0, travel_ms };
        story.killed();
        for event in 0..4 {
            story.deliver("q", event);
        }
        story
    };
    killed(100).is_kept();
    killed(1).violates(&[BOUND]);
}

#[test]
fn a_broker_that_was_away_gives_out_again_what_was_finished_meanwhile() {
    let killed = |outage| {
        let mut story = at(Broker::JetStream, Ordering::None);
        story.deliver("p", 0);
        let before = story.place;
        for event in 1..4 {
            story.deliver("p", event);
        }
        if outage {
            story.fault(FaultKind::BrokerOutage, None).before = before;
        }
        story.killed();
        for event in 0..4 {
            story.deliver("q", event);
        }
        story
    };
    killed(false).violates(&[BOUND]);
    killed(true).is_kept();
}

#[test]
fn only_mqtt_repeats_when_its_connection_ends() {
    for kind in [FaultKind::BrokerOutage, FaultKind::Freeze, FaultKind::Leave] {
        for broker in [Broker::Mqtt, Broker::JetStream, Broker::Sqs] {
            let repeats = !broker.ids_outlive_connections();
            let mut story = at(broker, Ordering::Key);
            for event in 0..3 {
                story.deliver("p", event);
            }
            story.wait_ms(1_000);
            story.deliver("p", 3);
            story.fault(kind, Some("p"));
            story.call("p", "f", 1, 200);
            if repeats { story.is_kept() } else { story.violates(&[AGAIN]) }
        }
    }
}

#[test]
fn what_a_frozen_process_held_may_outlive_it_for_a_lease() {
    let left = |after_ms| {
        let mut story = at(Broker::Sqs, Ordering::Key);
        story.evidence.run.settling = Settling::Single { lease_ms: 4_000, travel_ms: 0 };
        story.deliver("p", 0);
        story.fault(FaultKind::Freeze, Some("p"));
        for event in 1..3 {
            story.deliver("p", event);
        }
        story.wait_ms(after_ms);
        story.deliver("p", 3);
        story.fault(FaultKind::Leave, Some("p"));
        story.evidence.processes.push("q".to_owned());
        story.call("q", "f", 1, 200);
        story
    };
    left(3_000).is_kept();
    left(5_000).violates(&[AGAIN]);
}

#[test]
fn what_is_settled_while_nobody_listens_is_repeated() {
    let mut story = at(Broker::Mqtt, Ordering::Key);
    let before = story.place;
    for event in 0..4 {
        story.deliver("p", event);
    }
    let fault = story.fault(FaultKind::BrokerOutage, Some("p"));
    let after = std::mem::replace(&mut fault.before, before);
    for event in 0..4 {
        story.deliver("p", event);
    }
    story.is_kept();
    story.evidence.faults[0].0.before = after;
    story.evidence.run.settling = Settling::Single { lease_ms: 0, travel_ms: 1 };
    story.violates(&[BOUND]);
}

#[test]
fn strain_explains_nothing() {
    let mut story = told(Broker::Mqtt, Ordering::Key);
    story.fault(FaultKind::Strain, None);
    story.deliver("p", 3);
    story.violates(&[AGAIN]);
}

#[test]
fn ids_are_held_to_what_the_source_promises() {
    let mut story = told(Broker::JetStream, Ordering::None);
    let other = story.evidence.calls[2].event_id.clone();
    story.evidence.calls[0].event_id = other;
    story.violates(&[CALLS]);
    // The same event under another id each time.
    for (broker, kept) in [(Broker::JetStream, false), (Broker::Mqtt, true)] {
        let mut story = told(broker, Ordering::None);
        story.evidence.calls[0].event_id = Some("another".to_owned());
        if kept { story.is_kept() } else { story.violates(&[CALLS]) }
    }
}

#[test]
fn what_was_sent_twice_may_be_called_twice() {
    let mut story = told(Broker::Sqs, Ordering::None);
    story.call("p", "f", 3, 200);
    story.evidence.calls[8].event_id = Some("the copy".to_owned());
    story.violates(&[CALLS, AGAIN]);
    let body = story.evidence.stored[3].body;
    story.evidence.sent_again.insert(body, 1);
    story.is_kept();
    story.call("p", "f", 3, 200);
    story.violates(&[AGAIN]);
}

#[test]
fn behind_a_follower_nothing_is_called_again() {
    let mut story = told(Broker::Sqs, Ordering::Settled);
    story.killed();
    story.deliver("q", 2);
    story.is_kept();
    // Event 2 has event 0's key.
    story.deliver("q", 0);
    story.violates(&[BOUND, BEHIND]);
}

#[test]
fn the_plan_tells_what_other_brokers_have() {
    let run = at(Broker::JetStream, Ordering::Key).evidence.run;
    let produced = |payload: &str| Entry::Produced(Message::of("a", payload.as_bytes(), vec![]));
    let end = Entry::End(BrokerEnd { left: 2 });
    let plan = vec![Entry::Run(run), produced("7"), produced("8"), produced("7"), end];
    let evidence = Evidence::of(plan).unwrap();
    let bodies: Vec<_> = evidence.stored.iter().map(|event| event.body).collect();
    assert_eq!(bodies, [fnv1a(b"7"), fnv1a(b"8")]);
    assert_eq!((evidence.copies(0), evidence.copies(1), evidence.left), (1, 0, Some(2)));
}
