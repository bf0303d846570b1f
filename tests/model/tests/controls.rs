//! The negative controls can be run: `make controls` runs them, which takes longer than a test may.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::Rule;

fn controls() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("controls");
    let files = fs::read_dir(folder).expect("the folder of controls");
    files.map(|file| file.expect("a control").path()).collect()
}

#[test]
fn every_control_names_the_rule_that_it_breaks() {
    let controls = controls();
    assert!(controls.len() >= 12, "{controls:?}");
    for control in controls {
        let text = fs::read_to_string(&control).expect("a text");
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let breaks = line("Breaks: ").expect("a rule");
        let known = Rule::ALL.iter().any(|rule| rule.name() == breaks);
        assert!(known, "{}: {breaks}", control.display());
        assert!(line("Bug: ").is_some(), "{}", control.display());
        let (package, test) = line("Seen by: ").and_then(|it| it.split_once(' ')).expect("a test");
        let worlds = match package {
            "model" => include_str!("leased/main.rs"),
            "kafka-connector" => include_str!("../../../connectors/kafka/src/model.rs"),
            _ => panic!("{}: {package} has no model", control.display()),
        };
        let known = worlds.contains(&format!("fn {test}()"));
        assert!(known, "{}: {test}", control.display());
    }
}

#[test]
fn every_control_still_fits_the_sources() {
    for control in controls() {
        let checked = Command::new("git")
            .args(["apply", "--check"])
            .arg(&control)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .output()
            .expect("git runs");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {said}", control.display());
    }
}
