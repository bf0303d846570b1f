//! Calls OpenFaaS functions with the messages of NATS subjects and JetStream streams.
//!
//! Core NATS keeps nothing: what it brings is called at most once, and what there is no room for
//! is dropped and counted ([`core_nats`]). JetStream lends its messages and takes them back: each
//! is acknowledged when it is done with, and extended while it is not ([`jetstream`]). The settings
//! decide which of the two a process is; [`config`] has them.

use std::sync::Arc;

use connector_core::Intake;
use connector_core::headers::OwnHeader;
use connector_core::metrics::Metrics;
use connector_core::source::{Letterbox, Source, SourceError};
use connector_core::topics::{Pattern, Unused};

mod binding;
mod config;
mod confirmed;
mod connect;
mod core_nats;
mod dead_letter;
mod jetstream;
mod lane;
mod letters;
mod message;
mod meters;
mod owners;
mod proof;
mod pull;
mod refusals;
mod seldom;
mod settle;
mod skipped;
mod stored;
mod subject;
#[cfg(feature = "testing")]
pub mod testing;

pub use config::NatsConfig;

/// The broker side of the NATS connector.
pub struct Nats(Kind);

enum Kind {
    Core(Box<core_nats::Subscriptions>),
    JetStream(Box<jetstream::Consumers>),
}

impl Source for Nats {
    const KIND: &'static str = "nats";
    const ATTRIBUTE_PREFIX: &'static str = "X-Nats-";
    const ATTRIBUTES: Option<(&'static str, &'static str)> =
        Some(("the message has a header of that name", "eu-west"));
    const ITEMS: &'static str = "An item of `topic` is a subject, `orders.new`, or a pattern of subjects: `orders.*` (one \
                                 token), `orders.>` (one or more).";
    const QUIET: &'static [&'static str] = &["async_nats"];
    const LETTER_SCHEME: Option<&'static str> = Some("subject");
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[
        ("asynchronous_invocation", "true"),
        ("upstream_timeout", "60s"),
        ("rebuild_interval", "5s"),
    ];

    type Config = NatsConfig;

    fn own_headers() -> Vec<OwnHeader> {
        message::own_headers()
    }

    fn pattern(_: &NatsConfig, item: &str) -> Result<Pattern, Unused> {
        // Of addresses, and of filters of MQTT and regular expressions of Kafka that are no subjects besides.
        let foreign = ['/', ':', '#', '^'];
        let filter = subject::Filter::parse(item);
        let filter = filter.map_err(|why| Unused::by_characters(item, &foreign, why))?;
        Ok(filter.pattern())
    }

    fn meters(metrics: &Metrics) {
        drop(meters::Meters::of(metrics));
    }

    async fn connect(config: Arc<NatsConfig>, intake: Intake) -> Result<Self, SourceError> {
        // JetStream brings what was asked for. Core NATS brings what there is: what comes in one
        // burst waits here until it is looked at, as much as in the libraries of other languages.
        let buffered =
            if config.is_jetstream() { intake.config().lane_window.max(256) } else { 65_536 };
        let link = connect::connect(&config, Some(intake.clone()), buffered).await?;
        Ok(Self(if config.is_jetstream() {
            Kind::JetStream(Box::new(jetstream::Consumers::new(config, intake, link).await?))
        } else {
            Kind::Core(Box::new(core_nats::Subscriptions::new(config, intake, link)))
        }))
    }

    async fn run(self) -> Result<(), SourceError> {
        match self.0 {
            Kind::Core(subscriptions) => subscriptions.run().await,
            Kind::JetStream(consumers) => consumers.run().await,
        }
    }

    fn letterbox(
        config: &Arc<NatsConfig>,
        _: &Intake,
        address: &str,
    ) -> Result<Arc<dyn Letterbox>, String> {
        let subject =
            subject::Filter::parse(address).map_err(|why| format!("`{address}` {why}"))?;
        if subject.is_wild() {
            return Err(format!("`{address}` is a pattern, not one subject"));
        }
        Ok(Arc::new(dead_letter::Subject::new(Arc::clone(config), subject)))
    }
}
