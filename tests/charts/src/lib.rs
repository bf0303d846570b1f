//! The charts of `deploy/helm`: what is generated in them, and what they render.
//!
//! A chart's values are written down once, with a comment above each: those of its own source in
//! its `values.yaml`, those of every chart in the library chart. From them come the rest of
//! `values.yaml`, `values.schema.json` and `README.md` ([`generated`]). [`described`] reads the
//! comments, [`settings`] which settings a connector has, [`examples`] are the values that charts are
//! tried with, and [`helm`] runs Helm.

pub mod described;
pub mod examples;
pub mod generated;
pub mod helm;
pub mod settings;

use std::path::PathBuf;

/// The kinds of connectors that have a chart.
pub const KINDS: [&str; 5] = ["cron", "kafka", "mqtt", "nats", "sqs"];

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the checkout.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
