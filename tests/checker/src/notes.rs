//! What a driver of faults writes while it works: the plan, beside the gateway's ledger, in a folder of its own.

use std::io;
use std::path::{Path, PathBuf};

use crate::plan::{Dropped, End, Entry, Fault, LEDGER, Message, PLAN, Run, Writer};

/// A run that is being written down. [`judged`](crate::judged) reads its folder.
pub struct Notes {
    folder: PathBuf,
    plan: Writer,
    processes: usize,
}

impl Notes {
    /// Begins the plan of a run in a folder, which is made.
    ///
    /// # Errors
    /// The folder cannot be written, here and below.
    pub fn begin(folder: &Path, run: Run) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut plan = Writer::create(&folder.join(PLAN))?;
        plan.write(&[Entry::Run(run)])?;
        Ok(Self { folder: folder.to_owned(), plan, processes: 0 })
    }

    /// Where everything stands.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that the gateway has to append its ledger to.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.folder.join(LEDGER)
    }

    /// This moment: how long the ledger is.
    ///
    /// # Errors
    /// There is no ledger yet.
    pub fn moment(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(self.ledger())?.len())
    }

    /// A function, as `name.namespace`, is called beside what is run.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub fn beside(&mut self, function: &str) -> io::Result<()> {
        self.plan.write(&[Entry::Beside { function: function.to_owned() }])
    }

    /// A connector is about to be started. Gives the name it goes by, and the content type that tells it.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub fn process(&mut self) -> io::Result<(String, String)> {
        self.processes += 1;
        let name = format!("p{}", self.processes);
        self.plan.write(&[Entry::Process { name: name.clone() }])?;
        let content_type = format!("text/plain; process={name}");
        Ok((name, content_type))
    }

    /// Events are about to be stored, or sent again.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub fn produced(&mut self, events: impl IntoIterator<Item: Into<Message>>) -> io::Result<()> {
        let entries = events.into_iter().map(|event| Entry::Produced(event.into()));
        self.plan.write(&entries.collect::<Vec<_>>())
    }

    /// Something was done.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub fn fault(&mut self, fault: Fault) -> io::Result<()> {
        self.plan.write(&[Entry::Fault(fault)])
    }

    /// A process has counted events that it dropped.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub fn dropped(&mut self, dropped: Dropped) -> io::Result<()> {
        self.plan.write(&[Entry::Dropped(dropped)])
    }

    /// It is over, and so many events are not settled at the broker.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub fn end(&mut self, left: u64) -> io::Result<()> {
        self.plan.write(&[Entry::End(End { left })])
    }

    /// These dead letters are at the broker.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub fn letters(&mut self, letters: impl IntoIterator<Item = Message>) -> io::Result<()> {
        self.plan.write(&letters.into_iter().map(Entry::Letter).collect::<Vec<_>>())
    }
}
