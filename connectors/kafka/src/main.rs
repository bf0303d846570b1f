//! Calls OpenFaaS functions with the records of Apache Kafka topics.

use std::process::ExitCode;

fn main() -> ExitCode {
    connector_core::run::run::<kafka_connector::Kafka>()
}
