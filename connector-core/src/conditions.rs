//! What is well and what is not: the one place that `/readyz`, the status and the log of an outage
//! are made from.

/// The conditions of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Conditions(std::sync::Arc<()>);

/// Which part of the process a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(pub std::borrow::Cow<'static, str>);

impl Conditions {
    /// Notes that `subject` is well. One log line if it was not.
    pub fn well(&self, subject: &Subject) {}

    /// Notes that `subject` is not well, and why. One log line at the change, then a summary at
    /// most once a minute while it lasts. `blocks_ready`: whether `/readyz` fails meanwhile.
    pub fn unwell(&self, subject: &Subject, why: &str, blocks_ready: bool) {}

    /// Forgets `subject`: what it was about is gone.
    pub fn forget(&self, subject: &Subject) {}
}
