//! MQTT: functions that fail, refuse and do not answer, a broker that goes away, one that refuses a
//! subscription, and a connector that goes away itself.

use dev_gateway::{Fault, Function};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use integration::{Launch, Mosquitto, Scripted};

use super::{Fired, Scene, Station, end_all, station, work};

pub(super) struct Mqtt {
    broker: Mosquitto,
    /// The one that goes away.
    brittle: Mosquitto,
    /// The one that refuses.
    _strict: Scripted,
    stations: Vec<Station>,
    /// How many events were sent that become dead letters.
    letters: usize,
}

/// So many that the rate of letters is seen, for their counter begins with the first of them. A
/// hundred in a row would be held, which is another fault.
const LETTERS: usize = 60;

impl Mqtt {
    pub(super) async fn set() -> Self {
        let (broker, brittle) = (Mosquitto::start(&[]), Mosquitto::start(&[]));
        let no_sharing =
            "<mqtt><shared-subscriptions><enabled>false</enabled></shared-subscriptions></mqtt>";
        let strict = Scripted::start("hivemq", &[no_sharing]);
        // Of two sessions with one id a broker ends the older.
        let own =
            |job: &str| connector(broker.port()).set("topics", format!("{job}/#")).set("id", job);
        let failing = own("mqtt-failing")
            .set("buffer_bytes", "65536")
            .set("max_retry_attempts", "-1")
            .set("initial_retry_wait", "1s")
            .set("max_retry_wait", "1s");
        let lossy = own("mqtt-lossy").set("qos", "0").set("lane_window", "1");
        let away = connector(brittle.port()).set("topics", "mqtt-away/#");
        let (_, port) = strict.address.rsplit_once(':').expect("an address has a port");
        let refused = connector(port);
        let letters = work("mqtt-letters/work");
        let letters = letters.annotation("connector.dead-letter", "function:undertaker");
        let letters = [letters, Function::named("undertaker")];
        let stations = vec![
            Station::open("mqtt-failing", &failing, [work("mqtt-failing/work")]).await,
            Station::open("mqtt-letters", &own("mqtt-letters"), letters).await,
            Station::open("mqtt-lossy", &lossy, [work("mqtt-lossy/work")]).await,
            Station::open("mqtt-gone", &own("mqtt-gone"), [work("mqtt-gone/work")]).await,
            Station::open("mqtt-away", &away, [work("mqtt-away/work")]).await,
            Station::open("mqtt-refused", &refused, [work("mqtt-refused/work")]).await,
        ];
        Self { broker, brittle, _strict: strict, stations, letters: 0 }
    }
}

fn connector(port: &str) -> Launch {
    Launch::new("mqtt")
        .set("broker", format!("tcp://127.0.0.1:{port}"))
        .set("qos", "1")
        .set("unmap_after", "1s")
}

impl Scene for Mqtt {
    fn stations(&self) -> &[Station] {
        &self.stations
    }

    fn publish(&self) -> LocalBoxFuture<'_, ()> {
        async {
            for job in ["mqtt-failing", "mqtt-letters", "mqtt-lossy", "mqtt-gone"] {
                self.broker.publish(&format!("{job}/work"), "x");
            }
            self.brittle.publish("mqtt-away/work", "x");
        }
        .boxed_local()
    }

    fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            let at = |job| station(&self.stations, job);
            at("mqtt-failing").gateway.fault("work", Fault::status(500));
            at("mqtt-failing").gateway.deploy(Function::named("strange").topic("a/#/b"));
            // In this order: behind what fills the buffer nothing more is received.
            self.broker.publish("mqtt-failing/nobody", "x");
            self.broker.publish("mqtt-failing/work", &"x".repeat(100_000));
            at("mqtt-letters").gateway.fault("work", Fault::status(400));
            at("mqtt-lossy").stop_calls();
            let shares = Function::named("shares").topic("$share/group/topic");
            at("mqtt-refused").gateway.deploy(shares);
            self.brittle.down();
            let gone = self.stations.iter().position(|it| it.job == "mqtt-gone");
            let gone = self.stations.remove(gone.expect("it has been opened"));
            gone.connector.end().await;
        }
        .boxed_local()
    }

    fn press<'a>(&'a mut self, _: &'a Fired) -> LocalBoxFuture<'a, ()> {
        async {
            self.broker.publish("mqtt-lossy/work", "x\nx\nx");
            if self.letters < LETTERS {
                self.letters += 1;
                self.broker.publish("mqtt-letters/work", "x");
            }
        }
        .boxed_local()
    }

    fn end(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        end_all(self.stations)
    }
}
