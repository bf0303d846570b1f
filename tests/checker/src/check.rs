//! The rules.
//!
//! Each is applied to the whole evidence and notes every violation; none stops the others. What they allow is exactly
//! what the promise allows: after a fault, events that were in flight, or were finished within the last commit interval,
//! may be called again.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::evidence::Evidence;
use crate::ledger::{Call, Moment};
use crate::plan::{FaultKind, fnv1a};

mod facts;
mod judgement;
#[cfg(test)]
mod tests;

use facts::{Exposed, Facts};
use judgement::FaultRow;
pub use judgement::{Judgement, Rule};

/// By how much the gateway may be late to notice that a caller has given a call up.
const LEAVING_NOTICED_NS: u64 = 250_000_000;

/// Applies every rule.
#[must_use]
pub fn judge(evidence: &Evidence) -> Judgement {
    let facts = Facts::of(evidence);
    let run = &evidence.run;
    let mut judgement =
        Judgement { title: format!("{} (seed {})", run.name, run.seed), ..Judgement::default() };
    let exposed: Vec<_> = evidence.faults.iter().map(|(fault, _)| facts.exposed(fault)).collect();
    let (repetitions, repeated) = repetitions(&facts, &exposed);
    judgement.rules = vec![
        stored_as_produced(&facts),
        calls_of_events(&facts),
        nothing_lost(&facts),
        letters_unchanged(&facts),
        one_outcome(&facts, &exposed),
        repetitions,
        first_answers_in_order(&facts),
        equal_keys_apart(&facts),
        pairs_apart(&facts),
        commits_behind_the_finished(&facts),
        all_committed(&facts),
        faults_under_load(&facts),
        processes_called(&facts),
    ];
    judgement.figures = figures(&facts, &exposed, repeated.iter().sum());
    let faults = evidence.faults.iter().zip(&exposed).zip(repeated);
    judgement.faults = faults
        .map(|(((fault, produced), exposed), repeated)| FaultRow {
            what: match (&fault.how, &fault.process) {
                (Some(how), _) => how.clone(),
                (None, Some(process)) => format!("{} {process}", word(fault.kind)),
                (None, None) => word(fault.kind).to_owned(),
            },
            running: facts.running_at(fault),
            unread: facts.unread_at(fault, *produced),
            repeated,
            bound: exposed.pairs,
        })
        .collect();
    judgement
}

fn word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Kill => "SIGKILL",
        FaultKind::Leave => "SIGTERM",
        FaultKind::Revoke => "rebalance",
        FaultKind::Lose => "lanes lost",
        FaultKind::GatewayStop => "gateway down",
        FaultKind::BrokerOutage => "brokers hurt",
    }
}

fn figures(facts: &Facts<'_>, exposed: &[Exposed<'_>], repeated: usize) -> Vec<(String, String)> {
    let evidence = facts.evidence;
    let mut figures = vec![
        ("produced".to_owned(), evidence.produced.len().to_string()),
        ("calls".to_owned(), evidence.calls.len().to_string()),
    ];
    for (number, function) in evidence.run.functions.iter().enumerate() {
        let pairs = || (0..evidence.stored.len()).map(|event| &facts.pairs(event)[number]);
        let buried = pairs().filter(|pair| !pair.letters.is_empty()).count();
        let well = |pair: &&facts::Pair| facts.first_well(pair).is_some();
        let delivered = pairs().filter(|pair| pair.letters.is_empty()).filter(well).count();
        figures.push((function.clone(), format!("{delivered} delivered + {buried} dead-lettered")));
    }
    let failed = evidence.calls.iter().filter(|call| call.well().is_none()).count();
    let bound: usize = exposed.iter().map(|exposed| exposed.pairs).sum();
    let span = |at: fn(&Call) -> u64| evidence.calls.iter().map(at);
    let first = span(|call| call.start.ns).min().unwrap_or(0);
    let last = span(|call| call.end.map_or(call.start.ns, |end| end.at.ns)).max().unwrap_or(0);
    let mut gap = 0;
    for pair in evidence.samples.windows(2) {
        gap = gap.max(pair[1].wall_ns.saturating_sub(pair[0].wall_ns));
    }
    let samples = evidence.samples.len();
    figures.extend([
        ("calls not answered well".to_owned(), failed.to_string()),
        ("answered well again".to_owned(), format!("{repeated}, at most {bound}")),
        ("processes".to_owned(), evidence.processes.len().to_string()),
        (
            "samples of offsets".to_owned(),
            format!("{samples}, at most {} ms apart", gap / 1_000_000),
        ),
        ("first to last call".to_owned(), format!("{} s", (last - first) / 1_000_000_000)),
    ]);
    figures
}

/// The broker has what the driver wrote down, each once, and nothing else.
fn stored_as_produced(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("the broker has each event that was produced, once");
    let evidence = facts.evidence;
    let mut bodies = HashMap::new();
    for (number, event) in evidence.stored.iter().enumerate() {
        let before = bodies.insert(fnv1a(&event.content.payload), number);
        let twice = before
            .map(|other| format!("{} has the payload of {}", event.id, evidence.stored[other].id));
        rule.look(twice);
    }
    for (number, (body, key)) in evidence.produced.iter().enumerate() {
        rule.look(match bodies.remove(body) {
            None => Some(format!("event {number} of the plan is not there")),
            Some(stored) => {
                let stored = &evidence.stored[stored];
                let there = stored.content.key.as_ref().map(|key| STANDARD.encode(key));
                (there != *key).then(|| format!("{} has the key {there:?}, not {key:?}", stored.id))
            }
        });
    }
    for number in bodies.into_values() {
        rule.look(Some(format!("{} is not of the plan", evidence.stored[number].id)));
    }
    rule
}

/// Every call carries the payload of an event, under that event's id, to a function of the run.
fn calls_of_events(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("each call carries one event's payload under its id");
    for (call, event) in facts.evidence.calls.iter().zip(&facts.event_of) {
        rule.look(match event {
            None => Some(format!(
                "a call of {} with an unknown payload, as {:?}",
                call.function, call.event_id
            )),
            Some(event) => {
                let id = &facts.evidence.stored[*event].id;
                (call.event_id.as_ref() != Some(id))
                    .then(|| format!("{id} was called as {:?}", call.event_id))
            }
        });
    }
    rule
}

/// Every event was answered well by every function, or is a dead letter for it.
fn nothing_lost(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("each event was answered well by each function, or is a dead letter");
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let lost = pair.letters.is_empty() && facts.first_well(pair).is_none();
            rule.look(lost.then(|| {
                format!("{} was lost after {} calls", facts.name(event, function), pair.calls.len())
            }));
        }
    }
    rule
}

/// Every dead letter is the event it says it is, unchanged.
fn letters_unchanged(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("dead letters are byte for byte what was produced");
    let by_id = facts.evidence.by_id();
    for letter in &facts.evidence.letters {
        let named = format!("letter {} for {:?}", letter.position, letter.event_id);
        rule.look(match by_id.get(&*letter.event_id) {
            None => Some(format!("{named} is of no event")),
            Some(_) if !facts.evidence.run.functions.contains(&letter.function) => {
                Some(format!("{named} is of the unknown function {:?}", letter.function))
            }
            Some(event) => {
                let was = &facts.evidence.stored[*event].content;
                let is = &letter.content;
                let differs = [
                    (was.payload != is.payload, "payload"),
                    (was.key != is.key, "key"),
                    (was.headers != is.headers, "headers"),
                ];
                let differs: Vec<_> = differs.iter().filter(|(d, _)| *d).map(|(_, w)| *w).collect();
                (!differs.is_empty()).then(|| format!("{named} differs in {}", differs.join(", ")))
            }
        });
    }
    rule
}

/// A pair is delivered or dead-lettered, not both, and has one letter: but for what a fault explains.
fn one_outcome(facts: &Facts<'_>, exposed: &[Exposed<'_>]) -> Rule {
    let mut rule = Rule::new("delivered + dead-lettered = produced, for each function");
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let outcomes = pair.letters.len() + usize::from(facts.first_well(pair).is_some());
            let calls = || pair.calls.iter().map(|call| &facts.evidence.calls[*call]);
            let explained = || {
                let (Some(first), Some(last)) = (calls().next(), calls().next_back()) else {
                    return false;
                };
                exposed.iter().any(|exposed| exposed.explains(event, first, last))
            };
            rule.look((outcomes != 1 && !(outcomes > 1 && explained())).then(|| {
                let letters = pair.letters.len();
                format!(
                    "{} has {outcomes} outcomes, {letters} of them letters",
                    facts.name(event, function)
                )
            }));
        }
    }
    rule
}

/// Nothing that was answered well is called again, but for what a fault explains. Counts the repetitions that each fault
/// explains.
fn repetitions(facts: &Facts<'_>, exposed: &[Exposed<'_>]) -> (Rule, Vec<usize>) {
    let mut rule = Rule::new("nothing answered well is called again without a fault to explain it");
    let mut repeated = vec![0; exposed.len()];
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let mut first: Option<&Call> = None;
            for call in pair.calls.iter().map(|call| &facts.evidence.calls[*call]) {
                if let Some(first) = first {
                    let by =
                        exposed.iter().rposition(|exposed| exposed.explains(event, first, call));
                    if let Some(by) = by {
                        repeated[by] += usize::from(call.well().is_some());
                    }
                    rule.look(by.is_none().then(|| {
                        format!(
                            "{} was answered well at {} by process {}, and called again at {} by process {}",
                            facts.name(event, function),
                            first.end.map_or(0, |end| end.at.place),
                            first.process,
                            call.start.place,
                            call.process
                        )
                    }));
                } else {
                    rule.look(None);
                }
                if call.well().is_some() {
                    first = Some(call);
                }
            }
        }
    }
    (rule, repeated)
}

/// For each key and function, first good answers come in the order of the events.
fn first_answers_in_order(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("first good answers come in order, for each key and function");
    let mut last = HashMap::new();
    for event in 0..facts.evidence.stored.len() {
        let Some(key) = facts.order_key(event) else { continue };
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let Some(well) = facts.first_well(pair) else { continue };
            let (before, at) = last.insert((key, function), (event, well)).unwrap_or((event, 0));
            rule.look((well < at).then(|| {
                let other = &facts.evidence.stored[before].id;
                format!("{} was answered well before {other}", facts.name(event, function))
            }));
        }
    }
    rule
}

/// In one process, two events with equal keys are never called at the same time.
fn equal_keys_apart(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("no two events of a key are called at the same time in one process");
    let mut running: HashMap<_, Vec<(usize, &Call)>> = HashMap::new();
    for (call, event) in facts.evidence.calls.iter().zip(&facts.event_of) {
        let Some(event) = *event else { continue };
        let Some(key) = facts.order_key(event) else { continue };
        let running = running.entry((&*call.process, key)).or_default();
        running.retain(|(_, other)| !is_over(other, call.start));
        let other = running.iter().find(|(other, _)| *other != event);
        rule.look(other.map(|(other, _)| {
            let stored = &facts.evidence.stored;
            format!(
                "{} began while {} ran in process {}",
                stored[event].id, stored[*other].id, call.process
            )
        }));
        running.push((event, call));
    }
    rule
}

/// In one process, a function is called for an event once at a time.
fn pairs_apart(facts: &Facts<'_>) -> Rule {
    let mut rule =
        Rule::new("no function is called twice at the same time for an event in one process");
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            for two in pair.calls.windows(2) {
                let (first, again) = (&facts.evidence.calls[two[0]], &facts.evidence.calls[two[1]]);
                let overlap = first.process == again.process && !is_over(first, again.start);
                rule.look(overlap.then(|| {
                    format!(
                        "{} overlaps itself in process {}",
                        facts.name(event, function),
                        first.process
                    )
                }));
            }
        }
    }
    rule
}

/// Whether a call was over for its caller at a moment.
fn is_over(call: &Call, at: Moment) -> bool {
    call.end.is_some_and(|end| {
        end.at.place < at.place
            || (end.caller_left && end.at.ns < at.ns.saturating_add(LEAVING_NOTICED_NS))
    })
}

/// No offset was ever seen committed before everything below it was finished.
fn commits_behind_the_finished(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("no committed offset passes an event that is not finished");
    let evidence = facts.evidence;
    if evidence.samples.is_empty() {
        rule.look(Some("there is no sample of the committed offsets".to_owned()));
    }
    // For each lane, by position: how long the ledger, and how many the letters, when all up to there was finished.
    let mut lanes: Vec<Vec<(i64, Finished)>> = vec![Vec::new(); evidence.ends.len()];
    for (event, stored) in evidence.stored.iter().enumerate() {
        let lane = &mut lanes[stored.lane];
        let mut all = lane.last().map(|(_, finished)| *finished).unwrap_or_default();
        for pair in facts.pairs(event) {
            let letter = pair.letters.first().map(|letter| evidence.letters[*letter].position + 1);
            match (facts.first_well(pair), letter) {
                (Some(well), _) => all.ledger = all.ledger.max(well),
                (None, Some(letters)) => all.letters = all.letters.max(letters),
                (None, None) => all.ledger = u64::MAX,
            }
        }
        lane.push((stored.position, all));
    }
    for sample in &evidence.samples {
        for (number, (committed, lane)) in sample.committed.iter().zip(&lanes).enumerate() {
            let below = lane.partition_point(|(position, _)| position < committed);
            let Some((_, finished)) = below.checked_sub(1).map(|last| &lane[last]) else {
                rule.look(None);
                continue;
            };
            let passes = finished.ledger > sample.ledger
                || finished.letters > sample.letters.unwrap_or_default();
            rule.look(passes.then(|| {
                let open = lane.iter().find(|(_, finished)| finished.ledger > sample.ledger);
                let open = open.map_or_else(|| "a letter".to_owned(), |(at, _)| format!("position {at}"));
                format!(
                    "lane {number} was committed up to {committed} when {open} was not finished (ledger at {})",
                    sample.ledger
                )
            }));
        }
    }
    rule
}

/// What had to be written before a commit.
#[derive(Clone, Copy, Default)]
struct Finished {
    ledger: u64,
    letters: i64,
}

/// Once all is done, all is committed.
fn all_committed(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("in the end everything is committed");
    for (lane, end) in facts.evidence.ends.iter().enumerate() {
        let committed = facts.evidence.committed.get(lane).copied().unwrap_or(-1);
        rule.look(
            (committed != *end && *end > 0)
                .then(|| format!("lane {lane} ends at {end} and is committed up to {committed}")),
        );
    }
    rule
}

/// A fault that met nobody at work proves nothing.
fn faults_under_load(facts: &Facts<'_>) -> Rule {
    let mut rule =
        Rule::new("each fault met calls running and events unread, as many as were wanted");
    for (number, (fault, produced)) in facts.evidence.faults.iter().enumerate() {
        let (running, unread) = (facts.running_at(fault), facts.unread_at(fault, *produced));
        let idle = running < fault.at_least_running || unread < fault.at_least_unread;
        rule.look(idle.then(|| {
            format!("fault {number}, {}: {running} running, {unread} unread", word(fault.kind))
        }));
    }
    rule
}

/// Every process that was started has called, and every call is of one of them, on connections of its own.
fn processes_called(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("each process called, on connections of its own");
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    let mut owners = HashMap::new();
    let mut shared = HashSet::new();
    for call in &facts.evidence.calls {
        *calls.entry(&call.process).or_default() += 1;
        let owner = *owners.entry(call.connection).or_insert(&*call.process);
        if owner != call.process {
            shared.insert((call.connection, owner, &*call.process));
        }
    }
    for process in &facts.evidence.processes {
        let silent = calls.remove(&**process).is_none();
        rule.look(silent.then(|| format!("process {process} made no call")));
    }
    for (process, calls) in calls {
        rule.look(Some(format!("{calls} calls of a process {process:?} that was never started")));
    }
    for (connection, one, other) in shared {
        rule.look(Some(format!("connection {connection} is of {one} and of {other}")));
    }
    rule
}
