//! What the guide says of alerts and queries is what there is.

use std::fs;

use integration::root;

use crate::samples::cell;
use crate::{alerts, dashboard};

fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("it can be read")
}

/// An alert leads to its section of the guide, so there is one.
#[test]
fn the_guide_has_a_section_for_each_alert() {
    let guide = document("monitoring.md");
    let sections = guide.lines().filter_map(|line| line.strip_prefix("### "));
    let sections: Vec<_> = sections.filter(|it| it.starts_with("Tributary")).collect();
    let alerts = alerts::all();
    let names: Vec<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(sections, names);
}

/// A query that has changed has not been tried: `BLESS=1 make prove-monitoring` does.
#[test]
fn every_query_stands_in_the_table_of_samples() {
    let samples = document("monitoring-samples.md");
    let alerts = alerts::all().into_iter().map(|alert| alert.expr);
    for query in dashboard::queries().map(str::to_owned).chain(alerts) {
        assert!(samples.contains(&cell(&query)), "{query} is not in docs/monitoring-samples.md");
    }
}
