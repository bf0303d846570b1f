//! Kafka: a function that does not answer, one that refuses, records that are deleted unread, and
//! a broker that stands still.

use std::time::{Duration, SystemTime};

use dev_gateway::{Fault, Function};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use integration::metrics::Metrics;
use integration::{Broker, Launch, Record};

use super::{Fired, Scene, Station, end_all, station, work};
use crate::expected;

/// The topic whose records keep the functions busy.
const ORDERS: &str = "orders";
/// One that no function asks for at first.
const LATE: &str = "late";

/// In milliseconds.
const RETENTION: &str = "5400000";
/// More than half of it.
const AN_HOUR: Duration = Duration::from_secs(3_600);

pub(super) struct Kafka {
    broker: Broker,
    frozen: bool,
    stations: Vec<Station>,
}

impl Kafka {
    pub(super) async fn set() -> Self {
        let broker = Broker::private("watched", &[]).await;
        broker.create_topic(ORDERS, 1, &[("retention.ms", RETENTION)]).await;
        broker.create_topic(LATE, 1, &[]).await;
        let connector = |group: &str, topics: &str| {
            Launch::new("kafka")
                .set("broker_hosts", broker.address())
                .set("group", group)
                .set("topics", topics)
                .set("session_timeout", "45s")
        };
        let slow = connector("slow", ORDERS).set("lane_window", "10").set("max_inflight", "2");
        let slow = slow.set("ordering", "none");
        let drops = connector("drops", &format!("{ORDERS},{LATE}"));
        let stations = vec![
            Station::open("kafka-slow", &slow, [work(ORDERS)]).await,
            Station::open("kafka-drops", &drops, [work(ORDERS)]).await,
        ];
        Self { broker, frozen: false, stations }
    }

    /// Has Kafka delete records that are held because no function asks for them.
    async fn lose_records(&self) {
        let drops = station(&self.stations, "kafka-drops");
        self.broker.produce_all(LATE, (0..10).map(|n| Record::of(n.to_string()))).await;
        let held = |metrics: &Metrics| {
            metrics.sum("tributary_kafka_paused_lanes", &[("cause", "held")]) > 0.0
        };
        drops.connector.metrics_until("the head to be held", held).await;
        self.broker.delete_before(LATE, 0, 6).await;
        drops.gateway.deploy(Function::named("late").topic(LATE));
    }
}

impl Scene for Kafka {
    fn stations(&self) -> &[Station] {
        &self.stations
    }

    fn publish(&self) -> LocalBoxFuture<'_, ()> {
        self.broker.produce_all(ORDERS, [Record::of("x")]).boxed_local()
    }

    fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            station(&self.stations, "kafka-slow").stop_calls();
            station(&self.stations, "kafka-drops").gateway.fault("work", Fault::status(400));
            let written = (SystemTime::now() - AN_HOUR).duration_since(SystemTime::UNIX_EPOCH);
            let written = written.expect("it is later than 1970").as_millis();
            let written = i64::try_from(written).expect("it is small");
            self.broker.produce_all(ORDERS, (0..20).map(|_| Record::of("x").at(written))).await;
            // Last, since it is over at once: its alert remembers it for an hour, a minute here.
            self.lose_records().await;
        }
        .boxed_local()
    }

    fn press<'a>(&'a mut self, fired: &'a Fired) -> LocalBoxFuture<'a, ()> {
        async {
            if self.frozen {
                return;
            }
            self.broker.produce_all(ORDERS, (0..2_000).map(|_| Record::of("x"))).await;
            let left = expected::left("kafka", fired);
            if left.iter().all(|(alert, _)| *alert == "TributaryKafkaCommitsFail") {
                self.broker.freeze();
                self.frozen = true;
                // What is done now cannot be committed.
                station(&self.stations, "kafka-slow").gate.open();
            }
        }
        .boxed_local()
    }

    fn end(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        end_all(self.stations)
    }
}
