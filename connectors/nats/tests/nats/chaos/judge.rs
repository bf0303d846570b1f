//! Judges a run by the gateway's ledger alone, and prints what it found.

use std::collections::HashMap;

use dev_gateway::{Call, Calls};

/// What was broken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// SIGKILL for the connector.
    Kill,
    /// SIGTERM for the server, which is started again.
    Stop,
    /// SIGKILL for the server, which is started again.
    Crash,
    /// The gateway goes away and comes back.
    Gateway,
}

/// Something broken, and what it met.
pub(super) struct Broken {
    pub(super) what: What,
    /// How many calls had begun just before, and just after: some begin in between.
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) running: usize,
    /// How many messages may be answered well again because of it.
    pub(super) most: usize,
}

impl Broken {
    /// Whether the process that made the call may have been killed here before the other was made.
    fn parts(&self, call: &Call, other: &Call) -> bool {
        self.what == What::Kill && call.number < self.after && other.number >= self.before
    }
}

/// Prints tables of what happened.
///
/// # Panics
/// When a rule is broken.
pub(super) fn judge(calls: &Calls, broken: &[Broken], messages: usize) {
    let well = by_message(calls.well());
    let mut repeated = vec![0; broken.len()];
    let mut unexplained = 0;
    for pair in well.values().flat_map(|calls| calls.windows(2)) {
        match broken.iter().position(|fault| fault.parts(pair[0], pair[1])) {
            Some(fault) => repeated[fault] += 1,
            None => unexplained += 1,
        }
    }
    let begun = calls.iter().count();
    eprintln!("\n  messages                 {messages}");
    eprintln!("  calls                    {begun}");
    eprintln!("  calls not answered well  {}", begun - calls.well().count());
    eprintln!("  answered well again      {}", calls.well().count() - well.len());
    eprintln!("\n  fault                     running  repeated  at most");
    for (fault, repeated) in broken.iter().zip(&repeated) {
        let name = match fault.what {
            What::Kill => "SIGKILL",
            What::Stop => "server SIGTERM",
            What::Crash => "server SIGKILL",
            What::Gateway => "gateway down",
        };
        let Broken { running, most, .. } = fault;
        eprintln!("  {name:<24} {running:>8} {repeated:>9} {most:>8}");
    }
    let beyond = broken.iter().zip(&repeated).filter(|(fault, repeated)| **repeated > fault.most);
    let rules = [
        ("each message was answered well", messages, messages - well.len()),
        ("nothing answered well is called again but for a kill", calls.well().count(), unexplained),
        ("no fault repeats more than it may", broken.len(), beyond.count()),
        ("no message is called twice at the same time in one process", begun, twice(calls, broken)),
        ("each call carries one message's payload under its id", begun, mixed_up(calls)),
    ];
    eprintln!("\n  rule                                                        checked  violated");
    for (rule, checked, violated) in rules {
        eprintln!("  {rule:<58} {checked:>8} {violated:>9}");
    }
    assert!(rules.iter().all(|(_, _, violated)| *violated == 0), "the promise was broken");
}

/// The calls of each message, by its payload.
pub(super) fn by_message<'a>(calls: impl Iterator<Item = &'a Call>) -> HashMap<u64, Vec<&'a Call>> {
    let mut all = HashMap::<u64, Vec<_>>::new();
    for call in calls {
        all.entry(call.body_hash).or_default().push(call);
    }
    all
}

fn twice(calls: &Calls, broken: &[Broken]) -> usize {
    let all = by_message(calls.iter());
    let pairs = all.values().flat_map(|calls| calls.windows(2));
    let together = pairs.filter(|pair| pair[0].overlaps(pair[1]));
    together.filter(|pair| !broken.iter().any(|fault| fault.parts(pair[0], pair[1]))).count()
}

fn mixed_up(calls: &Calls) -> usize {
    let all = by_message(calls.iter());
    let strange = |calls: &&Vec<&Call>| {
        calls.iter().any(|call| call.event_id.is_none() || call.event_id != calls[0].event_id)
    };
    all.values().filter(strange).count()
}
