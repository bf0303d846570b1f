//! How a queue fares, for `/readyz` and the log.
//!
//! Three things can be wrong with a queue: that it cannot be received from, that what was done
//! cannot be deleted, that leases cannot be changed. Each is a condition of its own, because the
//! permissions for them are, too.

use std::sync::Arc;

use connector_core::conditions::{Conditions, Subject};

use crate::trouble::Trouble;

/// Says how a queue fares.
pub(crate) struct Report {
    conditions: Conditions,
    queue: Subject,
    deletes: Subject,
    leases: Subject,
    /// It was named in the settings: without it the process is not ready.
    pub(crate) ordered: bool,
}

impl Report {
    pub(crate) fn new(conditions: Conditions, queue: &str, ordered: bool) -> Arc<Self> {
        let subject = Subject(format!("queue {queue}").into());
        let part = |part: &str| Subject(format!("queue {queue}, {part}").into());
        let (deletes, leases) = (part("deletes"), part("leases"));
        if ordered {
            conditions.expect(&subject);
        }
        Arc::new(Self { conditions, queue: subject, deletes, leases, ordered })
    }

    pub(crate) fn well(&self) {
        self.conditions.well(&self.queue);
    }

    pub(crate) fn trouble(&self, trouble: &Trouble) {
        self.conditions.unwell(&self.queue, &trouble.why, true);
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
