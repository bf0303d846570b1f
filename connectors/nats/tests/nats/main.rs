//! The connector against a real server: each test has a server, a gateway and connectors of its own.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod bound;
mod chaos;
mod core;
mod faults;
mod jetstream;
mod replicas;
mod security;
mod support;
