//! Calls OpenFaaS functions with the records of Apache Kafka topics.
//!
//! A consumer group's partitions are lanes: each is received, called and committed by itself. What
//! is committed is what has been answered well; what has not is delivered again, to this process
//! or to another.
//!
//! [`Kafka`] connects, and runs the session ([`session`]): it answers the group ([`assignment`]),
//! follows the topics ([`subscription`]), sees to it that the group leaves none of them out
//! ([`orphans`]), and each partition has its task ([`lane`]) with its
//! books ([`tracker`], [`progress`]); what these ask of the client stands in [`broker`]. One task commits for all of them ([`commit`]), another keeps
//! what proves to the broker who we are ([`login`]).
//! [`meters`] has what is told of all this; [`retention`] asks for what bounds it.

use std::sync::Arc;

use connector_core::Intake;
use connector_core::headers::OwnHeader;
use connector_core::metrics::Metrics;
use connector_core::source::{Letterbox, Source, SourceError};
use connector_core::topics::{Pattern, Unused};

mod assignment;
mod broker;
mod client;
mod commit;
mod config;
mod dead_letter;
mod lane;
mod login;
mod meters;
mod missing;
#[cfg(test)]
mod model;
mod orphans;
mod positions;
mod progress;
mod raw;
mod record;
mod retention;
mod session;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod tracker;

pub use config::KafkaConfig;

/// The broker side of the Kafka connector.
pub struct Kafka(session::Session);

impl Source for Kafka {
    const KIND: &'static str = "kafka";
    const ATTRIBUTE_PREFIX: &'static str = "X-Kafka-";
    const ATTRIBUTES: Option<(&'static str, &'static str)> =
        Some(("the record has a header of that name", "eu-west"));
    const ITEMS: &'static str = "An item of `topic` is the name of a Kafka topic, `orders`, or a regular expression that \
                                 begins with `^`: `^orders\\..*`.";
    const LETTER_SCHEME: Option<&'static str> = Some("topic");
    const DEFAULTS: &'static [(&'static str, &'static str)] =
        &[("upstream_timeout", "2m"), ("content_type", "text/plain"), ("print_response", "true")];

    type Config = KafkaConfig;

    fn own_headers() -> Vec<OwnHeader> {
        record::own_headers()
    }

    fn pattern(_: &KafkaConfig, item: &str) -> Result<Pattern, Unused> {
        // Of filters of MQTT, subjects of NATS, and addresses.
        let foreign = ['/', ':', '#', '>'];
        subscription::pattern(item).map_err(|why| Unused::by_characters(item, &foreign, why))
    }

    fn meters(metrics: &Metrics) {
        drop(meters::Meters::of(metrics));
    }

    async fn connect(config: Arc<KafkaConfig>, intake: Intake) -> Result<Self, SourceError> {
        // Without it OpenSSL is taken apart when the process ends, under threads of librdkafka that
        // still speak TLS: a connector that had drained in good order died by SIGSEGV now and then.
        // It reads its texts of errors and its configuration, so not where nobody needs it.
        if config.uses_openssl() {
            openssl_sys::init();
        }
        session::Session::connect(config, intake).await.map(Self)
    }

    async fn run(self) -> Result<(), SourceError> {
        self.0.run().await
    }

    fn letterbox(
        config: &Arc<KafkaConfig>,
        intake: &Intake,
        address: &str,
    ) -> Result<Arc<dyn Letterbox>, String> {
        match subscription::pattern(address)? {
            Pattern::Exact(name) => {
                let conditions = intake.conditions().clone();
                Ok(Arc::new(dead_letter::Topic::new(Arc::clone(config), conditions, &name)))
            }
            Pattern::Many { .. } => Err("takes the name of one topic".to_owned()),
        }
    }
}
