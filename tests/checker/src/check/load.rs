//! Whether the run is worth anything: what the faults met, and who called.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::facts::Facts;
use super::judgement::Rule;
use super::what;

/// A fault that met nobody at work proves nothing.
pub(super) fn faults_under_load(facts: &Facts<'_>) -> Rule {
    let mut rule =
        Rule::new("each fault met calls running and events unread, as many as were wanted");
    for (number, (fault, produced)) in facts.evidence.faults.iter().enumerate() {
        let (running, unread) = (facts.running_at(fault), facts.unread_at(fault, *produced));
        let idle = running < fault.at_least_running || unread < fault.at_least_unread;
        rule.look(idle.then(|| {
            format!("fault {number}, {}: {running} running, {unread} unread", what(fault))
        }));
    }
    rule
}

/// Every process that was started has called, and every call is of one of them, on connections of its own.
pub(super) fn processes_called(facts: &Facts<'_>) -> Rule {
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
