//! The rules.
//!
//! Each is applied to the whole evidence and notes every violation; none stops the others. What they allow is exactly
//! what the promise allows: after a fault, events that were in flight, or were finished within the last commit interval,
//! may be called again.

use crate::evidence::Evidence;
use crate::ledger::Call;
use crate::plan::{Broker, Fault, FaultKind, Ordering, Settling};

mod facts;
mod judgement;
mod letters;
mod load;
mod losses;
mod order;
mod outcomes;
mod repetitions;
mod settled;
#[cfg(test)]
mod tests;

use facts::{Exposed, Facts};
use judgement::FaultRow;
pub use judgement::{Judgement, Rule};

/// Applies every rule there is for the run's source.
#[must_use]
pub fn judge(evidence: &Evidence) -> Judgement {
    let facts = Facts::of(evidence);
    let run = &evidence.run;
    let exposed: Vec<_> = evidence.faults.iter().map(|(fault, _)| facts.exposed(fault)).collect();
    let (repetitions, repeated) = repetitions::repetitions(&facts, &exposed);

    let mut rules = Vec::new();
    if matches!(run.broker, Broker::Kafka { .. }) {
        rules.push(outcomes::stored_as_produced(&facts));
    }
    rules.push(outcomes::calls_of_events(&facts));
    if run.settling == Settling::Never {
        rules.push(losses::lost_to_faults_or_counted(&facts));
    } else {
        rules.push(outcomes::nothing_lost(&facts));
        rules.push(letters::letters_unchanged(&facts));
        rules.push(letters::letters_once(&facts, &exposed));
        rules.push(outcomes::one_outcome(&facts, &exposed));
    }
    rules.push(repetitions);
    rules.push(repetitions::within_bounds(&facts, &exposed, &repeated));
    if run.ordering != Ordering::None {
        rules.push(order::followers_wait(&facts, &exposed));
        rules.push(order::equal_keys_apart(&facts));
    }
    if run.ordering == Ordering::Settled {
        rules.push(order::nothing_behind_followers(&facts));
    }
    rules.push(order::pairs_apart(&facts));
    match run.settling {
        Settling::Interval { .. } => {
            rules.push(settled::commits_behind_the_finished(&facts));
            rules.push(settled::all_committed(&facts));
        }
        Settling::Single { .. } => rules.push(settled::nothing_left(&facts)),
        Settling::Never => {}
    }
    rules.push(load::faults_under_load(&facts));
    rules.push(load::processes_called(&facts));

    Judgement {
        title: format!("{} (seed {})", run.name, run.seed),
        figures: figures(&facts, &exposed, repeated.iter().sum()),
        faults: rows(&facts, &exposed, &repeated),
        rules,
    }
}

/// What was done, in the order in which it was done first; what was done several times in one row.
fn rows(facts: &Facts<'_>, exposed: &[Exposed<'_>], repeated: &[usize]) -> Vec<FaultRow> {
    let mut rows: Vec<FaultRow> = Vec::new();
    let faults = facts.evidence.faults.iter().zip(exposed.iter().zip(repeated));
    for ((fault, produced), (exposed, repeated)) in faults {
        let one = FaultRow {
            what: what(fault),
            times: 1,
            running: facts.running_at(fault),
            unread: facts.unread_at(fault, *produced),
            repeated: *repeated,
            bound: exposed.pairs,
        };
        match rows.iter_mut().find(|row| row.what == one.what) {
            Some(row) => row.add(&one),
            None => rows.push(one),
        }
    }
    rows
}

/// A fault, as tables and violations name it.
fn what(fault: &Fault) -> String {
    match (&fault.how, &fault.process) {
        (Some(how), _) => how.clone(),
        (None, Some(process)) => format!("{} {process}", word(fault.kind)),
        (None, None) => word(fault.kind).to_owned(),
    }
}

fn word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Kill => "SIGKILL",
        FaultKind::Leave => "SIGTERM",
        FaultKind::Revoke => "rebalance",
        FaultKind::Lose => "lanes lost",
        FaultKind::Freeze => "SIGSTOP",
        FaultKind::GatewayOutage => "gateway down",
        FaultKind::BrokerOutage => "brokers hurt",
        FaultKind::Strain => "strain",
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
    figures.extend([
        ("calls not answered well".to_owned(), failed.to_string()),
        ("answered well again".to_owned(), format!("{repeated}, at most {bound}")),
        ("processes".to_owned(), evidence.processes.len().to_string()),
        ("first to last call".to_owned(), format!("{} s", (last - first) / 1_000_000_000)),
    ]);
    let again: usize = evidence.sent_again.values().sum();
    if again > 0 {
        figures.push(("sent again to the broker".to_owned(), again.to_string()));
    }
    if evidence.run.settling == Settling::Never {
        let never = |event: &usize| facts.pairs(*event).iter().any(|pair| pair.calls.is_empty());
        let never = (0..evidence.stored.len()).filter(never).count();
        figures.push(("never called".to_owned(), never.to_string()));
        figures.push(("counted as dropped".to_owned(), losses::counted(evidence)));
    }
    let gaps = evidence.samples.windows(2).map(|two| two[1].wall_ns.saturating_sub(two[0].wall_ns));
    if let Some(gap) = gaps.max() {
        let (samples, ms) = (evidence.samples.len(), gap / 1_000_000);
        let text = format!("{samples}, at most {ms} ms apart");
        figures.push(("samples of offsets".to_owned(), text));
    }
    figures
}
