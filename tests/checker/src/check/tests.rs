//! Each rule, kept and broken, with a story made by hand. A checker that cannot fail is worth nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::evidence::{Content, Letter, Stored};
use crate::ledger::{End, Moment};
use crate::plan::{Broker, Fault, Ordering, Run, Sample, Settling, fnv1a};

use std::collections::HashMap;

mod commits;
mod evidence;
mod letters;
mod losses;
mod order;
mod outcomes;
mod repetitions;
mod sources;

const LOST: &str = "each event was answered well by each function, or is a dead letter";
const OUTCOMES: &str = "delivered + dead-lettered = produced, for each function";
const AGAIN: &str = "nothing answered well is called again without a fault to explain it";
const ORDER: &str = "no event is called before the one in front of it is finished";
const BOUND: &str = "no fault repeats more than it may";
const BEHIND: &str = "nothing is called again once the next of its key was answered well";
const LEFT: &str = "in the end the broker has nothing left";
const LOSSES: &str = "each event was called by each function, or is lost to a fault, or counted";
const APART: &str = "no two events of a key are called at the same time in one process";
const PAIRS: &str = "no function is called twice at the same time for an event in one process";
const COMMITS: &str = "no committed offset passes an event that is not finished";
const COMMITTED: &str = "in the end everything is committed";
const LOAD: &str = "each fault met calls running and events unread, as many as were wanted";
const STORED: &str = "the broker has each event that was produced, once";
const CALLS: &str = "each call carries one event's payload under its id";
const LETTERS: &str = "dead letters are byte for byte what was produced";
const ONCE: &str = "no dead letter is stored again without a fault to explain it";
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
                body: fnv1a(format!("event {position}").as_bytes()),
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
                settling: Settling::Interval { ms: 1_000 },
                lane_window: 0,
            },
            processes: vec!["p".to_owned()],
            beside: Vec::new(),
            produced: produced.collect(),
            sent_again: HashMap::new(),
            faults: Vec::new(),
            dropped: Vec::new(),
            calls: Vec::new(),
            stored,
            letters: Vec::new(),
            samples: Vec::new(),
            committed: vec![4],
            ends: vec![4],
            left: None,
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

    /// `g` fails for event 1, which becomes a letter.
    fn with_a_letter() -> Self {
        let mut story = Self::new();
        for event in [0, 2, 3] {
            story.deliver("p", event);
        }
        story.call("p", "f", 1, 200);
        story.call("p", "g", 1, 500);
        story.bury("g", 1);
        story.sample(4);
        story
    }

    /// The broker is another one, which is told of each event by itself and knows nothing of more than one at a time.
    fn settles_each(&mut self, broker: Broker, ordering: Ordering) {
        let settling = Settling::Single { lease_ms: 3_000, travel_ms: 0 };
        let run = &mut self.evidence.run;
        (run.broker, run.ordering, run.settling, run.lane_window) = (broker, ordering, settling, 1);
        self.evidence.left = Some(0);
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
            body: stored.body,
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
        let process = process.map(str::to_owned);
        let fault = Fault { process, ..Fault::new(kind, self.place, self.place) };
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
