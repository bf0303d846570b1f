//! The short profile: everything is broken once. `make soak` does it for as long as asked.

use std::process::Command;

fn soak(source: &str) {
    let soak = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args([source, "--seconds", "20", "--seed", "1"])
        .output()
        .expect("it can be run");
    let said = String::from_utf8_lossy(&soak.stdout);
    let errors = String::from_utf8_lossy(&soak.stderr);
    assert!(soak.status.success(), "{said}\n{errors}");
}

#[test]
#[ignore = "half a minute: make soak does as much as is asked"]
fn jetstream() {
    soak("jetstream");
}

#[test]
#[ignore = "half a minute: make soak does as much as is asked"]
fn mqtt() {
    soak("mqtt");
}
