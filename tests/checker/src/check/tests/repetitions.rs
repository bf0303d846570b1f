//! What is called again, and what explains it.

use super::*;

#[test]
fn a_repetition_needs_a_fault() {
    let mut story = Story::told();
    story.call("p", "f", 3, 200);
    story.violates(&[AGAIN]);
    // Whatever the second call comes to.
    let mut story = Story::told();
    story.call("p", "f", 3, 500);
    story.violates(&[AGAIN]);
}

#[test]
fn an_unexplained_repetition_is_told_with_what_may_explain_it() {
    let mut story = Story::told();
    story.fault(FaultKind::Strain, None).how = Some("cold start".to_owned());
    let slow = story.start("p", "f", 3);
    story.wait_ms(2_499);
    story.end(slow, 200);
    story.wait_ms(1_699);
    story.call("p", "g", 2, 200);
    story.wait_ms(98);
    story.call("p", "f", 3, 200);
    let judgement = judge(&story.evidence);
    let rule = judgement.rules.iter().find(|rule| rule.name == AGAIN).unwrap();
    let told = rule.named.last().unwrap();
    for part in [
        "after 2.5s, between the faults \"cold start\" and \"none\"",
        "1.8s later",
        "stood still for up to 1.7s",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_kill_explains_what_was_in_flight_or_just_finished() {
    let mut story = Story::told();
    story.wait_ms(900);
    story.killed();
    story.deliver("q", 3);
    story.is_kept();
    let judgement = judge(&story.evidence);
    assert_eq!((judgement.faults[0].repeated, judgement.faults[0].bound), (2, 8));
}

#[test]
fn a_kill_does_not_explain_what_was_finished_a_commit_interval_before() {
    let killed = |wait| {
        let mut story = Story::new();
        for event in 0..3 {
            story.deliver("p", event);
        }
        story.wait_ms(wait);
        story.deliver("p", 3);
        story.sample(4);
        story.killed();
        story.deliver("q", 2);
        story.deliver("q", 3);
        story
    };
    killed(1_200).is_kept();
    killed(1_300).violates(&[AGAIN]);
}

#[test]
fn an_event_is_in_flight_until_its_last_function_has_answered() {
    let mut story = Story::new();
    story.deliver("p", 0);
    story.call("p", "f", 1, 200);
    story.wait_ms(10_000);
    story.killed();
    for event in 1..4 {
        story.deliver("q", event);
    }
    story.sample(4);
    story.is_kept();
}

#[test]
fn the_death_of_another_process_explains_nothing() {
    let mut story = Story::told();
    story.killed();
    story.evidence.faults[0].0.process = Some("r".to_owned());
    story.deliver("q", 3);
    story.violates(&[AGAIN]);
}

#[test]
fn a_stopped_gateway_explains_an_answer_lost_on_its_way_and_no_more() {
    let mut story = Story::told();
    story.fault(FaultKind::GatewayOutage, None);
    story.call("p", "g", 3, 200);
    story.is_kept();

    let mut story = Story::new();
    for event in 0..3 {
        story.deliver("p", event);
    }
    story.wait_ms(500);
    story.deliver("p", 3);
    story.sample(4);
    story.fault(FaultKind::GatewayOutage, None);
    story.call("p", "g", 2, 200);
    story.violates(&[AGAIN]);
}

#[test]
fn who_is_asked_has_told_the_broker_and_who_is_not_may_have_not() {
    for (kind, explains) in [
        (FaultKind::Lose, true),
        (FaultKind::Kill, true),
        (FaultKind::Revoke, false),
        (FaultKind::Leave, false),
    ] {
        let mut story = Story::new();
        for event in 0..3 {
            story.deliver("p", event);
        }
        story.wait_ms(500);
        story.deliver("p", 3);
        story.sample(4);
        story.fault(kind, Some("p"));
        story.evidence.processes.push("q".to_owned());
        story.deliver("q", 2);
        if explains { story.is_kept() } else { story.violates(&[AGAIN]) }
    }
}

#[test]
fn a_process_that_was_killed_after_another_explains_its_own_repetitions() {
    let mut story = Story::told();
    story.killed();
    story.wait_ms(5_000);
    story.deliver("q", 3);
    story.fault(FaultKind::Kill, Some("q"));
    story.evidence.processes.push("r".to_owned());
    story.deliver("r", 3);
    story.is_kept();
}

/// Events 3 and 1 are finished, and committed or not; ten seconds later `p` loses its lanes, because
/// brokers were away or not.
fn lost_in_an_outage(committed: bool, outage: bool) -> Story {
    let mut story = Story::new();
    story.deliver("p", 0);
    story.deliver("p", 3);
    story.wait_ms(5_000);
    // Moments are places of the ledger, so there has to be one.
    story.deliver("p", 1);
    let before = story.place;
    story.sample(0);
    story.sample(if committed { 1 } else { 0 });
    story.wait_ms(10_000);
    story.deliver("p", 2);
    if outage {
        story.fault(FaultKind::BrokerOutage, None).before = before;
    }
    story.fault(FaultKind::Lose, Some("p"));
    story.evidence.processes.push("q".to_owned());
    story.deliver("q", 3);
    story
}

#[test]
fn brokers_that_were_away_had_not_been_told() {
    lost_in_an_outage(false, false).violates(&[AGAIN]);
    lost_in_an_outage(false, true).is_kept();
    // With the commit of event 0 they were told of event 3 as well.
    lost_in_an_outage(true, true).violates(&[AGAIN]);
}

#[test]
fn an_outage_that_nobody_lost_a_lane_by_explains_nothing() {
    let mut story = Story::told();
    story.fault(FaultKind::BrokerOutage, None);
    story.deliver("p", 3);
    story.violates(&[AGAIN]);
}
