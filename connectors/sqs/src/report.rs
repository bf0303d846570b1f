//! How a queue fares, for `/readyz` and the log.
//!
//! Three things can be wrong with a queue: that it cannot be received from, that what was done
//! cannot be deleted, that leases cannot be changed. Each is a condition of its own, because the
//! permissions for them are, too.
//!
//! A queue that only annotations ask for may be meant for another connector. If it is not there, or
//! not for us, it is left aside.

use std::sync::{Arc, Mutex, PoisonError};

use connector_core::conditions::{Conditions, Subject};

use crate::queue::QueueRef;
use crate::trouble::{Kind, Trouble};

/// Says how a queue fares.
pub(crate) struct Report {
    conditions: Conditions,
    asked: QueueRef,
    queue: Subject,
    deletes: Subject,
    leases: Subject,
    /// It was named in the settings: without it the process is not ready.
    ordered: bool,
    /// Why it is left aside.
    aside: Mutex<Option<Trouble>>,
}

impl Report {
    pub(crate) fn new(conditions: Conditions, asked: QueueRef, ordered: bool) -> Arc<Self> {
        let queue = asked.name();
        let subject = Subject(format!("queue {queue}").into());
        let part = |part: &str| Subject(format!("queue {queue}, {part}").into());
        let (deletes, leases) = (part("deletes"), part("leases"));
        if ordered {
            conditions.expect(&subject);
        }
        let aside = Mutex::default();
        Arc::new(Self { conditions, asked, queue: subject, deletes, leases, ordered, aside })
    }

    pub(crate) fn well(&self) {
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.conditions.well(&self.queue);
    }

    pub(crate) fn trouble(&self, trouble: &Trouble) {
        let mut told = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.leaves_aside(trouble) {
            *told = None;
            self.conditions.unwell(&self.queue, &trouble.why, true);
        } else if told.as_ref() != Some(trouble) {
            let (queue, why) = (self.asked.to_string(), &trouble.why);
            tracing::info!(queue, why, "not consumed, although a function asks for it");
            self.forget();
            self.conditions.aside(&self.queue, why);
            *told = Some(trouble.clone());
        }
    }

    /// Whether this trouble may only mean that the queue is another connector's.
    pub(crate) fn leaves_aside(&self, trouble: &Trouble) -> bool {
        let foreign = matches!(trouble.kind, Kind::UnknownQueue | Kind::Denied | Kind::Setup);
        foreign && !self.ordered
    }

    pub(crate) fn deletes_well(&self) {
        self.well_again(&self.deletes);
    }

    pub(crate) fn deletes_fail(&self, why: &str) {
        self.conditions.unwell(&self.deletes, why, true);
    }

    pub(crate) fn leases_well(&self) {
        self.well_again(&self.leases);
    }

    /// Leases can be neither extended nor given back: what runs is called again elsewhere.
    pub(crate) fn leases_fail(&self, why: &str) {
        self.conditions.unwell(&self.leases, why, true);
    }

    fn well_again(&self, subject: &Subject) {
        if self.conditions.state(subject).is_some() {
            self.conditions.well(subject);
        }
    }

    /// The queue is nobody's concern any more.
    pub(crate) fn forget(&self) {
        for subject in [&self.queue, &self.deletes, &self.leases] {
            self.conditions.forget(subject);
        }
    }
}
