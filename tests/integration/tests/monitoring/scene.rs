//! Connectors of one kind, each with a gateway of its own, so that what one of them suffers no
//! other does; what they connect to; and what goes wrong there.

mod cron;
mod kafka;
mod mqtt;
mod nats;
mod sqs;

use std::collections::BTreeSet;

use dev_gateway::{Config, DevGateway, Fault, Function, Gate};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use integration::{Connector, Launch};

/// Alerts that have fired, each with its job.
pub(crate) type Fired = BTreeSet<(String, String)>;

/// Every kind of connector that has faults here.
pub(crate) const KINDS: [&str; 5] = ["kafka", "sqs", "nats", "mqtt", "cron"];

/// The connectors of a kind, and their faults.
pub(crate) trait Scene {
    fn stations(&self) -> &[Station];

    /// A job and an address that appear only with the faults.
    fn latecomer(&self) -> Option<(&'static str, String)> {
        None
    }

    /// An event for each connector that does not call by itself.
    fn publish(&self) -> LocalBoxFuture<'_, ()>;

    /// Begins every fault.
    fn begin(&mut self) -> LocalBoxFuture<'_, ()>;

    /// Keeps the pressure up, and goes on with what comes after something has fired.
    fn press<'a>(&'a mut self, fired: &'a Fired) -> LocalBoxFuture<'a, ()>;

    /// Ends the connectors. Their brokers end when this is dropped.
    fn end(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

/// The scene of this kind, in calm.
pub(crate) async fn set(kind: &str) -> Box<dyn Scene> {
    match kind {
        "kafka" => Box::new(kafka::Kafka::set().await),
        "sqs" => Box::new(sqs::Sqs::set().await),
        "nats" => Box::new(nats::Nats::set().await),
        "mqtt" => Box::new(mqtt::Mqtt::set().await),
        "cron" => Box::new(cron::Cron::set().await),
        kind => panic!("there is no connector {kind}; there are {KINDS:?}"),
    }
}

/// One connector and its gateway.
pub(crate) struct Station {
    /// The job it is scraped under.
    pub(crate) job: &'static str,
    pub(crate) gateway: DevGateway,
    pub(crate) connector: Connector,
    /// Closed: calls of a function that is put before it wait.
    pub(crate) gate: Gate,
}

impl Station {
    /// Starts it, with these functions; ready.
    async fn open(
        job: &'static str,
        launch: &Launch,
        functions: impl IntoIterator<Item = Function>,
    ) -> Self {
        let station = Self::begin(job, launch, functions).await;
        station.connector.ready().await;
        station
    }

    /// Starts it, with these functions.
    async fn begin(
        job: &'static str,
        launch: &Launch,
        functions: impl IntoIterator<Item = Function>,
    ) -> Self {
        // Calls that wait at the gate are to wait, and not to fail.
        let config = Config { upstream_timeout: None, ..Config::default() };
        let gateway = DevGateway::start(config).await.expect("a port is free");
        functions.into_iter().for_each(|function| gateway.deploy(function));
        let launch = launch
            .clone()
            .set("gateway_url", gateway.url())
            .set("upstream_timeout", "0")
            .set("rebuild_interval", "1s")
            .set("print_response", "false");
        let connector = launch.start().await;
        Self { job, gateway, connector, gate: Gate::closed() }
    }

    /// Has calls of its function `work` wait.
    fn stop_calls(&self) {
        self.gateway.fault("work", Fault::gate(&self.gate));
    }
}

/// The one of this job.
fn station<'a>(stations: &'a [Station], job: &str) -> &'a Station {
    stations.iter().find(|it| it.job == job).expect("there is such a station")
}

fn end_all(stations: Vec<Station>) -> LocalBoxFuture<'static, ()> {
    async {
        for station in stations {
            station.connector.kill_now().await;
        }
    }
    .boxed_local()
}

/// The function that is called with the events of this topic.
fn work(topic: &str) -> Function {
    Function::named("work").topic(topic)
}
