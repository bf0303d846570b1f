//! What every test of the Kafka connector begins with: the shared broker, a gateway and a group of
//! its own, and a connector whose intervals are short.

use dev_gateway::{Config, DevGateway, Function};
use integration::{Broker, Launch, unique};

pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) gateway: DevGateway,
    pub(crate) group: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::at(Broker::shared().await).await
    }

    pub(crate) async fn at(broker: Broker) -> Self {
        let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
        Self { broker, gateway, group: unique("group") }
    }

    /// Deploys a function that echoes the records of a topic.
    pub(crate) fn deploy(&self, function: &str, topic: &str) {
        self.gateway.deploy(Function::named(function).topic(topic));
    }

    /// A connector that consumes these topics; none: what annotations ask for.
    pub(crate) fn connector(&self, topics: &[&str]) -> Launch {
        let launch =
            short_intervals(&self.broker, &self.group).set("gateway_url", self.gateway.url());
        if topics.is_empty() { launch } else { launch.set("topics", topics.join(",")) }
    }
}

/// The connector at this broker and in this group, with intervals for tests.
pub(crate) fn short_intervals(broker: &Broker, group: &str) -> Launch {
    Launch::new("kafka")
        .set("broker_hosts", broker.address())
        .set("group", group)
        .set("rebuild_interval", "200ms")
        .set("commit_interval", "100ms")
        .set("session_timeout", "2s")
        .set("initial_retry_wait", "20ms")
        .set("max_retry_wait", "100ms")
}
