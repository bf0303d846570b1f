//! The promise, on real brokers: what the tests of whole connectors are written with.
//!
//! [`kafka`], [`mosquitto`], [`scripted`], [`sqs`] and [`kubernetes`] are what connectors talk to and
//! what a test does with it, [`connector`] a connector's own binary with its log, pages and signals,
//! [`metrics`] what it says of itself, [`prometheus`] what is made of that, [`process`] what the
//! kernel says of any process, [`wall_clock`] what time it is for one, [`browser`] what a person sees,
//! [`certificates`] what TLS needs, [`faults`] what can be broken when, [`proxy`] what links are broken with,
//! [`size`] how much of all that is asked for, [`ticks`] what is read of a log of cron. The gateway is the crate `dev_gateway`, in the test's own process.
//!
//! Nothing here knows what a connector *should* do, but for one thing: every [`Connector`] that a
//! test ends is asked whether its books balance (see [`metrics::Metrics::balance`]).
//!
//! Tests run side by side on one broker, each with topics and groups of its own ([`unique`]), and
//! wait for states, never for time to pass.

pub mod browser;
pub mod certificates;
pub mod conformance;
pub mod connector;
pub mod faults;
pub mod gateway;
pub mod kafka;
pub mod kubernetes;
pub mod metrics;
pub mod mosquitto;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod scripted;
pub mod size;
pub mod sqs;
pub mod ticks;
pub mod wait;
pub mod wall_clock;

pub use certificates::Authority;
pub use connector::{Connector, Ended, Launch, program};
pub use gateway::Gateway;
pub use kafka::{Broker, Record};
pub use kubernetes::Cluster;
pub use mosquitto::Mosquitto;
pub use prometheus::Prometheus;
pub use scripted::Scripted;
pub use wait::{PATIENCE, until};
pub use wall_clock::WallClock;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A name that nothing else has, neither in this run nor in one before it.
#[must_use]
pub fn unique(purpose: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let run = &uuid::Uuid::new_v4().simple().to_string()[..8];
    format!("{purpose}-{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Has the script of this kind of broker do this with the one of this name; what it answers, by key.
///
/// # Panics
/// When it fails, with what it says.
pub fn script<'a>(
    kind: &str,
    verb: &str,
    name: &str,
    settings: impl IntoIterator<Item = &'a str>,
) -> HashMap<String, String> {
    let mut command = Command::new(root().join(format!("tests/brokers/{kind}.sh")));
    let output = command.args([verb, "--name", name]).args(settings).output();
    let output = output.expect("the script can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb}: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Has the run in a folder judged by the checker, a process of its own: whether the promise was kept, and what it says.
///
/// # Panics
/// When the checker cannot be built or run.
pub async fn judged(folder: &Path) -> (bool, String) {
    let mut checker = tokio::process::Command::new(program("ledger-checker").await);
    let judged = checker.arg(folder).stdin(Stdio::null()).output().await;
    let judged = judged.expect("the checker can be run");
    let said = [judged.stdout, judged.stderr].concat();
    (judged.status.success(), String::from_utf8_lossy(&said).into_owned())
}
