//! The gateway over real sockets: each route, each fault, the ledger, the binary.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod binary;
mod faults;
mod invoking;
mod ledger;
mod listing;
mod stack;
mod support;
