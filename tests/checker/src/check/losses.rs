//! What may be lost where nothing is settled.

use std::ops::Range;

use super::facts::Facts;
use super::judgement::Rule;
use crate::evidence::Evidence;
use crate::plan::FaultKind;

/// What was never called was published while something was broken, or just before; or it is one of those that the
/// connector has counted as dropped since it was published. That happens before any function is chosen, so it explains
/// nothing of an event that one of them was called for.
pub(super) fn lost_to_faults_or_counted(facts: &Facts<'_>) -> Rule {
    let mut rule =
        Rule::new("each event was called by each function, or is lost to a fault, or counted");
    let evidence = facts.evidence;
    let mut counts = Counts::of(evidence);
    for event in 0..evidence.stored.len() {
        let pairs = facts.pairs(event);
        let explained = is_of_a_fault(evidence, event)
            || (pairs.iter().all(|pair| pair.calls.is_empty()) && counts.explain(event));
        for (function, pair) in pairs.iter().enumerate() {
            let lost = pair.calls.is_empty() && !explained;
            rule.look(lost.then(|| format!("{} was never called", facts.name(event, function))));
        }
    }
    rule
}

/// How many events a connector has counted as dropped, in words.
pub(super) fn counted(evidence: &Evidence) -> String {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for (dropped, _) in &evidence.dropped {
        match reasons.iter_mut().find(|(why, _)| *why == dropped.why) {
            Some((_, events)) => *events += dropped.events,
            None => reasons.push((&dropped.why, dropped.events)),
        }
    }
    let words: Vec<_> = reasons.iter().map(|(why, events)| format!("{events} {why}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Whether an event was published while something was broken, or just before.
fn is_of_a_fault(evidence: &Evidence, event: usize) -> bool {
    let faults = evidence.faults.iter().filter(|(fault, _)| fault.kind != FaultKind::Strain);
    let mut spans = faults.map(|(fault, until)| {
        on_the_way(evidence, fault.produced_before.unwrap_or(*until))..=*until
    });
    spans.any(|span| span.contains(&event))
}

/// The first of the events that may have been on their way when so many had been produced.
fn on_the_way(evidence: &Evidence, produced: usize) -> usize {
    let window = usize::try_from(evidence.run.lane_window).unwrap_or(usize::MAX);
    produced.saturating_sub(window)
}

/// What was counted as dropped, and is not spent on an event yet.
struct Counts(Vec<Count>);

/// So many of these events were dropped.
struct Count {
    among: Range<usize>,
    left: usize,
}

impl Counts {
    fn of(evidence: &Evidence) -> Self {
        let counts = evidence.dropped.iter().map(|(dropped, until)| Count {
            among: on_the_way(evidence, dropped.produced_before)..*until,
            left: dropped.events,
        });
        Self(counts.collect())
    }

    /// Spends one on an event, if there is one for it. Asked for one event after the other, those that are good for the
    /// fewest more are spent first, so that no other choice explains more.
    fn explain(&mut self, event: usize) -> bool {
        let counts = self.0.iter_mut().filter(|it| it.left > 0 && it.among.contains(&event));
        let Some(count) = counts.min_by_key(|count| count.among.end) else { return false };
        count.left -= 1;
        true
    }
}
