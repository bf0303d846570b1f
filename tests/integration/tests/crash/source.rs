//! The sources: how a broker is filled for one run, asked what it still has, and which steps there are.

mod kafka;
mod mqtt;
mod nats;
mod sqs;

use connector_core::fail_point::Step;
use dev_gateway::DevGateway;
use integration::{Connector, Launch};

pub(crate) use kafka::Kafka;
pub(crate) use mqtt::Mqtt;
pub(crate) use nats::{CoreNats, JetStream};
pub(crate) use sqs::Sqs;

use crate::work::Event;

/// A column of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kafka,
    SqsStandard,
    SqsFifo,
    JetStream,
    Mqtt5,
    Mqtt4,
    CoreNats,
    MqttQos0,
    Cron,
}

impl Kind {
    pub(crate) const ALL: [Self; Self::Cron as usize + 1] = [
        Self::Kafka,
        Self::SqsStandard,
        Self::SqsFifo,
        Self::JetStream,
        Self::Mqtt5,
        Self::Mqtt4,
        Self::CoreNats,
        Self::MqttQos0,
        Self::Cron,
    ];

    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::SqsStandard => "SQS",
            Self::SqsFifo => "SQS FIFO",
            Self::JetStream => "JetStream",
            Self::Mqtt5 => "MQTT 5, QoS 1",
            Self::Mqtt4 => "MQTT 3.1.1, QoS 1",
            Self::CoreNats => "core NATS",
            Self::MqttQos0 => "MQTT 5, QoS 0",
            Self::Cron => "cron",
        }
    }

    /// What the table says is promised.
    pub(crate) fn promise(self) -> &'static str {
        if self.keeps() { "at least once" } else { "at most once" }
    }

    /// Whether what is not acknowledged comes again. Where it does not, a crash loses something, and repeats nothing.
    pub(crate) fn keeps(self) -> bool {
        !matches!(self, Self::CoreNats | Self::MqttQos0 | Self::Cron)
    }

    /// Whether its events pass this step.
    pub(crate) fn has(self, step: Step) -> bool {
        match step {
            Step::Acknowledged => self.keeps(),
            // Nobody answers a PUBACK.
            Step::Confirmed => self.keeps() && !matches!(self, Self::Mqtt5 | Self::Mqtt4),
            Step::Received
            | Step::Submitted
            | Step::Called
            | Step::Answered
            | Step::DeadLettered
            | Step::Settled => true,
        }
    }
}

/// A broker's side of one run, under names of its own.
pub(crate) trait Source {
    /// Events of one key are called one after the other.
    const ORDERED: bool;

    /// What the functions are mapped to.
    fn topic(&self) -> String;

    /// The connector, everything set that is the source's.
    fn connector(&self) -> Launch;

    /// Waits until what is published from now on comes to this connector, which is ready.
    async fn subscribed(&self, _connector: &Connector) {}

    /// Publishes; returns when the broker has it.
    async fn publish(&self, events: &[Event]);

    /// How many of the published events the broker has not been told of.
    async fn left(&self) -> usize;

    /// The payloads of the letters that are stored.
    async fn letters(&self) -> Vec<String>;

    /// The same as one of several that share the work.
    fn replica(&self, gateway: &DevGateway) -> Launch {
        self.launch(gateway)
    }

    /// The connector at this gateway, with short intervals.
    fn launch(&self, gateway: &DevGateway) -> Launch {
        self.connector()
            .set("gateway_url", gateway.url())
            .set("rebuild_interval", "200ms")
            .set("initial_retry_wait", "20ms")
            .set("max_retry_wait", "50ms")
            // What is received again counts as an attempt, and a slow machine lets leases end.
            .set("max_retry_attempts", "-1")
            .set("function_concurrency", "8")
            .set("print_response", "false")
    }
}
