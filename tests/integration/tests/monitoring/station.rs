//! Connectors, each with a gateway of its own, so that what one of them suffers no other does.

use std::net::TcpListener;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use dev_gateway::{Config, DevGateway, Fault, Function, Gate};
use integration::sqs::Queue;
use integration::{Broker, Connector, Launch, Mosquitto, Record, script, unique};

/// One connector and what is around it.
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
    pub(crate) async fn open(
        job: &'static str,
        launch: &Launch,
        functions: impl IntoIterator<Item = Function>,
    ) -> Self {
        let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
        functions.into_iter().for_each(|function| gateway.deploy(function));
        let launch = launch
            .clone()
            .set("gateway_url", gateway.url())
            .set("rebuild_interval", "1s")
            .set("print_response", "false");
        let connector = launch.ready().await;
        Self { job, gateway, connector, gate: Gate::closed() }
    }

    /// Has calls of a function wait.
    pub(crate) fn stop_calls_of(&self, function: &str) {
        self.gateway.fault(function, Fault::gate(&self.gate));
    }
}

/// A broker that is started by its script, and wiped with this.
pub(crate) struct Scripted {
    kind: &'static str,
    name: String,
    pub(crate) address: String,
    pid: u32,
}

impl Scripted {
    pub(crate) fn start(kind: &'static str, settings: &[&str]) -> Self {
        let name = unique("watched");
        let settings = settings.iter().flat_map(|line| ["--set", line]);
        let state = script(kind, "up", &name, settings);
        let pid = state["PID"].parse().expect("a number");
        Self { kind, name, address: state["ADDRESS"].clone(), pid }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        script(self.kind, "wipe", &self.name, []);
    }
}

/// Every broker, and a connector for each fault.
pub(crate) struct Scene {
    pub(crate) kafka: Broker,
    pub(crate) nats: async_nats::Client,
    pub(crate) mosquitto: Mosquitto,
    /// The one that goes away.
    pub(crate) brittle: Mosquitto,
    pub(crate) queue: Queue,
    /// The one whose broker stands still.
    pub(crate) frozen: Queue,
    pub(crate) moto: Scripted,
    pub(crate) frozen_moto: Scripted,
    nats_server: Scripted,
    hivemq: Scripted,
    pub(crate) stations: Vec<Station>,
}

/// The topic of the Kafka connectors whose records keep their functions busy.
pub(crate) const ORDERS: &str = "orders";
/// One that no function asks for at first.
pub(crate) const LATE: &str = "late";
/// A JetStream subject, and one of core NATS.
pub(crate) const KEPT: &str = "kept";
pub(crate) const FLOOD: &str = "flood";

const HOUR_AND_A_HALF: &str = "5400000";

impl Scene {
    pub(crate) async fn set() -> Self {
        let kafka = Broker::private("watched", &[]).await;
        kafka.create_topic(ORDERS, 1, &[("retention.ms", HOUR_AND_A_HALF)]).await;
        kafka.create_topic(LATE, 1, &[]).await;
        let nats_server = Scripted::start("nats", &[]);
        let nats = async_nats::connect(&nats_server.address).await.expect("the server takes us");
        let config = stream::Config {
            name: "WATCHED".to_owned(),
            subjects: vec![KEPT.to_owned()],
            max_age: Duration::from_secs(60),
            ..Default::default()
        };
        let context = jetstream::new(nats.clone());
        context.create_stream(config).await.expect("the server creates the stream");
        let (mosquitto, brittle) = (Mosquitto::start(&[]), Mosquitto::start(&[]));
        let no_sharing =
            "<mqtt><shared-subscriptions><enabled>false</enabled></shared-subscriptions></mqtt>";
        let hivemq = Scripted::start("hivemq", &[no_sharing]);
        let (moto, frozen_moto) = (Scripted::start("moto", &[]), Scripted::start("moto", &[]));
        let queue = |moto: &Scripted, retention| {
            let endpoint = format!("http://{}", moto.address);
            async move {
                Queue::create(&endpoint, "watched", &[("MessageRetentionPeriod", retention)]).await
            }
        };
        let (queue, frozen) = (queue(&moto, "60").await, queue(&frozen_moto, "86400").await);
        let mut scene = Self {
            kafka,
            nats,
            mosquitto,
            brittle,
            queue,
            frozen,
            moto,
            frozen_moto,
            nats_server,
            hivemq,
            stations: Vec::new(),
        };
        scene.open_all().await;
        scene
    }

    async fn open_all(&mut self) {
        let of = |topic: &str| Function::named("work").topic(topic);
        let kafka = |group: &str, topics: &str| {
            Launch::new("kafka")
                .set("broker_hosts", self.kafka.address())
                .set("group", group)
                .set("topics", topics)
                .set("session_timeout", "45s")
        };
        let slow = kafka("slow", ORDERS).set("lane_window", "10").set("max_inflight", "2");
        let slow = slow.set("ordering", "none");
        let slow = Station::open("kafka-slow", &slow, [of(ORDERS)]).await;
        let drops = kafka("drops", &format!("{ORDERS},{LATE}"));
        let drops = Station::open("kafka-drops", &drops, [of(ORDERS)]).await;

        let sqs = |moto: &Scripted| {
            Launch::new("sqs")
                .set("endpoint_url", format!("http://{}", moto.address))
                .set("AWS_ACCESS_KEY_ID", "key")
                .set("AWS_SECRET_ACCESS_KEY", "secret")
                .set("AWS_REGION", "us-east-1")
        };
        let held = sqs(&self.moto).set("max_retry_wait", "10s");
        let held = Station::open("sqs-held", &held, [of(&self.queue.name)]).await;
        let frozen = sqs(&self.frozen_moto).set("visibility_timeout", "4s");
        let frozen = Station::open("sqs-frozen", &frozen, [of(&self.frozen.name)]).await;

        let nats = || {
            Launch::new("nats")
                .set("broker_host", &self.nats_server.address)
                .set("asynchronous_invocation", "false")
        };
        let stuck = nats().set("stream", "WATCHED").set("function_concurrency", "2");
        let stuck = Station::open("nats-stuck", &stuck, [of(KEPT)]).await;
        let flooded = nats().set("lane_window", "5");
        let flooded = Station::open("nats-flooded", &flooded, [of(FLOOD)]).await;

        let mqtt = |port: &str| {
            Launch::new("mqtt")
                .set("broker", format!("tcp://127.0.0.1:{port}"))
                .set("qos", "1")
                .set("unmap_after", "1s")
        };
        // Of two sessions with one id a broker ends the older.
        let own = |job: &str| {
            mqtt(self.mosquitto.port()).set("topics", format!("{job}/#")).set("id", job)
        };
        let failing =
            own("mqtt-failing").set("buffer_bytes", "65536").set("max_retry_attempts", "-1");
        let failing = failing.set("initial_retry_wait", "1s").set("max_retry_wait", "1s");
        let failing = Station::open("mqtt-failing", &failing, [of("mqtt-failing/work")]).await;
        let letters =
            of("mqtt-letters/work").annotation("connector.dead-letter", "function:undertaker");
        let letters = [letters, Function::named("undertaker")];
        let letters = Station::open("mqtt-letters", &own("mqtt-letters"), letters).await;
        let lossy = own("mqtt-lossy").set("qos", "0").set("lane_window", "1");
        let lossy = Station::open("mqtt-lossy", &lossy, [of("mqtt-lossy/work")]).await;
        let gone = Station::open("mqtt-gone", &own("mqtt-gone"), [of("mqtt-gone/work")]).await;
        let away = mqtt(self.brittle.port()).set("topics", "mqtt-away/#");
        let away = Station::open("mqtt-away", &away, [of("mqtt-away/work")]).await;
        let (_, port) = self.hivemq.address.rsplit_once(':').expect("an address has a port");
        let refused = Station::open("mqtt-refused", &mqtt(port), [of("mqtt-refused/work")]).await;

        let ticking =
            Function::named("work").topic("cron-function").annotation("schedule", "@every 1s");
        let cron = Station::open("cron", &Launch::new("cron"), [ticking]).await;
        self.stations = vec![
            slow, drops, held, frozen, stuck, flooded, failing, letters, lossy, gone, away,
            refused, cron,
        ];
    }

    /// The one of this job.
    pub(crate) fn station(&self, job: &str) -> &Station {
        self.stations.iter().find(|it| it.job == job).expect("there is such a station")
    }

    /// An event for every connector that is not to call by itself.
    pub(crate) async fn publish(&self) {
        self.kafka.produce_all(ORDERS, [Record::of("x")]).await;
        self.queue.send("x", 1).await;
        self.frozen.send("x", 1).await;
        for subject in [KEPT, FLOOD] {
            self.nats.publish(subject, "x".into()).await.expect("the connection stands");
        }
        for job in ["mqtt-failing", "mqtt-letters", "mqtt-lossy", "mqtt-gone"] {
            self.mosquitto.publish(&format!("{job}/work"), "x");
        }
        self.brittle.publish("mqtt-away/work", "x");
    }
}

/// A port that was free a moment ago, for what starts later.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
