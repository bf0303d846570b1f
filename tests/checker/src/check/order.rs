//! What comes in order, and what is called at the same time.

use std::collections::HashMap;

use super::facts::{Exposed, Facts};
use super::judgement::Rule;
use crate::ledger::{Call, Moment};

/// By how much the gateway may be late to notice that a caller has given a call up.
const LEAVING_NOTICED_NS: u64 = 250_000_000;

/// For each key and function, an event is called only once the one in front of it has been answered well or is a dead
/// letter, whichever process calls.
pub(super) fn followers_wait(facts: &Facts<'_>, exposed: &[Exposed<'_>]) -> Rule {
    let mut rule = Rule::new("no event is called before the one in front of it is finished");
    let evidence = facts.evidence;
    let mut last: HashMap<_, (usize, u64)> = HashMap::new();
    for event in 0..evidence.stored.len() {
        let Some(key) = facts.order_key(event) else { continue };
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let begun = pair.calls.first().map(|call| evidence.calls[*call].start.place);
            let before = last.get(&(key, function));
            let early = before.filter(|(_, finished)| begun.is_some_and(|begun| begun < *finished));
            rule.look(early.map(|(before, _)| {
                let before = &evidence.stored[*before].id;
                format!("{} was called before {before} was finished", facts.name(event, function))
            }));
            if let Some(finished) = facts.finished(event, pair, exposed) {
                last.insert((key, function), (event, finished));
            }
        }
    }
    rule
}

/// Where an event is settled before the next of its key is called: nothing is called again behind that.
pub(super) fn nothing_behind_followers(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("nothing is called again once the next of its key was answered well");
    let evidence = facts.evidence;
    let mut next: HashMap<_, u64> = HashMap::new();
    for event in (0..evidence.stored.len()).rev() {
        let Some(key) = facts.order_key(event) else { continue };
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let begun = pair.calls.iter().map(|call| evidence.calls[*call].start.place).max();
            let followed = next.get(&(key, function)).copied().unwrap_or(u64::MAX);
            let late = begun.is_some_and(|begun| begun > followed);
            rule.look(late.then(|| {
                format!(
                    "{} was called after the next was answered well",
                    facts.name(event, function)
                )
            }));
            if let Some(well) = facts.first_well(pair) {
                next.insert((key, function), well);
            }
        }
    }
    rule
}

/// In one process, two events with equal keys are never called at the same time.
pub(super) fn equal_keys_apart(facts: &Facts<'_>) -> Rule {
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

/// In one process, a function is called for an event once at a time. One that the broker has twice is two events.
pub(super) fn pairs_apart(facts: &Facts<'_>) -> Rule {
    let mut rule =
        Rule::new("no function is called twice at the same time for an event in one process");
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            for two in pair.calls.windows(2) {
                let (first, again) = (&facts.evidence.calls[two[0]], &facts.evidence.calls[two[1]]);
                let overlap = first.process == again.process
                    && first.event_id == again.event_id
                    && !is_over(first, again.start);
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
pub(super) fn is_over(call: &Call, at: Moment) -> bool {
    call.end.is_some_and(|end| {
        end.at.place < at.place
            || (end.caller_left && end.at.ns < at.ns.saturating_add(LEAVING_NOTICED_NS))
    })
}
