//! The gateway over real sockets: each route, each fault, the ledger, the binary.

mod invoking;
mod support;
