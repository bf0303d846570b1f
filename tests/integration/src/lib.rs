//! The promise, on real brokers.
