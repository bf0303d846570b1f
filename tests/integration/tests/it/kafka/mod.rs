//! The Kafka connector: what issue by issue its users have lost records by.

mod basics;
mod beyond;
mod conforms;
mod contents;
mod fanout;
mod gateway;
mod groups;
mod headers;
mod leaderless;
mod metrics;
mod offsets;
mod order;
mod pace;
mod poison;
mod protocol;
mod ranges;
pub(crate) mod scene;
mod secure;
