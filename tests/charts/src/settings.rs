//! Which settings a connector has, from the generated reference.

use std::collections::BTreeMap;

use crate::{KINDS, read};

/// The settings that values of the charts' own set, and nothing else can, each with its charts: ports, roles, mounts and
/// triggers are rendered from the same values.
const OF_CHARTS: [(&str, &[&str]); 15] = [
    ("admin_port", &KINDS),
    ("basic_auth", &KINDS),
    ("broker", &["mqtt"]),
    ("broker_host", &["nats"]),
    ("broker_hosts", &["kafka"]),
    ("durable", &["nats"]),
    ("gateway_url", &KINDS),
    ("grace_period", &KINDS),
    ("group", &["kafka"]),
    ("initial_offset", &["kafka"]),
    ("lease", &["cron"]),
    ("queue_url", &["sqs"]),
    ("secret_mount_path", &KINDS),
    ("stream", &["nats"]),
    ("topics", &["kafka", "sqs"]),
];

/// Whether a setting is set by a value of the chart's own alone.
#[must_use]
pub fn is_of_chart(kind: &str, setting: &str) -> bool {
    OF_CHARTS.iter().any(|(name, kinds)| *name == setting && kinds.contains(&kind))
}

/// The settings of a kind of connector, each with its meaning.
///
/// # Panics
/// When the reference has no such connector.
#[must_use]
pub fn of(kind: &str) -> BTreeMap<String, String> {
    let reference = read("docs/configuration.md");
    let title = format!("\n## {kind}-connector\n");
    let (_, section) = reference.split_once(&title).expect("the reference has the connector");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once('`').expect("a name ends");
        let meaning = rest.rsplit(" | ").next().unwrap_or_default().trim_end_matches(" |");
        (name.to_owned(), meaning.replace("\\|", "|"))
    })
    .collect()
}
