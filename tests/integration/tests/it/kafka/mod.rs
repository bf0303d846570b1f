//! The Kafka connector: what issue by issue its users have lost records by.

mod basics;
mod scene;
