//! A broker of one test alone that has no more to it than its script.

use crate::{script, unique};

/// A running broker; wiped when it is dropped.
#[derive(Debug)]
pub struct Scripted {
    kind: &'static str,
    name: String,
    /// `host:port`.
    pub address: String,
    /// Its process, which may be hurt.
    pub pid: u32,
}

impl Scripted {
    /// Starts one, such as `nats`. `settings` are lines of its configuration.
    ///
    /// # Panics
    /// When it cannot be started, with what the script says.
    #[must_use]
    pub fn start(kind: &'static str, settings: &[&str]) -> Self {
        let name = unique(kind);
        let settings = settings.iter().flat_map(|line| ["--set", line]);
        let state = script(kind, "up", &name, settings);
        let pid = state["PID"].parse().expect("a number");
        Self { kind, name, address: state["ADDRESS"].clone(), pid }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // A process that stands still goes on for it.
        script(self.kind, "wipe", &self.name, []);
    }
}
