//! What a judgement rests on: the plan, the ledger, and what stands at the broker.

use std::collections::HashMap;

use crate::ledger::Call;
use crate::plan::{Entry, Fault, Run, Sample};

/// Everything there is to judge by.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What was run.
    pub run: Run,
    /// The processes that were started.
    pub processes: Vec<String>,
    /// Hash of the payload and key (in base64) of each event produced, in that order.
    pub produced: Vec<(u64, Option<String>)>,
    /// The faults, each with how many events had been produced before it.
    pub faults: Vec<(Fault, usize)>,
    /// The calls in the order in which they began.
    pub calls: Vec<Call>,
    /// The events as the broker has them, in order of lane and position.
    pub stored: Vec<Stored>,
    /// The dead letters in order of their position.
    pub letters: Vec<Letter>,
    /// What was seen committed.
    pub samples: Vec<Sample>,
    /// What is committed in the end, for each lane.
    pub committed: Vec<i64>,
    /// Where each lane ends.
    pub ends: Vec<i64>,
}

/// One event as the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What a connector has to call it in `X-Event-Id`.
    pub id: String,
    /// The number of its lane: its partition.
    pub lane: usize,
    /// Its position in the lane: its offset.
    pub position: i64,
    /// Its content.
    pub content: Content,
}

/// What has to come back unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// One dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it stands among the letters.
    pub position: i64,
    /// The event it says it is.
    pub event_id: String,
    /// The function it says would not answer well.
    pub function: String,
    /// Its content, without what was added to say so.
    pub content: Content,
}

/// A plan that cannot be judged by.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It does not say what was run.
    #[error("the plan does not begin with a run")]
    NoRun,
    /// A hash is none.
    #[error("the plan has a hash that is none: {0}")]
    Hash(String),
}

impl Evidence {
    /// The plan's part of the evidence; the rest is empty.
    ///
    /// # Errors
    /// The plan lacks its first line, or has a hash that is none.
    pub fn of(plan: Vec<Entry>) -> Result<Self, PlanError> {
        let mut entries = plan.into_iter();
        let Some(Entry::Run(run)) = entries.next() else { return Err(PlanError::NoRun) };
        let mut evidence = Self {
            run,
            processes: Vec::new(),
            produced: Vec::new(),
            faults: Vec::new(),
            calls: Vec::new(),
            stored: Vec::new(),
            letters: Vec::new(),
            samples: Vec::new(),
            committed: Vec::new(),
            ends: Vec::new(),
        };
        for entry in entries {
            match entry {
                Entry::Run(_) => return Err(PlanError::NoRun),
                Entry::Process { name } => evidence.processes.push(name),
                Entry::Produced(event) => {
                    let body = u64::from_str_radix(&event.body, 16)
                        .map_err(|_| PlanError::Hash(event.body))?;
                    evidence.produced.push((body, event.key));
                }
                Entry::Fault(fault) => evidence.faults.push((fault, evidence.produced.len())),
            }
        }
        Ok(evidence)
    }

    /// Where each event id stands in [`stored`](Self::stored).
    pub(crate) fn by_id(&self) -> HashMap<&str, usize> {
        self.stored.iter().enumerate().map(|(index, event)| (&*event.id, index)).collect()
    }
}
