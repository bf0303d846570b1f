//! Whole connectors, on real brokers.

mod binary;
mod generated;
mod kafka;
