//! Several replicas, one of which calls: they agree on it by a Lease of Kubernetes.
//!
//! The one that **leads** claims each tick in the Lease before it calls it: it writes down the
//! instant up to which ticks are claimed, on condition that the Lease is still as it last read it.
//! So two replicas never both have a tick, whatever the clocks say and however long one of them was
//! suspended: of two writes upon the same version the API server takes one. That is the fence; how
//! long the leader has been silent decides only *when* another takes over.
//!
//! The others **follow**: they note the ticks that fall due for them, and forget those that the
//! Lease says were called. One that takes over calls, of each function, the last tick that nobody
//! claimed, if it is not late by then. A tick that the leader had claimed when it went away may have
//! been called or not: it is **in doubt**, counted, and not called again.
//!
//! [`record`] is what the Lease says, [`tenure`] decides what to write into it (pure, on a clock
//! that is handed in), [`kubernetes`] reads and writes it, [`election`] joins the three, and
//! [`turn`] is what the ticker asks. Without a lease there is no election, and every tick is ours.

pub(crate) mod election;
pub(crate) mod kubernetes;
pub(crate) mod record;
pub(crate) mod tenure;
#[cfg(test)]
mod tests;
pub(crate) mod turn;

use std::path::PathBuf;
use std::time::Duration;

/// How replicas agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOptions {
    /// The Lease.
    pub name: String,
    /// Its namespace; `None`: that of the pod.
    pub namespace: Option<String>,
    /// How long a leader may be silent before another takes its place.
    pub duration: Duration,
    /// The API server.
    pub api: String,
    /// The folder with the pod's token, namespace and the API server's authority.
    pub account: PathBuf,
}

/// A name that no other process has: the host's, which is the pod's, and when it began.
pub(crate) fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:x}", host.trim(), jiff::Timestamp::now().as_nanosecond())
}
