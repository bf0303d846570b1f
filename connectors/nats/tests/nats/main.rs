//! The connector against a real server: each test has a server, a gateway and connectors of its own.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod bound;
mod chaos;
mod cluster;
mod core;
mod faults;
mod jetstream;
mod jwt;
mod losses;
mod permissions;
mod pki;
mod replicas;
mod security;
mod support;
mod unreadable;
