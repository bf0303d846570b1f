//! Calls OpenFaaS functions with the messages of MQTT topics.
//!
//! Each topic filter has a session of its own at the broker, and each session is a lane: its
//! messages are acknowledged in the order of receipt, when their functions have answered well. What
//! was not acknowledged the broker sends again over the next connection.
//!
//! [`Mqtt`] runs the sessions ([`sessions`]) that settings and annotations ask for ([`plan`]) or
//! have asked for ([`past`]); one ([`session`]) receives over its connection ([`link`]) and
//! acknowledges. The protocol's two versions are one from [`client`] on.

use std::sync::Arc;

use connector_core::Intake;
use connector_core::headers::OwnHeader;
use connector_core::metrics::Metrics;
use connector_core::source::{Letterbox, Source, SourceError};
use connector_core::topics::{Pattern, Unused};

mod broker_url;
mod client;
mod config;
mod dead_letter;
mod filter;
mod link;
mod message;
mod meters;
mod past;
mod plan;
mod reply;
mod session;
mod sessions;
mod subscribed;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;

pub use config::MqttConfig;

/// The broker side of the MQTT connector.
pub struct Mqtt(sessions::Sessions);

impl Source for Mqtt {
    const KIND: &'static str = "mqtt";
    const ATTRIBUTE_PREFIX: &'static str = "X-Mqtt-User-";
    const ATTRIBUTES: Option<(&'static str, &'static str)> =
        Some(("the message has a user property of that name (MQTT 5)", "eu-west"));
    const ITEMS: &'static str = "An item of `topic` is a topic, `sensors/1/temp`, or a topic filter: `sensors/+/temp` \
                                 (one level), `sensors/#` (all below).";
    const LETTER_SCHEME: Option<&'static str> = Some("topic");
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[
        ("rebuild_interval", "1s"),
        ("content_type", "application/json"),
        ("print_response", "true"),
        ("max_retry_attempts", "3"),
        ("max_retry_wait", "30s"),
    ];

    type Config = MqttConfig;

    fn own_headers() -> Vec<OwnHeader> {
        message::own_headers()
    }

    fn pattern(_: &MqttConfig, item: &str) -> Result<Pattern, Unused> {
        filter::annotation(item).map(|filter| filter.pattern())
    }

    fn meters(metrics: &Metrics) {
        drop(meters::Meters::of(metrics));
    }

    async fn connect(config: Arc<MqttConfig>, intake: Intake) -> Result<Self, SourceError> {
        sessions::Sessions::connect(config, intake).await.map(Self)
    }

    async fn run(self) -> Result<(), SourceError> {
        self.0.run().await
    }

    fn letterbox(
        config: &Arc<MqttConfig>,
        _: &Intake,
        address: &str,
    ) -> Result<Arc<dyn Letterbox>, String> {
        filter::check_topic(address).map_err(|why| format!("the topic `{address}` {why}"))?;
        Ok(Arc::new(dead_letter::Topic::new(Arc::clone(config), address)))
    }
}
