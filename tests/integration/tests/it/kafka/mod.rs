//! The Kafka connector: what issue by issue its users have lost records by.

mod basics;
mod beyond;
mod conforms;
mod fanout;
mod gateway;
mod groups;
mod headers;
mod offsets;
mod order;
mod pace;
mod poison;
pub(crate) mod scene;
