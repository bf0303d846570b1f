//! What the broker was told, when, and in the end.

use super::facts::Facts;
use super::judgement::Rule;

/// No offset was ever seen committed before everything below it was finished.
pub(super) fn commits_behind_the_finished(facts: &Facts<'_>) -> Rule {
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
pub(super) fn all_committed(facts: &Facts<'_>) -> Rule {
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

/// Once all is done, the broker has nothing left to give out.
pub(super) fn nothing_left(facts: &Facts<'_>) -> Rule {
    let mut rule = Rule::new("in the end the broker has nothing left");
    rule.look(match facts.evidence.left {
        Some(0) => None,
        Some(left) => Some(format!("{left} are not settled")),
        None => Some("nobody has looked".to_owned()),
    });
    rule
}
