//! Whole connectors, on real brokers.

mod binary;
mod brokers;
mod completions;
mod compose;
mod cron;
mod generated;
mod kafka;
mod kubernetes;
mod late;
mod log_lines;
mod mqtt;
mod page;
mod settings_file;
