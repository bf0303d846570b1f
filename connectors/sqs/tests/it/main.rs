//! The SQS connector as a process, against a real ElasticMQ and a local gateway.
//!
//! Faults of the service are brought about by a proxy in between ([`proxy`]), faults of functions
//! by the gateway. Every test has queues of its own, waits for states, and ends with the check that
//! every delivery was counted once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod chaos;
mod credentials;
mod delivery;
mod fifo;
mod leases;
mod letters;
mod metadata;
mod outages;
mod proxy;
mod queues;
mod receivers;
mod replicas;
mod support;
mod topics;
