//! What the guide says of alerts is what there is.

use std::fs;

use integration::root;

use crate::alerts;

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
