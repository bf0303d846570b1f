//! What the sessions of one run share.

use std::sync::Arc;

use connector_core::Intake;
use tokio::sync::watch;
use tracing::warn;

use crate::config::{MqttConfig, QualityOfService};
use crate::link::Link;
use crate::meters::Meters;
use crate::plan::{Asked, LetterTopics, Spec};

/// What every session of a connection's life shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<MqttConfig>,
    pub(crate) intake: Intake,
    pub(crate) meters: Arc<Meters>,
    /// Topics that take dead letters.
    pub(crate) letter_topics: watch::Receiver<Arc<LetterTopics>>,
}

impl Shared {
    /// Whether the broker has this session with its subscription.
    pub(crate) fn is_subscribed(&self, spec: &Spec, link: &Link) -> bool {
        link.accepted.session_present && self.config.subscribed.contains(&spec.client_id)
    }

    /// Notes what the broker said to a SUBSCRIBE.
    pub(crate) fn note(&self, spec: &Spec, answer: &Result<u8, String>) {
        let conditions = self.intake.conditions();
        match answer {
            Ok(qos) => {
                if *qos == 0 && self.config.qos == QualityOfService::AtLeastOnce {
                    warn!(filter = %spec.filter, "the broker grants QoS 0 only: messages may be lost");
                }
                self.config.subscribed.insert(&spec.client_id);
                conditions.well(&spec.subject());
            }
            Err(why) => {
                self.config.subscribed.remove(&spec.client_id);
                conditions.unwell(&spec.subject(), why, spec.asked == Asked::Order);
            }
        }
    }
}
