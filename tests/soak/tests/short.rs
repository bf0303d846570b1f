//! The short profile: a few faults for each source, in as many seconds. `make soak` does it for as long as asked.
//!
//! Not for core NATS: what it loses on a machine that is busy with other tests is no fault of anybody's.

use std::process::Command;

/// Another seed for each source, so that together they have most of the faults.
fn soak(source: &str, seed: u32) {
    let soak = Command::new(env!("CARGO_BIN_EXE_soak"))
        // A broker that ended takes as long to come back.
        .args([source, "--seconds", "8", "--without", "disk", "--seed", &seed.to_string()])
        .output()
        .expect("it can be run");
    let said = String::from_utf8_lossy(&soak.stdout);
    let errors = String::from_utf8_lossy(&soak.stderr);
    assert!(soak.status.success(), "{said}\n{errors}");
}

#[test]
fn kafka() {
    soak("kafka", 1);
}

#[test]
fn sqs() {
    soak("sqs", 2);
}

#[test]
fn sqs_fifo() {
    soak("sqs-fifo", 3);
}

#[test]
fn jetstream() {
    soak("jetstream", 4);
}

#[test]
fn mqtt() {
    soak("mqtt", 5);
}
