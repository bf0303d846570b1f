//! Calls OpenFaaS functions with the messages of MQTT topics.

use std::process::ExitCode;

fn main() -> ExitCode {
    connector_core::run::run::<mqtt_connector::Mqtt>()
}
