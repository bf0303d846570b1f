//! What became of each event and of each letter, and whether calls carry what they say.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::facts::{Exposed, Facts};
use super::judgement::Rule;
use crate::plan::Broker;

/// The broker has what the driver wrote down, each once, and nothing else.
pub(super) fn stored_as_produced(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("the broker has each event that was produced, once");
    let evidence = facts.evidence;
    let mut bodies = HashMap::new();
    for (number, event) in evidence.stored.iter().enumerate() {
        let before = bodies.insert(event.body, number);
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

/// Every call carries the payload of an event to a function of the run, under that event's id: the one that the broker
/// gives it, or else one that no other event has, the same each time as long as ids live.
pub(super) fn calls_of_events(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("each call carries one event's payload under its id");
    let evidence = facts.evidence;
    let given_by_broker = matches!(evidence.run.broker, Broker::Kafka { .. });
    let mut event_by_id: HashMap<&str, usize> = HashMap::new();
    let mut ids_of_event: HashMap<usize, HashSet<&str>> = HashMap::new();
    for (call, event) in evidence.calls.iter().zip(&facts.event_of) {
        let (Some(event), Some(id)) = (*event, &call.event_id) else {
            let (function, id) = (&call.function, &call.event_id);
            rule.look(Some(format!("a call of {function} with an unknown payload, as {id:?}")));
            continue;
        };
        let name = &evidence.stored[event].id;
        if given_by_broker {
            rule.look((id != name).then(|| format!("{name} was called as {id}")));
            continue;
        }
        let other = *event_by_id.entry(id).or_insert(event);
        let ids = ids_of_event.entry(event).or_default();
        ids.insert(id);
        let too_many =
            evidence.run.broker.ids_outlive_connections() && ids.len() > 1 + evidence.copies(event);
        rule.look(if other != event {
            Some(format!("{name} was called as {id}, which is {}", evidence.stored[other].id))
        } else {
            too_many.then(|| format!("{name} was called as {} different events", ids.len()))
        });
    }
    rule
}

/// Every event was answered well by every function, or is a dead letter for it.
pub(super) fn nothing_lost(facts: &Facts<'_>) -> Rule {
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

/// A pair is delivered or dead-lettered, not both: but for what a fault explains, and what the broker has twice.
pub(super) fn one_outcome(facts: &Facts<'_>, exposed: &[Exposed<'_>]) -> Rule {
    let mut rule = Rule::new("delivered + dead-lettered = produced, for each function");
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let (buried, well) = (!pair.letters.is_empty(), facts.first_well(pair).is_some());
            let name = || facts.name(event, function);
            let calls = || pair.calls.iter().map(|call| &facts.evidence.calls[*call]);
            let explained = || {
                let (Some(first), Some(last)) = (calls().next(), calls().next_back()) else {
                    return false;
                };
                facts.evidence.copies(event) > 0
                    || facts.outages_while_storing(pair) > 0
                    || exposed.iter().any(|exposed| exposed.explains(event, first, last))
            };
            rule.look(match (buried, well) {
                (true, true) => {
                    (!explained()).then(|| format!("{} is delivered and a letter", name()))
                }
                (false, false) => Some(format!("{} has no outcome", name())),
                (true, false) | (false, true) => None,
            });
        }
    }
    rule
}
