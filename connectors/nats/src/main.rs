//! Calls OpenFaaS functions with the messages of NATS subjects and JetStream streams.

use std::process::ExitCode;

fn main() -> ExitCode {
    connector_core::run::run::<nats_connector::Nats>()
}
