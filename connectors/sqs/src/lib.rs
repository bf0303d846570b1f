//! Calls OpenFaaS functions with the messages of Amazon SQS queues.
//!
//! SQS lends messages: a received one is hidden from others for a while, its lease, and comes back
//! unless it is deleted. Each queue is a lane: it is received from ([`receive`]) as far as there
//! are slots, the leases of what is being worked on are extended ([`lease`]), and what was answered
//! well is deleted ([`settle`]). Which queues there are, a [`session`] follows; what a queue's name,
//! URL or ARN means is in [`queue`].

use std::sync::Arc;

use connector_core::Intake;
use connector_core::headers::OwnHeader;
use connector_core::metrics::Metrics;
use connector_core::source::{Letterbox, Source, SourceError};
use connector_core::topics::{Pattern, Unused};

mod account;
mod api;
mod config;
mod consume;
mod dead_letter;
mod lease;
mod message;
mod meters;
mod queue;
mod receive;
mod report;
mod session;
mod settle;
#[cfg(feature = "testing")]
pub mod testing;
mod trouble;

pub use config::SqsConfig;

/// The broker side of the SQS connector.
pub struct Sqs(session::Session);

impl Source for Sqs {
    const KIND: &'static str = "sqs";
    const ATTRIBUTE_PREFIX: &'static str = "X-SQS-";
    const ATTRIBUTES: Option<(&'static str, &'static str)> =
        Some(("the message has an attribute of that name", "eu-west"));
    const ITEMS: &'static str = "An item of `topic` is a queue's name, `orders`, its URL, or its ARN. With \
                                 `topic_attribute` it may be any text that messages name as their topic.";
    const QUIET: &'static [&'static str] =
        &["aws_config", "aws_runtime", "aws_sdk_sqs", "aws_sdk_sts", "aws_smithy_runtime"];
    const LETTER_SCHEME: Option<&'static str> = Some("queue");
    const DEFAULTS: &'static [(&'static str, &'static str)] =
        &[("upstream_timeout", "30s"), ("content_type", "text/plain")];

    type Config = SqsConfig;

    fn own_headers() -> Vec<OwnHeader> {
        message::own_headers()
    }

    fn pattern(config: &SqsConfig, item: &str) -> Result<Pattern, Unused> {
        match item.parse::<queue::QueueRef>() {
            Ok(queue) => Ok(Pattern::Exact(queue.name().into())),
            // What a message says of its topic may be any text.
            Err(_) if config.topic_attribute.is_some() => Ok(Pattern::Exact(item.into())),
            Err(why) if queue::is_address(item) => Err(Unused::Mistaken(why)),
            // Of names of Kafka, subjects of NATS and filters of MQTT.
            Err(why) => Err(Unused::by_characters(item, &['.', '/', '*', '>', '+', '#', '^'], why)),
        }
    }

    fn meters(metrics: &Metrics) {
        drop(meters::Meters::of(metrics));
    }

    async fn connect(config: Arc<SqsConfig>, intake: Intake) -> Result<Self, SourceError> {
        session::Session::connect(config, intake).await.map(Self)
    }

    async fn run(self) -> Result<(), SourceError> {
        self.0.run().await
    }

    fn letterbox(
        config: &Arc<SqsConfig>,
        _: &Intake,
        address: &str,
    ) -> Result<Arc<dyn Letterbox>, String> {
        let queue = address.parse()?;
        Ok(Arc::new(dead_letter::LetterQueue::new(Arc::clone(config), queue)))
    }
}
