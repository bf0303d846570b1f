//! Whole connectors, on real brokers.

mod kafka;
