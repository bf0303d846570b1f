//! What is called again after a good answer, and whether a fault explains it.

use std::time::Duration;

use super::facts::{Exposed, Facts};
use super::judgement::Rule;
use super::what;
use crate::ledger::Call;

/// Nothing that was answered well is called again, but for what a fault explains. Counts the repetitions that each fault
/// explains.
pub(super) fn repetitions(facts: &Facts<'_>, exposed: &[Exposed<'_>]) -> (Rule, Vec<usize>) {
    let mut rule = Rule::new("nothing answered well is called again without a fault to explain it");
    let mut repeated = vec![0; exposed.len()];
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let mut first: Option<&Call> = None;
            let mut copies = facts.evidence.copies(event);
            for call in pair.calls.iter().map(|call| &facts.evidence.calls[*call]) {
                if let Some(first) = first {
                    let by =
                        exposed.iter().rposition(|exposed| exposed.explains(event, first, call));
                    if let Some(by) = by {
                        repeated[by] += usize::from(call.well().is_some());
                    }
                    let copy = by.is_none() && copies > 0;
                    copies -= usize::from(copy);
                    rule.look((by.is_none() && !copy).then(|| {
                        format!("{} {}", facts.name(event, function), again(facts, first, call))
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

/// How a call was repeated, with what tells an answer that was lost from one that was forgotten: how long the call took,
/// and after what, how long after it, and whether anything happened meanwhile.
fn again(facts: &Facts<'_>, first: &Call, call: &Call) -> String {
    let answered = first.end.map_or(first.start, |end| end.at);
    let span = |from: u64, until: u64| Duration::from_nanos(until.saturating_sub(from));
    let mut faults = facts.evidence.faults.iter().map(|(fault, _)| fault);
    let one = faults.clone().rev().find(|fault| fault.before < answered.place).map(what);
    let next = faults.find(|fault| fault.before >= answered.place).map(what);
    let name = |fault: Option<String>| fault.unwrap_or_else(|| "none".to_owned());
    format!(
        "was answered well at {} by process {}, after {:.1?}, between the faults \"{}\" and \"{}\", and called again at {} by process {}, \
         {:.1?} later, in which the ledger stood still for up to {:.1?}",
        answered.place,
        first.process,
        span(first.start.ns, answered.ns),
        name(one),
        name(next),
        call.start.place,
        call.process,
        span(answered.ns, call.start.ns),
        facts.stood_still(answered.place, call.start.place),
    )
}

/// No fault is followed by more repetitions than the promise allows it. Where what it explains is told by time, each
/// repetition has been held against that already; where it is told by number, it is held against it here.
pub(super) fn within_bounds(
    facts: &Facts<'_>,
    exposed: &[Exposed<'_>],
    repeated: &[usize],
) -> Rule {
    let mut rule = Rule::new("no fault repeats more than it may");
    let faults = facts.evidence.faults.iter().zip(exposed.iter().zip(repeated));
    for (number, ((fault, _), (exposed, repeated))) in faults.enumerate() {
        rule.look((*repeated > exposed.pairs).then(|| {
            let (what, most) = (what(fault), exposed.pairs);
            format!("fault {number}, {what}, repeated {repeated}, and at most {most}")
        }));
    }
    rule
}
