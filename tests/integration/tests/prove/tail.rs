//! Follows the gateway's ledger while it grows: what runs, and how far the work has come.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ledger_checker::ledger::{Reader, Said};

use crate::feed::{Feed, LANES};

/// What the ledger says so far.
pub(crate) struct Tail {
    file: File,
    /// What has been read of a line whose end has not.
    begun: Vec<u8>,
    reader: Reader,
    processes: HashMap<String, Process>,
    /// How many records have been called for at least once.
    pub(crate) events: usize,
    seen: Vec<bool>,
    /// The highest offset called in each partition.
    last: [i64; LANES],
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
        Self {
            file: File::open(ledger).expect("the gateway has begun its ledger"),
            begun: Vec::new(),
            reader: Reader::default(),
            processes: HashMap::new(),
            events: 0,
            seen: Vec::new(),
            last: [-1; LANES],
        }
    }

    /// Reads what has been written since.
    pub(crate) fn catch_up(&mut self, feed: &Feed) {
        self.file.read_to_end(&mut self.begun).expect("the ledger can be read");
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = self.begun.split_off(end + 1);
        let lines = std::mem::replace(&mut self.begun, rest);
        self.seen.resize(feed.made.len(), false);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(line).expect("the ledger is text");
            match self.reader.take(line).expect("the ledger can be understood") {
                Said::Start(call) => {
                    let call = &self.reader.calls[call];
                    let process = self.processes.entry(call.process.clone()).or_default();
                    process.calls += 1;
                    process.running += 1;
                    // An unknown payload is the checker's to complain of.
                    let Some(record) = feed.by_body.get(&call.body) else { continue };
                    let (lane, offset) = feed.made[*record];
                    self.last[lane] = self.last[lane].max(offset);
                    self.events += usize::from(!std::mem::replace(&mut self.seen[*record], true));
                }
                Said::End(call) => {
                    let call = &self.reader.calls[call];
                    if let Some(process) = self.processes.get_mut(&call.process) {
                        process.running -= 1;
                    }
                }
                Said::Else => {}
            }
        }
    }

    /// How long the ledger is, as far as it has been read.
    pub(crate) fn place(&self) -> u64 {
        self.reader.place
    }

    /// How many calls have begun.
    pub(crate) fn calls(&self) -> usize {
        self.reader.calls.len()
    }

    pub(crate) fn process(&self, name: &str) -> Process {
        self.processes.get(name).copied().unwrap_or_default()
    }

    /// How many records no connector can have received, if each receives `window` of a partition in advance.
    pub(crate) fn unread(&self, feed: &Feed, window: usize) -> usize {
        let beyond = feed.ends.iter().zip(&self.last).map(|(end, last)| end - 1 - last);
        beyond
            .map(|beyond| usize::try_from(beyond).expect("calls are of records there are"))
            .map(|beyond| beyond.saturating_sub(window))
            .sum()
    }
}
