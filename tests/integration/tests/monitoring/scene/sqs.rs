//! SQS: a function that cannot be called at all, and a service that stands still.

use dev_gateway::Fault;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use integration::process::{self, Signal};
use integration::sqs::Queue;
use integration::{Launch, Scripted};

use super::{Fired, Scene, Station, end_all, station, work};

pub(super) struct Sqs {
    queue: Queue,
    /// The one whose service stands still.
    frozen: Queue,
    _service: Scripted,
    frozen_service: Scripted,
    stations: Vec<Station>,
}

impl Sqs {
    pub(super) async fn set() -> Self {
        let service = Scripted::start("moto", &[]);
        let frozen_service = Scripted::start("moto", &[]);
        // Retained for a minute, and for a day.
        let queue = queue_of(&service, "60").await;
        let frozen = queue_of(&frozen_service, "86400").await;
        let held = connector(&service).set("max_retry_wait", "10s");
        let stuck = connector(&frozen_service).set("visibility_timeout", "4s");
        let stations = vec![
            Station::open("sqs-held", &held, [work(&queue.name)]).await,
            Station::open("sqs-frozen", &stuck, [work(&frozen.name)]).await,
        ];
        Self { queue, frozen, _service: service, frozen_service, stations }
    }
}

async fn queue_of(service: &Scripted, retention: &str) -> Queue {
    let attributes = [("MessageRetentionPeriod", retention)];
    Queue::create(&format!("http://{}", service.address), "watched", &attributes).await
}

fn connector(service: &Scripted) -> Launch {
    Launch::new("sqs")
        .set("endpoint_url", format!("http://{}", service.address))
        .set("AWS_ACCESS_KEY_ID", "key")
        .set("AWS_SECRET_ACCESS_KEY", "secret")
        .set("AWS_REGION", "us-east-1")
}

impl Scene for Sqs {
    fn stations(&self) -> &[Station] {
        &self.stations
    }

    fn publish(&self) -> LocalBoxFuture<'_, ()> {
        async {
            self.queue.send("x", 1).await;
            self.frozen.send("x", 1).await;
        }
        .boxed_local()
    }

    fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            station(&self.stations, "sqs-held").gateway.fault("work", Fault::status(405));
            self.queue.send("x", 1_200).await;
            let stuck = station(&self.stations, "sqs-frozen");
            stuck.stop_calls();
            self.frozen.send("x", 10).await;
            stuck.gate.wait_for_waiting(5).await;
            process::send(self.frozen_service.pid, Signal::Stop);
        }
        .boxed_local()
    }

    fn press<'a>(&'a mut self, fired: &'a Fired) -> LocalBoxFuture<'a, ()> {
        async {
            if fired.iter().any(|(alert, _)| alert == "TributarySqsLeasesLost") {
                // What is done now cannot be deleted.
                station(&self.stations, "sqs-frozen").gate.open();
            }
        }
        .boxed_local()
    }

    fn end(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        end_all(self.stations)
    }
}
