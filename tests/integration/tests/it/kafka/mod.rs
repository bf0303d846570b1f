//! The Kafka connector: what issue by issue its users have lost records by.

mod basics;
mod conforms;
mod fanout;
mod gateway;
mod headers;
mod offsets;
mod order;
mod pace;
mod poison;
mod protocol;
pub(crate) mod scene;
mod secure;
