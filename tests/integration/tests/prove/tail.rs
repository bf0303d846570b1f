//! Follows the gateway's ledger while it grows: what runs, and how far the work has come.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use ledger_checker::ledger::{Follower, Said};

use crate::feed::{Feed, LANES};

/// What the ledger says so far.
pub(crate) struct Tail {
    ledger: Follower,
    progress: Progress,
    /// How many records have been called for at least once.
    pub(crate) events: usize,
}

#[derive(Default)]
struct Progress {
    processes: HashMap<String, Process>,
    /// For each record: whether it has been called for.
    seen: Vec<bool>,
    /// Where each partition is to be called next, at the earliest.
    next: [i64; LANES],
}

/// One process, as the gateway sees it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Process {
    /// How many calls it has begun.
    pub(crate) calls: usize,
    /// How many run.
    pub(crate) running: usize,
}

impl Tail {
    pub(crate) fn of(ledger: &Path) -> Self {
        let file = File::open(ledger).expect("the gateway has begun its ledger");
        Self { ledger: Follower::of(file), progress: Progress::default(), events: 0 }
    }

    /// Reads what has been written since.
    pub(crate) fn catch_up(&mut self, feed: &Feed) {
        let (progress, events) = (&mut self.progress, &mut self.events);
        progress.seen.resize(feed.made.len(), false);
        let read = self.ledger.catch_up(|ledger, said| match said {
            Said::Start(call) => {
                let call = &ledger.calls[call];
                let process = progress.processes.entry(call.process.clone()).or_default();
                process.calls += 1;
                process.running += 1;
                // An unknown payload is the checker's to complain of.
                let Some(record) = feed.by_body.get(&call.body) else { return };
                let (lane, offset) = feed.made[*record];
                progress.next[lane] = progress.next[lane].max(offset + 1);
                *events += usize::from(!std::mem::replace(&mut progress.seen[*record], true));
            }
            Said::End(call) => {
                if let Some(process) = progress.processes.get_mut(&ledger.calls[call].process) {
                    process.running -= 1;
                }
            }
            Said::Else => {}
        });
        read.expect("the ledger can be understood");
    }

    /// How long the ledger is, as far as it has been read.
    pub(crate) fn place(&self) -> u64 {
        self.ledger.reader.place
    }

    /// How many calls have begun.
    pub(crate) fn calls(&self) -> usize {
        self.ledger.reader.calls.len()
    }

    pub(crate) fn process(&self, name: &str) -> Process {
        self.progress.processes.get(name).copied().unwrap_or_default()
    }

    /// How many records no connector can have received, if each receives `window` of a partition in advance.
    pub(crate) fn unread(&self, feed: &Feed, window: usize) -> usize {
        let beyond = feed.ends.iter().zip(&self.progress.next).map(|(end, next)| end - next);
        beyond
            .map(|beyond| usize::try_from(beyond).expect("calls are of records there are"))
            .map(|beyond| beyond.saturating_sub(window))
            .sum()
    }
}
