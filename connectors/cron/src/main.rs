//! `cron-connector`: calls OpenFaaS functions on their schedules.

use std::process::ExitCode;

fn main() -> ExitCode {
    connector_core::run::run::<cron_connector::Cron>()
}
