//! Whole connectors, on real brokers.

mod binary;
mod compose;
mod cron;
mod generated;
mod kafka;
mod late;
mod mqtt;
mod page;
