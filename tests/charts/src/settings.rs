//! Which settings a connector has, from the generated reference.

use std::collections::BTreeMap;

use crate::read;

/// The settings that the chart sets itself, by values of its own: what it renders depends on them.
pub const OF_THE_CHART: [&str; 4] =
    ["admin_port", "basic_auth", "grace_period", "secret_mount_path"];

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
