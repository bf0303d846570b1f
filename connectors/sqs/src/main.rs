//! Calls OpenFaaS functions with the messages of Amazon SQS queues.

use std::process::ExitCode;

fn main() -> ExitCode {
    connector_core::run::run::<sqs_connector::Sqs>()
}
