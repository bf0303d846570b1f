//! What a judgement rests on: the plan, the ledger, and what stands at the broker.

use std::collections::{HashMap, HashSet};

use crate::ledger::Call;
use crate::plan::{Broker, Dropped, Entry, Fault, Message, Run, Sample};

/// Everything there is to judge by.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What was run.
    pub run: Run,
    /// The processes that were started.
    pub processes: Vec<String>,
    /// The functions whose calls are not judged.
    pub beside: Vec<String>,
    /// Hash of the payload and key (in base64) of each event produced, in that order; each once.
    pub produced: Vec<(u64, Option<String>)>,
    /// By the hash of its payload: how often an event was sent again without knowing whether it had been stored.
    pub sent_again: HashMap<u64, usize>,
    /// The faults, each with how many events had been produced before it.
    pub faults: Vec<(Fault, usize)>,
    /// What processes counted as dropped, each with how many events had been produced by then.
    pub dropped: Vec<(Dropped, usize)>,
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
    /// How many events are not settled in the end, where the broker counts them.
    pub left: Option<u64>,
}

/// One event as the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it is named here; of a Kafka record, what a connector has to call it in `X-Event-Id`.
    pub id: String,
    /// The hash of its payload.
    pub body: u64,
    /// The number of its lane: its partition.
    pub lane: usize,
    /// Its position in the lane: its offset.
    pub position: i64,
    /// Its content.
    pub content: Content,
}

/// What has to come back unchanged. Of what only the plan tells: the key in base64, and the payload's hash in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The headers, in order; by their names where the plan tells, since not every broker keeps an order.
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

/// What connectors add to a letter's headers begins so.
const NOTE: &str = "X-Dead-Letter-";

impl Letter {
    /// That which stands at this position: what it is, parted from the headers that say what it is.
    #[must_use]
    pub fn at(position: i64, mut content: Content) -> Self {
        let is_own = |(name, _): &(String, _)| !name.starts_with(NOTE);
        let (own, notes): (_, Vec<_>) = content.headers.into_iter().partition(is_own);
        content.headers = own;
        let note = |wanted: &str| {
            let value = notes.iter().find(|(name, _)| name.strip_prefix(NOTE) == Some(wanted));
            let value = value.and_then(|(_, value)| value.as_deref());
            value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        };
        Self { position, event_id: note("Position"), function: note("Function"), content }
    }
}

impl From<Message> for Content {
    fn from(message: Message) -> Self {
        let headers = message.headers.into_iter();
        let mut headers: Vec<_> =
            headers.map(|(name, value)| (name, Some(value.into_bytes()))).collect();
        headers.sort();
        Self {
            key: message.key.map(String::into_bytes),
            payload: message.body.into_bytes(),
            headers,
        }
    }
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
    /// The plan's part of the evidence. What only the broker knows is empty: of Kafka it is [asked](crate::kafka), and of
    /// the others taken to have what was produced, in that order, in one lane.
    ///
    /// # Errors
    /// The plan lacks its first line, or has a hash that is none.
    pub fn of(plan: Vec<Entry>) -> Result<Self, PlanError> {
        let mut entries = plan.into_iter();
        let Some(Entry::Run(run)) = entries.next() else { return Err(PlanError::NoRun) };
        let mut evidence = Self {
            run,
            beside: Vec::new(),
            processes: Vec::new(),
            produced: Vec::new(),
            sent_again: HashMap::new(),
            faults: Vec::new(),
            dropped: Vec::new(),
            calls: Vec::new(),
            stored: Vec::new(),
            letters: Vec::new(),
            samples: Vec::new(),
            committed: Vec::new(),
            ends: Vec::new(),
            left: None,
        };
        let mut letters = Vec::new();
        let (mut known, mut contents) = (HashSet::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Run(_) => return Err(PlanError::NoRun),
                Entry::Beside { function } => evidence.beside.push(function),
                Entry::Process { name } => evidence.processes.push(name),
                Entry::Produced(event) => {
                    let body = hash(&event.body)?;
                    if known.insert(body) {
                        evidence.produced.push((body, event.key.clone()));
                        contents.push(Content::from(event));
                    } else {
                        *evidence.sent_again.entry(body).or_default() += 1;
                    }
                }
                Entry::Fault(fault) => evidence.faults.push((fault, evidence.produced.len())),
                Entry::Dropped(dropped) => {
                    evidence.dropped.push((dropped, evidence.produced.len()));
                }
                Entry::End(end) => evidence.left = Some(end.left),
                Entry::Letter(letter) => letters.push(Content::from(letter)),
            }
        }
        if !matches!(evidence.run.broker, Broker::Kafka { .. }) {
            evidence.store_what_was_produced(contents);
            let letters = (0..).zip(letters).map(|(position, letter)| Letter::at(position, letter));
            evidence.letters = letters.collect();
        }
        Ok(evidence)
    }

    /// Takes the calls that are judged out of these.
    pub fn called(&mut self, calls: Vec<Call>) {
        let calls = calls.into_iter();
        self.calls = calls.filter(|call| !self.beside.contains(&call.function)).collect();
    }

    fn store_what_was_produced(&mut self, contents: Vec<Content>) {
        let events = (0_i64..).zip(&self.produced).zip(contents);
        let stored = events.map(|((position, (body, _)), content)| Stored {
            id: format!("event {position}"),
            body: *body,
            lane: 0,
            position,
            content,
        });
        self.stored = stored.collect();
        self.ends = vec![i64::try_from(self.stored.len()).unwrap_or(i64::MAX)];
    }

    /// Which of [`stored`](Self::stored) an id names: one that the broker gives, or else the one that it was called as.
    pub(crate) fn by_id(&self) -> HashMap<&str, usize> {
        if matches!(self.run.broker, Broker::Kafka { .. }) {
            return self.stored.iter().enumerate().map(|(n, event)| (&*event.id, n)).collect();
        }
        let by_body = self.by_body();
        let calls = self.calls.iter();
        calls
            .filter_map(|call| Some((&**call.event_id.as_ref()?, *by_body.get(&call.body)?)))
            .collect()
    }

    /// Where each payload's hash stands in [`stored`](Self::stored).
    pub(crate) fn by_body(&self) -> HashMap<u64, usize> {
        self.stored.iter().enumerate().map(|(index, event)| (event.body, index)).collect()
    }

    /// How often an event may be at the broker beyond once.
    pub(crate) fn copies(&self, event: usize) -> usize {
        self.sent_again.get(&self.stored[event].body).copied().unwrap_or(0)
    }
}

fn hash(text: &str) -> Result<u64, PlanError> {
    u64::from_str_radix(text, 16).map_err(|_| PlanError::Hash(text.to_owned()))
}
