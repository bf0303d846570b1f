//! What becomes of an event that a function will not answer well.
//!
//! Stored means stored: an outcome is a dead letter only once its destination has confirmed it.
//! While storing fails the event is held and storing is tried again, for ever.

mod notes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};
use tracing::error;

use crate::conditions::{Conditions, State, Subject};
use crate::dispatch::Dispatcher;
use crate::event::{Event, FunctionName};
use crate::fail_point::{self, Step};
use crate::headers::{compose, with_attempt};
use crate::lane::Work;
use crate::metrics::Called;
use crate::source::{Letterbox, StoreError};

pub(crate) use self::notes::NOTES;

/// Where dead letters go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A place at the source's own broker: what follows `topic:`, `queue:` or `subject:`.
    Broker(String),
    /// Another function, always called sync.
    Function(FunctionName),
    /// Nowhere: counted and logged.
    Drop,
    /// Nowhere yet: the event waits, its topic is held, and it is tried again now and then.
    Hold,
}

impl Address {
    /// Whether letters of this function may come back to it. A name without a namespace means one
    /// in the provider's default namespace, which may be the function's.
    #[must_use]
    pub fn may_lead_back_to(&self, function: &FunctionName) -> bool {
        matches!(self, Self::Function(to) if to == function || to.as_str() == function.short())
    }
}

/// One dead letter: the event with what is known of its failure.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The event, unchanged.
    pub event: Arc<Event>,
    /// The function that would not answer well. `None`: no function was involved (`too_large`).
    pub function: Option<FunctionName>,
    /// Why, in one word of a closed set: `refused`, `exhausted`, `unmatched`, `too_large`, `shutdown`.
    pub reason: &'static str,
    /// The status of the last answer, if there was one.
    pub status: Option<u16>,
    /// The last error or the beginning of the last answer, at most 1,000 characters.
    pub error: String,
    /// How many calls were made.
    pub attempts: u32,
    /// When the first call began.
    pub first: SystemTime,
    /// When the last call ended.
    pub last: SystemTime,
    /// Only the least is noted beside it: why, of which function, and which event.
    pub brief: bool,
}

impl Letter {
    /// What a broker stores beside payload, key and headers: name and value, in this order.
    ///
    /// Times are RFC 3339 in UTC; what is not known is left out. No note has a control character,
    /// such as a function that answers in colours brings: some brokers refuse the whole message
    /// for it, again and again.
    #[must_use]
    pub fn notes(&self) -> Vec<(&'static str, String)> {
        let mut notes = vec![(notes::REASON.name, self.reason.to_owned())];
        if !self.brief {
            self.note_the_calls(&mut notes);
        }
        if let Some(function) = &self.function {
            notes.push((notes::FUNCTION.name, function.to_string()));
        }
        notes.push((notes::POSITION.name, self.event.id.to_string()));
        notes
    }

    fn note_the_calls(&self, notes: &mut Vec<(&'static str, String)>) {
        if let Some(status) = self.status {
            notes.push((notes::STATUS.name, status.to_string()));
        }
        let error: String = self.error.chars().filter(|c| !c.is_control()).collect();
        if !error.is_empty() {
            notes.push((notes::ERROR.name, error));
        }
        notes.push((notes::ATTEMPTS.name, self.attempts.to_string()));
        notes.push((notes::FIRST.name, rfc3339(self.first)));
        notes.push((notes::LAST.name, rfc3339(self.last)));
    }
}

/// What one attempt to store a letter came to.
enum Attempt {
    Stored,
    Failed {
        subject: Subject,
        why: String,
    },
    /// The drain deadline has passed.
    Cut,
}

/// Opens the letterbox of an address at the source's broker.
pub(crate) type Open = Box<dyn Fn(&str) -> Result<Arc<dyn Letterbox>, String> + Send + Sync>;

/// Stores letters, wherever they go.
#[derive(Default)]
pub struct Letters {
    open: OnceLock<Open>,
    boxes: Mutex<HashMap<String, Arc<dyn Letterbox>>>,
    /// How many letters wait for each destination that has refused one.
    waiting: Mutex<HashMap<Subject, usize>>,
}

/// A letter waits for its destination as long as this lives. With the last one that waits goes what
/// is said of the destination: nobody here asks it any more, so nobody would see that it is well.
struct Waiting<'a> {
    letters: &'a Letters,
    conditions: &'a Conditions,
    subject: Subject,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.letters.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = waiting.get_mut(&self.subject) else { return };
        *count -= 1;
        if *count == 0 {
            waiting.remove(&self.subject);
            if self.conditions.state(&self.subject) != Some(State::Well) {
                self.conditions.forget(&self.subject);
            }
        }
    }
}

impl Letters {
    /// Says how letterboxes are opened. Once, before the first event.
    pub(crate) fn opens_with(&self, open: Open) {
        // A second call would be a mistake of ours that changes nothing.
        drop(self.open.set(open));
    }

    /// Stores a letter, and tries again until it is stored. `false`: the lane, or the event's
    /// lease, ended first.
    ///
    /// A store that runs when the lane ends is not cut before the drain deadline.
    pub(crate) async fn store(
        &self,
        dispatcher: &Dispatcher,
        work: &Work,
        address: &Address,
        letter: &Letter,
    ) -> bool {
        let mut wait = Duration::from_secs(1);
        let mut waiting = None;
        loop {
            match self.attempt(dispatcher, address, letter).await {
                Attempt::Stored => return true,
                Attempt::Cut => return false,
                Attempt::Failed { subject, why } => {
                    dispatcher.conditions.unwell(&subject, &why, true);
                    waiting.get_or_insert_with(|| self.waits(&dispatcher.conditions, subject));
                }
            }
            tokio::select! {
                biased;
                () = work.over() => return false,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(dispatcher.config.retry.max_wait().max(Duration::from_secs(1)));
        }
    }

    fn waits<'a>(&'a self, conditions: &'a Conditions, subject: Subject) -> Waiting<'a> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting.entry(subject.clone()).or_default() += 1;
        Waiting { letters: self, conditions, subject }
    }

    /// Stores a letter if its destination takes it now. `false`: it did not; what becomes of the
    /// event is the broker's to decide, so the process stays ready.
    pub(crate) async fn try_store(
        &self,
        dispatcher: &Dispatcher,
        address: &Address,
        letter: &Letter,
    ) -> bool {
        match self.attempt(dispatcher, address, letter).await {
            Attempt::Stored => true,
            Attempt::Cut => false,
            Attempt::Failed { subject, why } => {
                dispatcher.conditions.unwell(&subject, &why, false);
                false
            }
        }
    }

    async fn attempt(
        &self,
        dispatcher: &Dispatcher,
        address: &Address,
        letter: &Letter,
    ) -> Attempt {
        let to = match address {
            Address::Broker(to) => to.clone(),
            Address::Function(to) => to.to_string(),
            // Callers decide about these two before there is a letter.
            Address::Drop | Address::Hold => return Attempt::Cut,
        };
        let subject = Subject(format!("dead letters to {to}").into());
        let stored = tokio::select! {
            biased;
            () = dispatcher.cut.cancelled() => return Attempt::Cut,
            stored = Box::pin(self.store_once(dispatcher, address, letter)) => stored,
        };
        if let Err(why) = stored {
            return Attempt::Failed { subject, why };
        }
        fail_point::pass(Step::DeadLettered);
        dispatcher.conditions.well(&subject);
        let function = letter.function.as_ref().map_or("-", FunctionName::as_str);
        dispatcher.metrics.dead_lettered(function, letter.reason);
        error!(
            topic = &*letter.event.topic, function, event.id = %letter.event.id,
            attempts = letter.attempts, error = letter.error, to,
            "dead-lettered: {}", letter.reason
        );
        Attempt::Stored
    }

    async fn store_once(
        &self,
        dispatcher: &Dispatcher,
        address: &Address,
        letter: &Letter,
    ) -> Result<(), String> {
        match address {
            Address::Broker(to) => {
                let letterbox = self.letterbox(to)?;
                let stored = match letterbox.store(letter).await {
                    // What is left out then stands in the log.
                    Err(StoreError::TooLarge(_)) => {
                        let brief = Letter { brief: true, ..letter.clone() };
                        letterbox.store(&brief).await
                    }
                    stored => stored,
                };
                stored.map_err(|error| error.to_string())
            }
            Address::Function(to) => call_with_letter(dispatcher, to, letter).await,
            Address::Drop | Address::Hold => Err("not an address to store at".to_owned()),
        }
    }

    fn letterbox(&self, to: &str) -> Result<Arc<dyn Letterbox>, String> {
        let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = boxes.get(to) {
            return Ok(Arc::clone(open));
        }
        let open = self.open.get().ok_or("this source stores no letters")?;
        let letterbox = open(to)?;
        boxes.insert(to.to_owned(), Arc::clone(&letterbox));
        Ok(letterbox)
    }
}

/// A function as destination: always called sync, and only 2xx means stored.
async fn call_with_letter(
    dispatcher: &Dispatcher,
    to: &FunctionName,
    letter: &Letter,
) -> Result<(), String> {
    // Limited and shown with the function that is meant, but called by the name as it was written:
    // the gateway's default namespace may be one that is not listed here.
    let function = {
        let map = dispatcher.topics.borrow();
        let meant = map.full_name(to);
        let mapping = map.mapping(&meant);
        mapping.map_or_else(
            || dispatcher.functions.named(&meant),
            |mapping| dispatcher.functions.of(mapping),
        )
    };
    let target = dispatcher.functions.sync_target(to);
    let composed = compose(&letter.event, &dispatcher.headers).map_err(|e| e.to_string())?;
    let mut headers = with_attempt(composed, 1).map_err(|e| e.to_string())?;
    for (name, value) in letter.notes() {
        let visible: String =
            value.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
        if let Ok(value) = HeaderValue::from_str(visible.trim()) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            headers.try_insert(name, value).map_err(|e| e.to_string())?;
        }
    }
    let permit = function.gate.enter(&dispatcher.running).await;
    let began = std::time::Instant::now();
    let called = dispatcher.invoker.call(&target, headers, letter.event.payload.clone()).await;
    drop(permit);
    let well = called.as_ref().is_ok_and(|answer| answer.status.is_success());
    let outcome = if well { Called::Well } else { Called::Retry };
    function.called(outcome, began.elapsed());
    match called {
        Ok(_) if well => Ok(()),
        Ok(answer) => Err(format!("{to} answered {}", answer.status.as_u16())),
        Err(none) => Err(format!("{to}: {none}")),
    }
}

/// A moment as RFC 3339 text in UTC, to the millisecond.
fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_namespace_may_be_the_functions_own() {
        let leads_back = |to: &str, function: &str| {
            let address = Address::Function(FunctionName::new(to));
            address.may_lead_back_to(&FunctionName::new(function))
        };
        assert!(leads_back("f", "f") && leads_back("f", "f.ns") && leads_back("f.ns", "f.ns"));
        assert!(!leads_back("g", "f.ns") && !leads_back("f.other", "f.ns"));
        assert!(!Address::Hold.may_lead_back_to(&FunctionName::new("f")));
    }
}
