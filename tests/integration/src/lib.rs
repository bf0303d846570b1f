//! The promise, on real brokers: what the tests of whole connectors are written with.
//!
//! [`kafka`] and [`mosquitto`] are brokers and what a test does with them, [`connector`] a connector's own binary with
//! its log, pages and signals, [`metrics`] what it says of itself, [`process`] what the kernel says
//! of any process, [`browser`] what a person sees, [`prometheus`] what is made of it, [`certificates`] what TLS needs. The gateway is the crate
//! `dev_gateway`, in the test's own process.
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
pub mod gateway;
pub mod kafka;
pub mod metrics;
pub mod mosquitto;
pub mod process;
pub mod prometheus;
pub mod sqs;
pub mod wait;

pub use certificates::Authority;
pub use connector::{Connector, Ended, Launch, program};
pub use gateway::Gateway;
pub use kafka::{Broker, Record};
pub use mosquitto::Mosquitto;
pub use prometheus::Prometheus;
pub use wait::{PATIENCE, until};

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
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
