//! The connector against a real server: each test has a server, a gateway and connectors of its own.

mod bound;
mod core;
mod faults;
mod jetstream;
mod security;
mod support;
