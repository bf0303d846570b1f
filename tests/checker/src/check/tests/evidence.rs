//! What makes the evidence worth anything: the plan, the load, the processes.

use super::*;

#[test]
fn a_fault_has_to_meet_calls_and_a_backlog() {
    let story = |running, unread| {
        let mut story = Story::new();
        story.deliver("p", 0);
        let call = story.start("p", "f", 1);
        let fault = story.fault(FaultKind::GatewayOutage, None);
        (fault.at_least_running, fault.at_least_unread) = (running, unread);
        story.end(call, 200);
        story.call("p", "g", 1, 200);
        story.deliver("p", 2);
        story.deliver("p", 3);
        story.sample(4);
        story
    };
    story(1, 2).is_kept();
    story(2, 2).violates(&[LOAD]);
    story(1, 3).violates(&[LOAD]);
    // What may have been received in advance is not unread.
    let mut received = story(1, 2);
    received.evidence.run.lane_window = 1;
    received.violates(&[LOAD]);
    // Nor is what was produced afterwards.
    let mut later = story(1, 2);
    later.evidence.faults[0].1 = 3;
    later.violates(&[LOAD]);
}

#[test]
fn the_broker_has_to_have_the_plan() {
    let mut story = Story::told();
    story.evidence.produced[0].1 = Some(STANDARD.encode("z"));
    story.violates(&[STORED]);
    let mut story = Story::told();
    story.evidence.produced.push((7, None));
    story.violates(&[STORED]);
    let mut story = Story::told();
    story.evidence.produced.pop();
    story.violates(&[STORED]);
}

#[test]
fn a_call_has_to_carry_an_event_under_its_id() {
    let mut story = Story::told();
    story.evidence.calls[0].event_id = Some("kafka:t/0@1".to_owned());
    story.violates(&[CALLS]);
    let mut story = Story::told();
    story.evidence.calls[0].event_id = None;
    story.violates(&[CALLS]);
    // A payload that was changed on its way.
    let mut story = Story::told();
    story.evidence.calls[0].body ^= 1;
    story.violates(&[CALLS, LOST, OUTCOMES, COMMITS]);
    let mut story = Story::told();
    story.start("p", "h", 0);
    story.violates(&[CALLS]);
}

#[test]
fn every_process_has_to_call_and_to_be_known() {
    let mut story = Story::told();
    story.evidence.processes.push("q".to_owned());
    story.violates(&[PROCESSES]);
    let mut story = Story::told();
    story.evidence.processes.clear();
    story.violates(&[PROCESSES]);
    let mut story = Story::told();
    story.evidence.processes.push("q".to_owned());
    story.evidence.calls[7].process = "q".to_owned();
    story.violates(&[PROCESSES]);
}

#[test]
fn a_function_beside_is_not_judged() {
    let mut story = Story::told();
    story.evidence.beside.push("calm".to_owned());
    story.start("p", "calm", 0);
    let calls = story.evidence.calls.clone();
    story.evidence.called(calls);
    story.is_kept();
}
