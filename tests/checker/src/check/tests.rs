//! Each rule, kept and broken. A checker that cannot fail is worth nothing.

use super::*;
use crate::evidence::{Content, Letter, Stored};
use crate::ledger::End;
use crate::plan::{Broker, Fault, Ordering, Run, Sample};

const LOST: &str = "each event was answered well by each function, or is a dead letter";
const OUTCOMES: &str = "delivered + dead-lettered = produced, for each function";
const AGAIN: &str = "nothing answered well is called again without a fault to explain it";
const ORDER: &str = "first good answers come in order, for each key and function";
const APART: &str = "no two events of a key are called at the same time in one process";
const PAIRS: &str = "no function is called twice at the same time for an event in one process";
const COMMITS: &str = "no committed offset passes an event that is not finished";
const COMMITTED: &str = "in the end everything is committed";
const LOAD: &str = "each fault met calls running and events unread, as many as were wanted";
const STORED: &str = "the broker has each event that was produced, once";
const CALLS: &str = "each call carries one event's payload under its id";
const LETTERS: &str = "dead letters are byte for byte what was produced";
const PROCESSES: &str = "each process called, on connections of its own";

/// Four events in one lane, with the keys a, b, a and none, for the functions f and g; and a ledger to be written.
struct Story {
    evidence: Evidence,
    place: u64,
    ns: u64,
}

impl Story {
    fn new() -> Self {
        let keys = [Some("a"), Some("b"), Some("a"), None];
        let stored: Vec<_> = (0_i64..)
            .zip(keys)
            .map(|(position, key)| Stored {
                id: format!("kafka:t/0@{position}"),
                lane: 0,
                position,
                content: Content {
                    key: key.map(|key| key.as_bytes().to_vec()),
                    payload: format!("event {position}").into_bytes(),
                    headers: vec![("tag".to_owned(), Some(b"x".to_vec()))],
                },
            })
            .collect();
        let produced = stored.iter().map(|event| {
            let content = &event.content;
            (fnv1a(&content.payload), content.key.as_ref().map(|key| STANDARD.encode(key)))
        });
        let evidence = Evidence {
            run: Run {
                name: "test".to_owned(),
                seed: 1,
                broker: Broker::Kafka {
                    address: String::new(),
                    topic: "t".to_owned(),
                    group: "g".to_owned(),
                    dead_letters: None,
                },
                functions: vec!["f".to_owned(), "g".to_owned()],
                ordering: Ordering::Key,
                commit_interval_ms: 1_000,
                lane_window: 0,
            },
            processes: vec!["p".to_owned()],
            produced: produced.collect(),
            faults: Vec::new(),
            calls: Vec::new(),
            stored,
            letters: Vec::new(),
            samples: Vec::new(),
            committed: vec![4],
            ends: vec![4],
        };
        // A day after 1970, so that there is a time before.
        Self { evidence, place: 100, ns: 86_400_000_000_000 }
    }

    /// Everything is called once, in order, and committed.
    fn told() -> Self {
        let mut story = Self::new();
        for event in 0..4 {
            story.deliver("p", event);
        }
        story.sample(4);
        story
    }

    fn moment(&mut self) -> Moment {
        self.place += 10;
        self.ns += 1_000_000;
        Moment { place: self.place, ns: self.ns }
    }

    fn wait_ms(&mut self, ms: u64) {
        self.ns += ms * 1_000_000;
    }

    fn start(&mut self, process: &str, function: &str, event: usize) -> usize {
        let start = self.moment();
        let stored = &self.evidence.stored[event];
        self.evidence.calls.push(Call {
            function: function.to_owned(),
            process: process.to_owned(),
            connection: u64::from(process.as_bytes()[0]),
            body: fnv1a(&stored.content.payload),
            event_id: Some(stored.id.clone()),
            start,
            end: None,
        });
        self.evidence.calls.len() - 1
    }

    fn end(&mut self, call: usize, status: u16) {
        let at = self.moment();
        let end = End { at, status, caller_left: status == 0, too_late: false };
        self.evidence.calls[call].end = Some(end);
    }

    fn call(&mut self, process: &str, function: &str, event: usize, status: u16) {
        let call = self.start(process, function, event);
        self.end(call, status);
    }

    fn deliver(&mut self, process: &str, event: usize) {
        self.call(process, "f", event, 200);
        self.call(process, "g", event, 200);
    }

    fn bury(&mut self, function: &str, event: usize) {
        let stored = &self.evidence.stored[event];
        let position = i64::try_from(self.evidence.letters.len()).unwrap();
        self.evidence.letters.push(Letter {
            position,
            event_id: stored.id.clone(),
            function: function.to_owned(),
            content: stored.content.clone(),
        });
    }

    fn sample(&mut self, committed: i64) {
        let letters = Some(i64::try_from(self.evidence.letters.len()).unwrap());
        self.evidence.samples.push(Sample {
            wall_ns: self.ns,
            committed: vec![committed],
            ledger: self.place,
            letters,
        });
    }

    fn fault(&mut self, kind: FaultKind, process: Option<&str>) -> &mut Fault {
        let produced = self.evidence.produced.len();
        let fault = Fault {
            kind,
            process: process.map(str::to_owned),
            before: self.place,
            after: self.place,
            at_least_running: 0,
            at_least_unread: 0,
        };
        self.evidence.faults.push((fault, produced));
        &mut self.evidence.faults.last_mut().unwrap().0
    }

    /// The process `p` is killed, and `q` started.
    fn killed(&mut self) {
        self.fault(FaultKind::Kill, Some("p"));
        self.evidence.processes.push("q".to_owned());
    }

    #[track_caller]
    fn violates(&self, rules: &[&str]) {
        let judgement = judge(&self.evidence);
        let violated = judgement.rules.iter().filter(|rule| rule.violated > 0);
        let violated: Vec<_> = violated.map(|rule| rule.name).collect();
        assert_eq!(violated, rules, "{judgement}");
        assert_eq!(judgement.kept(), rules.is_empty());
    }

    #[track_caller]
    fn is_kept(&self) {
        self.violates(&[]);
    }
}

#[test]
fn a_promise_kept() {
    let story = Story::told();
    story.is_kept();
    let text = judge(&story.evidence).to_string();
    assert!(text.contains("the promise was kept"), "{text}");
}

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

/// `g` fails for event 1, which becomes a letter.
fn with_a_letter() -> Story {
    let mut story = Story::new();
    for event in [0, 2, 3] {
        story.deliver("p", event);
    }
    story.call("p", "f", 1, 200);
    story.call("p", "g", 1, 500);
    story.bury("g", 1);
    story.sample(4);
    story
}

#[test]
fn a_letter_is_an_outcome_if_it_is_byte_for_byte_the_event() {
    with_a_letter().is_kept();
    let changes: [fn(&mut Content); 4] = [
        |content| content.payload[0] ^= 1,
        |content| content.key = None,
        |content| content.headers[0].1 = None,
        |content| content.headers.push(("more".to_owned(), None)),
    ];
    for change in changes {
        let mut story = with_a_letter();
        change(&mut story.evidence.letters[0].content);
        story.violates(&[LETTERS]);
    }
}

#[test]
fn a_letter_of_something_else_is_no_outcome() {
    let mut story = with_a_letter();
    story.evidence.letters[0].event_id = "kafka:t/0@9".to_owned();
    story.violates(&[LOST, LETTERS, OUTCOMES, COMMITS]);
    let mut story = with_a_letter();
    story.evidence.letters[0].function = "h".to_owned();
    story.violates(&[LOST, LETTERS, OUTCOMES, COMMITS]);
}

#[test]
fn two_outcomes_are_one_too_many() {
    let mut story = with_a_letter();
    story.bury("g", 1);
    story.violates(&[OUTCOMES]);
    let mut story = Story::told();
    story.bury("g", 1);
    story.violates(&[OUTCOMES]);
}

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
    story.fault(FaultKind::GatewayStop, None);
    story.call("p", "g", 3, 200);
    story.is_kept();

    let mut story = Story::new();
    for event in 0..3 {
        story.deliver("p", event);
    }
    story.wait_ms(500);
    story.deliver("p", 3);
    story.sample(4);
    story.fault(FaultKind::GatewayStop, None);
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
    overlapping(0, 2, ["p", "p"]).violates(&[APART]);
    overlapping(0, 2, ["p", "q"]).is_kept();
    overlapping(0, 1, ["p", "p"]).is_kept();
    overlapping(0, 3, ["p", "p"]).is_kept();
    let mut story = overlapping(0, 1, ["p", "p"]);
    story.evidence.run.ordering = Ordering::Partition;
    story.violates(&[APART]);
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
    let mut story = with_a_letter();
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

#[test]
fn a_fault_has_to_meet_calls_and_a_backlog() {
    let story = |running, unread| {
        let mut story = Story::new();
        story.deliver("p", 0);
        let call = story.start("p", "f", 1);
        let fault = story.fault(FaultKind::GatewayStop, None);
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
