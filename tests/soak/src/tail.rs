//! Follows the gateway's ledger while it grows: how far the work has come.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use ledger_checker::ledger::{Call, Follower, Said};

/// The status by which a function refuses an event for good: where there are dead letters, it becomes one.
pub(crate) const REFUSAL: u16 = 400;

/// What the ledger says so far.
pub(crate) struct Tail {
    ledger: Follower,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    begun: HashSet<u64>,
    /// Pairs of event and function that have been answered well or refused.
    well: HashSet<(u64, usize)>,
    functions: Vec<String>,
    running: usize,
    /// The function that is no part of the run, and how many of its calls have begun.
    apart: String,
    beside: usize,
}

impl Tail {
    /// `apart` is a function whose calls are counted apart from the others.
    pub(crate) fn of(ledger: &Path, apart: &str) -> Self {
        let file = File::open(ledger).expect("the gateway has begun its ledger");
        let progress = Progress { apart: format!("{apart}.openfaas-fn"), ..Progress::default() };
        Self { ledger: Follower::of(file), progress }
    }

    /// Reads what has been written since.
    pub(crate) fn catch_up(&mut self) {
        let progress = &mut self.progress;
        let read = self.ledger.catch_up(|ledger, said| match said {
            Said::Start(call) => progress.begun(&ledger.calls[call]),
            Said::End(call) => progress.ended(&ledger.calls[call]),
            Said::Else => {}
        });
        read.expect("the ledger can be understood");
    }

    /// How long the ledger is, as far as it has been read.
    pub(crate) fn moment(&self) -> u64 {
        self.ledger.reader.place
    }

    /// How many calls have begun.
    pub(crate) fn calls(&self) -> usize {
        self.ledger.reader.calls.len()
    }

    /// How many calls run.
    pub(crate) fn running(&self) -> usize {
        self.progress.running
    }

    /// How many events have been called for at least once.
    pub(crate) fn begun(&self) -> usize {
        self.progress.begun.len()
    }

    /// How many calls of the function apart have begun.
    pub(crate) fn beside(&self) -> usize {
        self.progress.beside
    }

    /// How many pairs of event and function have been answered well, or refused for good.
    pub(crate) fn well(&self) -> usize {
        self.progress.well.len()
    }
}

impl Progress {
    fn begun(&mut self, call: &Call) {
        if call.function == self.apart {
            self.beside += 1;
            return;
        }
        self.begun.insert(call.body);
        self.running += 1;
    }

    fn ended(&mut self, call: &Call) {
        if call.function == self.apart {
            return;
        }
        self.running = self.running.saturating_sub(1);
        if call.well().is_none() && call.end.is_none_or(|end| end.status != REFUSAL) {
            return;
        }
        let known = self.functions.iter().position(|name| *name == call.function);
        let function = known.unwrap_or_else(|| {
            self.functions.push(call.function.clone());
            self.functions.len() - 1
        });
        self.well.insert((call.body, function));
    }
}
