//! Dead letters: what each of them is, and how many there are.

use super::facts::{Exposed, Facts, Pair};
use super::judgement::Rule;
use crate::plan::LetterSentAgain;

/// Every dead letter is the event it says it is, unchanged.
pub(super) fn letters_unchanged(facts: &Facts<'_>) -> Rule {
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

/// An event has one letter for a function, but for what a fault explains and its broker does not see through.
pub(super) fn letters_once(facts: &Facts<'_>, exposed: &[Exposed<'_>]) -> Rule {
    let mut rule = Rule::new("no dead letter is stored again without a fault to explain it");
    for event in 0..facts.evidence.stored.len() {
        for (function, pair) in facts.pairs(event).iter().enumerate() {
            let letters = pair.letters.len();
            if letters == 0 {
                continue;
            }
            let most = 1 + facts.evidence.copies(event) + explained(facts, exposed, event, pair);
            rule.look((letters > most).then(|| {
                format!("{} has {letters} letters, at most {most}", facts.name(event, function))
            }));
        }
    }
    rule
}

/// How many letters more than one of a pair faults explain: one for each call that they repeated, and one for each that kept
/// the broker's answer from whoever stored it.
fn explained(facts: &Facts<'_>, exposed: &[Exposed<'_>], event: usize, pair: &Pair) -> usize {
    let sent_again = facts.evidence.run.letter_sent_again();
    if sent_again == LetterSentAgain::Kept {
        return 0;
    }
    let mut calls = pair.calls.iter().map(|call| &facts.evidence.calls[*call]);
    let Some(first) = calls.next() else { return 0 };
    let is_again = |call| exposed.iter().any(|exposed| exposed.explains(event, first, call));
    let again = calls.filter(|call| is_again(call)).count();
    match sent_again {
        LetterSentAgain::Doubled => again + facts.outages_while_storing(pair),
        LetterSentAgain::Kept | LetterSentAgain::KeptInSession => again,
    }
}
