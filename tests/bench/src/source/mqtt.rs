//! MQTT 5 on Mosquitto, QoS 1: a session for which the broker has queued messages of many topics.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use integration::{Gateway, Launch, Mosquitto, unique};

use super::{Place, RUNNING, Sender, Source};

/// How many messages the broker sends ahead: so many that there are enough different topics among them.
const AHEAD: usize = 8;
/// The most publishers at the same time.
const PUBLISHERS: usize = 128;

pub(crate) struct Mqtt(Mosquitto);

impl Source for Mqtt {
    const NAME: &str = "mqtt";
    const CONNECTOR: &str = "mqtt";
    const TITLE: &str = "MQTT";
    const WIDTHS: &str = "topics";
    const WIDTH: usize = 128;
    const EVENTS: u64 = 75_000;
    const MOST: u64 = 1_000_000;
    const LARGEST: usize = 1_000_000;
    const PACE: u64 = 1_000;
    const RECEIVES: &str = "subscribed";

    type Sender = Publishers;

    async fn start() -> Self {
        Self(Mosquitto::start(&["max_queued_messages 0", "autosave_on_changes false"]))
    }

    fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.0.port())
    }

    async fn place(&self, width: usize, gateway: &Gateway) -> Place {
        let name = unique("bench");
        let place = Place { asked: format!("{name}/#"), name, width };
        // The broker queues only for a session that it knows.
        self.launch(&place).set("gateway_url", gateway.url()).ready().await.end().await;
        place
    }

    fn launch(&self, place: &Place) -> Launch {
        Launch::new("mqtt")
            .set("broker", self.address())
            .set("topics", &place.asked)
            .set("id", &place.name)
            .set("qos", "1")
            .set("protocol_version", "5")
            .set("receive_maximum", (AHEAD * RUNNING.max(place.width)).to_string())
            .set("max_packet_bytes", "2000000")
    }

    async fn publish(&self, place: &Place, bytes: usize, count: u64) {
        let publishers = place.width.min(PUBLISHERS);
        let line = format!("{}\n", "x".repeat(bytes));
        std::thread::scope(|scope| {
            for topic in 0..publishers {
                // What does not divide evenly the first ones have.
                let share = (count as usize + publishers - 1 - topic) / publishers;
                let lines = line.repeat(share);
                scope.spawn(move || self.0.publish(&format!("{}/{topic}", place.name), &lines));
            }
        });
    }

    async fn sender(&self, place: &Place) -> Publishers {
        let publisher = |topic| Publisher::start(&self.0, &format!("{}/{topic}", place.name));
        Publishers((0..16).map(publisher).collect())
    }

    fn headers(&self, place: &Place) -> Vec<String> {
        vec![
            format!("X-Topic: {}/12", place.name),
            "X-Event-Id: mqtt:7b1c2f4e-6f0a-4c58-9d0e-2a51f3c4b6d7".to_owned(),
            "Content-Type: application/json".to_owned(),
            "X-Connector: mqtt-connector".to_owned(),
            "X-Event-Attempt: 1".to_owned(),
            "X-Mqtt-Qos: 1".to_owned(),
            "X-Mqtt-Retain: false".to_owned(),
            "X-Mqtt-Dup: false".to_owned(),
            "User-Agent: tributary-mqtt-connector/0.1.0".to_owned(),
        ]
    }
}

/// Publishers with a topic each.
pub(crate) struct Publishers(Vec<Publisher>);

struct Publisher {
    process: Child,
    input: Option<ChildStdin>,
}

impl Publisher {
    fn start(broker: &Mosquitto, topic: &str) -> Self {
        let mut process = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", broker.port(), "-q", "1", "-t", topic, "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub can be run");
        let input = process.stdin.take();
        Self { process, input }
    }
}

impl Sender for Publishers {
    async fn send(&mut self, number: u64, payload: String) {
        let turn = number as usize % self.0.len();
        let input = self.0[turn].input.as_mut().expect("it is open until the end");
        input.write_all(format!("{payload}\n").as_bytes()).expect("it reads its input");
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Without an input it ends when all is acknowledged.
        self.input = None;
        drop(self.process.wait());
    }
}
