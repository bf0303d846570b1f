//! The connector's binary between real brokers and the stand-in for the gateway.
//!
//! Messages are published and answers received by Mosquitto's command line clients, which share no
//! code with the connector. Every test has brokers, clients and a gateway of its own.

#![expect(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "a test may")]

mod annotations;
mod changes;
mod chaos;
mod forms;
mod losses;
mod network;
mod promise;
mod refusals;
mod replicas;
mod support;
