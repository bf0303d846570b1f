//! Cron: a schedule that cannot be read, a gateway that is down, and a replica that cannot ask
//! whose turn it is.

use dev_gateway::{Function, HeldPort};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use integration::Launch;
use integration::metrics::Metrics;

use super::{Fired, Scene, Station, end_all, station};

pub(super) struct Cron {
    /// Where the replica without its lease will be.
    port: HeldPort,
    stations: Vec<Station>,
}

impl Cron {
    pub(super) async fn set() -> Self {
        let ticking = scheduled("work", "@every 1s");
        let stations = vec![Station::open("cron", &Launch::new("cron"), [ticking]).await];
        Self { port: HeldPort::free(), stations }
    }
}

fn scheduled(name: &str, schedule: &str) -> Function {
    Function::named(name).topic("cron-function").annotation("schedule", schedule)
}

impl Scene for Cron {
    fn stations(&self) -> &[Station] {
        &self.stations
    }

    fn latecomer(&self) -> Option<(&'static str, String)> {
        Some(("cron-lease", self.port.address().to_string()))
    }

    fn publish(&self) -> LocalBoxFuture<'_, ()> {
        async {}.boxed_local()
    }

    fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            let launch = Launch::new("cron")
                .set("admin_port", self.port.port().to_string())
                .set("lease", "cron-connector")
                .set("lease_namespace", "openfaas")
                .set("kubernetes_api", "http://127.0.0.1:1");
            self.stations.push(Station::begin("cron-lease", &launch, []).await);

            let cron = station(&self.stations, "cron");
            cron.gateway.deploy(scheduled("strange", "now and then"));
            let refused =
                |metrics: &Metrics| metrics.sum("tributary_cron_bad_schedules", &[]) == 1.0;
            cron.connector.metrics_until("the schedule to be refused", refused).await;
            cron.gateway.stop().await;
        }
        .boxed_local()
    }

    fn press<'a>(&'a mut self, _: &'a Fired) -> LocalBoxFuture<'a, ()> {
        async {}.boxed_local()
    }

    fn end(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        end_all(self.stations)
    }
}
