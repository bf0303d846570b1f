//! NATS: functions that do not answer, for a stream that keeps messages and for core NATS, which
//! does not.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use integration::{Launch, Scripted};

use super::{Fired, Scene, Station, end_all, station, work};

/// A subject of JetStream, and one of core NATS.
const KEPT: &str = "kept";
const FLOOD: &str = "flood";

pub(super) struct Nats {
    client: async_nats::Client,
    _server: Scripted,
    stations: Vec<Station>,
}

impl Nats {
    pub(super) async fn set() -> Self {
        let server = Scripted::start("nats", &[]);
        let client = async_nats::connect(&server.address).await.expect("the server takes us");
        let config = stream::Config {
            name: "WATCHED".to_owned(),
            subjects: vec![KEPT.to_owned()],
            max_age: Duration::from_secs(60),
            ..Default::default()
        };
        let context = jetstream::new(client.clone());
        context.create_stream(config).await.expect("the server creates the stream");
        let connector = || {
            Launch::new("nats")
                .set("broker_host", &server.address)
                .set("asynchronous_invocation", "false")
        };
        let stuck = connector().set("stream", "WATCHED").set("function_concurrency", "2");
        let flooded = connector().set("lane_window", "5");
        let stations = vec![
            Station::open("nats-stuck", &stuck, [work(KEPT)]).await,
            Station::open("nats-flooded", &flooded, [work(FLOOD)]).await,
        ];
        Self { client, _server: server, stations }
    }

    async fn send(&self, subject: &'static str, messages: usize) {
        for _ in 0..messages {
            self.client.publish(subject, "x".into()).await.expect("the connection stands");
        }
    }
}

impl Scene for Nats {
    fn stations(&self) -> &[Station] {
        &self.stations
    }

    fn publish(&self) -> LocalBoxFuture<'_, ()> {
        async {
            self.send(KEPT, 1).await;
            self.send(FLOOD, 1).await;
        }
        .boxed_local()
    }

    fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            for job in ["nats-stuck", "nats-flooded"] {
                station(&self.stations, job).stop_calls();
            }
            self.send(KEPT, 3_000).await;
            self.send(FLOOD, 100).await;
        }
        .boxed_local()
    }

    fn press<'a>(&'a mut self, _: &'a Fired) -> LocalBoxFuture<'a, ()> {
        self.send(FLOOD, 50).boxed_local()
    }

    fn end(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        end_all(self.stations)
    }
}
