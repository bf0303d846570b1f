//! MQTT beside the bare client, and what MQTT and cron take with nothing to do.

use std::time::Instant;

use integration::{Gateway, Launch, Mosquitto};

use super::{EVENTS, PAYLOAD, RUNNING, WARM_UP, at_rest, beside_oha};

/// How many topics the messages are spread over, each with a publisher of its own: those of one topic are called one by
/// one.
const TOPICS: usize = 128;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: make bench"]
async fn mqtt() {
    println!("| MQTT | |\n|---|---|");
    cost().await;
    idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: make bench"]
async fn cron() {
    println!("| cron | |\n|---|---|");
    let gateway = Gateway::start(None).await;
    for number in 0..100 {
        gateway.schedule(&format!("f{number}"), "0 0 1 1 *").await;
    }
    at_rest(Launch::new("cron").set("gateway_url", gateway.url()).ready().await).await;
    gateway.end().await;
}

fn launch(broker: &Mosquitto, gateway: &Gateway) -> Launch {
    Launch::new("mqtt")
        .set("broker", format!("tcp://127.0.0.1:{}", broker.port()))
        .set("topics", "t/#")
        .set("id", "bench")
        .set("qos", "1")
        .set("protocol_version", "5")
        // So many that there are enough different topics among them.
        .set("receive_maximum", "512")
        .set("gateway_url", gateway.url())
        .set("function_concurrency", RUNNING.to_string())
        .set("max_inflight", RUNNING.to_string())
        .set("print_response", "false")
}

/// Processor time for each message of QoS 1 that the broker had queued; memory; start.
async fn cost() {
    let broker = Mosquitto::start(&["max_queued_messages 0", "autosave_on_changes false"]);
    let gateway = Gateway::start(None).await;
    gateway.deploy("work", "t/#").await;
    // The broker queues only for a session that it knows.
    launch(&broker, &gateway).ready().await.end().await;
    publish(&broker);
    let headers = [
        "X-Topic: t/123",
        "X-Event-Id: mqtt:7b1c2f4e-6f0a-4c58-9d0e-2a51f3c4b6d7",
        "Content-Type: application/json",
        "X-Connector: mqtt-connector",
        "X-Event-Attempt: 1",
        "X-Mqtt-Qos: 1",
        "X-Mqtt-Retain: false",
        "X-Mqtt-Dup: false",
        "User-Agent: tributary-mqtt-connector/0.1.0",
    ];
    let begin = async || {
        let started = Instant::now();
        let connector = launch(&broker, &gateway).start().await;
        connector.line("subscribed").await;
        (connector, vec![("until subscribed", started.elapsed())])
    };
    beside_oha("mqtt", &gateway, &headers.map(str::to_owned), None, begin).await;
    gateway.end().await;
}

/// Fills the queue, from all topics at the same time.
fn publish(broker: &Mosquitto) {
    let messages = usize::try_from(WARM_UP + EVENTS + WARM_UP).expect("not many");
    let lines = format!("{}\n", "x".repeat(PAYLOAD)).repeat(messages.div_ceil(TOPICS));
    std::thread::scope(|scope| {
        for topic in 0..TOPICS {
            let lines = &lines;
            scope.spawn(move || broker.publish(&format!("t/{topic}"), lines));
        }
    });
}

/// Memory with nothing to do.
async fn idle() {
    let broker = Mosquitto::start(&[]);
    let gateway = Gateway::start(None).await;
    for number in 0..100 {
        gateway.deploy(&format!("f{number}"), &format!("t/{number}")).await;
    }
    at_rest(launch(&broker, &gateway).ready().await).await;
    gateway.end().await;
}
