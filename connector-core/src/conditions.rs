//! What is well and what is not: the one place that `/readyz`, the status and the log of an outage
//! are made from.
//!
//! Whoever notices that a part of the process is well or not says so here, as often as it likes;
//! the log gets one line for each *change*, and one summary a minute while anything is unwell.
//! Nothing here decides anything: an outage is handled where it is noticed.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A reason that changes while its subject stays unwell is logged at most this often.
const REASON_INTERVAL: Duration = Duration::from_secs(60);

/// The conditions of the process. Cheap to clone.
#[derive(Clone)]
pub struct Conditions(Arc<Inner>);

struct Inner {
    entries: Mutex<BTreeMap<Subject, Entry>>,
    /// Counts the changes, so that waiters look again.
    changes: watch::Sender<u64>,
}

struct Entry {
    state: State,
    /// It has never been well, though it must be once before the process is ready.
    awaited: bool,
    since: Instant,
    /// When a line about the present state was last logged.
    logged: Instant,
}

/// Which part of the process a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(pub Cow<'static, str>);

impl Subject {
    /// A subject that is always there: `gateway`, `broker`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long something that does not keep the process from being ready is repeated in summaries.
pub const NEWS: Duration = Duration::from_secs(600);

/// How a subject is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has never been well yet, as at every start. `/readyz` fails meanwhile.
    Expected,
    /// All is well.
    Well,
    /// Something is wrong.
    Unwell {
        /// What, in one sentence.
        why: String,
        /// Whether `/readyz` fails meanwhile.
        blocks_ready: bool,
    },
    /// Left aside, most likely rightly: shown to who looks, and told to nobody.
    Aside {
        /// Why, in one sentence.
        why: String,
    },
}

/// One subject with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub subject: Subject,
    /// How it is.
    pub state: State,
    /// For how long it has been well, or not. A changed reason begins nothing new.
    pub lasted: Duration,
}

impl Conditions {
    /// No subjects yet: ready.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            entries: Mutex::new(BTreeMap::new()),
            changes: watch::Sender::new(0),
        }))
    }

    /// Notes that the process is not ready before `subject` has been well once. Without effect on
    /// a subject that is known already.
    pub fn expect(&self, subject: &Subject) {
        self.lock().entry(subject.clone()).or_insert_with(|| Entry::new(State::Expected));
        self.changed();
    }

    /// Notes that `subject` is well. One log line if it was not.
    pub fn well(&self, subject: &Subject) {
        let lasted = {
            let mut entries = self.lock();
            let before = match entries.get(subject) {
                Some(entry) if entry.state == State::Well => return,
                Some(Entry { state: State::Aside { .. }, .. }) | None => None,
                Some(entry) => Some((entry.state == State::Expected, entry.since.elapsed())),
            };
            entries.insert(subject.clone(), Entry::new(State::Well));
            before
        };
        self.changed();
        match lasted {
            Some((true, _)) => tracing::info!(%subject, "well"),
            Some((false, lasted)) => {
                tracing::info!(%subject, lasted = %Rounded(lasted), "well again");
            }
            None => {}
        }
    }

    /// Notes that `subject` is not well, and why. One log line at the change, then a summary at
    /// most once a minute while it lasts. `blocks_ready`: whether `/readyz` fails meanwhile.
    ///
    /// `why` should not contain what differs from one attempt to the next: a changed reason is
    /// news, and logged once a minute. A subject that was [expected](Self::expect) and has never
    /// been well keeps the process from being ready in any case.
    pub fn unwell(&self, subject: &Subject, why: &str, blocks_ready: bool) {
        let state = State::Unwell { why: why.to_owned(), blocks_ready };
        let news = {
            let mut entries = self.lock();
            match entries.get_mut(subject) {
                Some(entry) if entry.state == state => return,
                Some(entry @ Entry { state: State::Unwell { .. }, .. }) => {
                    let new_reason = entry.why() != Some(why);
                    entry.state = state;
                    let due = entry.logged.elapsed() >= REASON_INTERVAL;
                    if new_reason && due {
                        entry.logged = Instant::now();
                    }
                    new_reason && due
                }
                Some(entry) => {
                    *entry = Entry { awaited: entry.awaited, ..Entry::new(state) };
                    true
                }
                None => {
                    entries.insert(subject.clone(), Entry::new(state));
                    true
                }
            }
        };
        self.changed();
        if news {
            tracing::warn!(%subject, why, "not well");
        }
    }

    /// Notes that `subject` is left aside, and why. No log line, and `/readyz` does not care: for
    /// what is probably meant for another process, while somebody may look for it here.
    pub fn aside(&self, subject: &Subject, why: &str) {
        let state = State::Aside { why: why.to_owned() };
        if self.state(subject).as_ref() != Some(&state) {
            self.lock().insert(subject.clone(), Entry::new(state));
            self.changed();
        }
    }

    /// Forgets `subject`: what it was about is gone.
    pub fn forget(&self, subject: &Subject) {
        if self.lock().remove(subject).is_some() {
            self.changed();
        }
    }

    /// Every subject, in the order of their names.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Condition> {
        self.lock()
            .iter()
            .map(|(subject, entry)| Condition {
                subject: subject.clone(),
                state: entry.state.clone(),
                lasted: entry.since.elapsed(),
            })
            .collect()
    }

    /// How one subject is; `None` if nothing is known of it.
    #[must_use]
    pub fn state(&self, subject: &Subject) -> Option<State> {
        self.lock().get(subject).map(|entry| entry.state.clone())
    }

    /// Whether the process is ready.
    ///
    /// # Errors
    /// Every subject that keeps it from being so, and why.
    pub fn ready(&self) -> Result<(), Vec<(Subject, String)>> {
        let blocking: Vec<_> = self
            .lock()
            .iter()
            .filter_map(|(subject, entry)| match &entry.state {
                State::Expected => Some((subject.clone(), "not yet".to_owned())),
                State::Unwell { why, blocks_ready } if *blocks_ready || entry.awaited => {
                    Some((subject.clone(), why.clone()))
                }
                State::Unwell { .. } | State::Well | State::Aside { .. } => None,
            })
            .collect();
        if blocking.is_empty() { Ok(()) } else { Err(blocking) }
    }

    /// Waits until `reached` holds of the conditions. It is asked at once, and after each change.
    ///
    /// Cancel-safe.
    pub async fn until(&self, mut reached: impl FnMut(&Self) -> bool) {
        let mut changes = self.0.changes.subscribe();
        while !reached(self) {
            if changes.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Logs one summary each `interval` while anything is unwell or still expected. Never ends;
    /// sleeps while all is well.
    ///
    /// What the process is ready in spite of, such as a schedule that cannot be read, is a reason
    /// for a summary for [`NEWS`] only: it may stay for months.
    pub async fn summarise(self, interval: Duration) {
        loop {
            self.until(|conditions| conditions.troubles().next().is_some()).await;
            tokio::time::sleep(interval).await;
            let troubles: Vec<String> = self.troubles().collect();
            if self.is_worth_a_summary() {
                tracing::warn!(
                    subjects = troubles.len(),
                    "still not well: {}",
                    troubles.join("; ")
                );
            }
        }
    }

    fn is_worth_a_summary(&self) -> bool {
        self.snapshot().iter().any(|condition| match condition.state {
            State::Well | State::Aside { .. } => false,
            State::Unwell { blocks_ready: false, .. } => condition.lasted < NEWS,
            State::Expected | State::Unwell { .. } => true,
        })
    }

    /// What is to be said about each subject that is not well.
    fn troubles(&self) -> impl Iterator<Item = String> + use<> {
        self.snapshot().into_iter().filter_map(|condition| {
            let Condition { subject, state, lasted } = condition;
            let lasted = Rounded(lasted);
            match state {
                State::Well | State::Aside { .. } => None,
                State::Expected => Some(format!("{subject} (not yet, {lasted})")),
                State::Unwell { why, .. } => Some(format!("{subject} ({why}, {lasted})")),
            }
        })
    }

    fn changed(&self) {
        self.0.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// No code that holds the lock can leave the map half changed, so poison means nothing here.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Subject, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.snapshot()).finish()
    }
}

impl Entry {
    fn new(state: State) -> Self {
        let now = Instant::now();
        let awaited = state == State::Expected;
        Self { state, awaited, since: now, logged: now }
    }

    fn why(&self) -> Option<&str> {
        match &self.state {
            State::Unwell { why, .. } | State::Aside { why } => Some(why),
            State::Expected | State::Well => None,
        }
    }
}

/// A duration as a log shows it: to the second, below that to the millisecond.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.0.as_secs() > 0 { 1_000 } else { 1 };
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX) / unit * unit;
        f.write_str(&crate::settings::format_go_duration(Duration::from_millis(millis)))
    }
}
