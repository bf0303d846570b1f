//! What connectors cost, beside a bare HTTP client in the same run: run it by `make bench`.
//!
//! Kafka's own figures stand here, with what all share; [`edge`] has MQTT and cron, [`nats`] and [`sqs`]
//! what they are named after.
//!
//! Figures depend on the machine and on what else it does; only ratios within one run mean something. So nothing is
//! asserted, everything is printed.

#![allow(clippy::print_stdout, reason = "its output is its result")]

mod edge;
mod nats;
mod sqs;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration::connector::binary;
use integration::{Broker, Connector, Gateway, Launch, Record, process, root, unique};
use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

/// How many records are called, beyond those that warm up.
const EVENTS: u64 = 150_000;
const WARM_UP: u64 = 20_000;
const PAYLOAD: usize = 256;
const KEYS: usize = 1_000;
const RUNNING: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: make bench"]
async fn kafka() {
    println!("| Kafka | |\n|---|---|");
    cost().await;
    order().await;
    idle().await;
}

fn launch(broker: &Broker, gateway: &Gateway) -> Launch {
    Launch::new("kafka")
        .set("broker_hosts", broker.address())
        .set("group", unique("bench"))
        .set("gateway_url", gateway.url())
        .set("ordering", "key")
        .set("function_concurrency", RUNNING.to_string())
        .set("max_inflight", RUNNING.to_string())
        .set("print_response", "false")
}

async fn produce(broker: &Broker, topic: &str, lanes: usize, count: u64) {
    let records = (0..count).map(|number| {
        let key = usize::try_from(number).expect("a small number") * 7_919 % KEYS;
        Record::of(vec![b'x'; PAYLOAD])
            .key(format!("key-{key}"))
            .partition(i32::try_from(key % lanes).expect("few partitions"))
    });
    broker.produce_all(topic, records).await;
}

/// Processor time for each record, beside `oha` before and after; memory; start.
async fn cost() {
    let broker = Broker::shared().await;
    let topic = broker.topic("bench", 6).await;
    let gateway = Gateway::start(None).await;
    gateway.deploy("work", &topic).await;
    produce(&broker, &topic, 6, WARM_UP + EVENTS + WARM_UP).await;
    let headers = [
        format!("X-Topic: {topic}"),
        format!("X-Event-Id: kafka:{topic}/3@120761"),
        "Content-Type: application/octet-stream".to_owned(),
        "X-Connector: kafka-connector".to_owned(),
        "X-Event-Attempt: 1".to_owned(),
        "X-Kafka-Partition: 3".to_owned(),
        "X-Kafka-Offset: 120761".to_owned(),
        "X-Kafka-Key: key-123".to_owned(),
        "X-Kafka-Timestamp: 1760000000000".to_owned(),
        "User-Agent: tributary-kafka-connector/0.1.0".to_owned(),
    ];
    let begin = async || {
        let started = Instant::now();
        let connector = launch(&broker, &gateway).start().await;
        connector.line("binding to topics").await;
        let bound = started.elapsed();
        connector.line("partitions assigned").await;
        let joined = started.elapsed() - bound;
        (connector, vec![("until subscribed", bound), ("for the group to be joined", joined)])
    };
    beside_oha("kafka", &gateway, &headers, Some("rdk:"), begin).await;
    gateway.end().await;
}

/// Processor time for each event of a connector that is begun by `begin`, beside `oha` before and after; memory; start,
/// of which `begin` names the parts. `headers` are those of its calls; `client` is how the names of the threads of the
/// broker's client begin, if it has its own.
async fn beside_oha(
    kind: &str,
    gateway: &Gateway,
    headers: &[String],
    client: Option<&str>,
    begin: impl AsyncFnOnce() -> (Connector, Vec<(&'static str, Duration)>),
) {
    // Built before anything is timed.
    binary(kind).await;
    let before = oha(gateway, headers).await;
    let calls = gateway.begun().await;
    let started = Instant::now();
    let (connector, parts) = begin().await;
    reach(gateway, calls + 1).await;
    let first = started.elapsed();

    let (used, events, took) =
        measured(&connector, gateway, calls + WARM_UP, calls + WARM_UP + EVENTS).await;
    let each = micros(used, events);
    reach(gateway, calls + WARM_UP + EVENTS + WARM_UP).await;
    let client = client.map(|client| process::cpu_of_threads(connector.pid(), client));
    let peak = process::peak_resident(connector.pid()).expect("it runs");
    connector.end().await;
    let after = oha(gateway, headers).await;

    let bare = f64::midpoint(before, after);
    let rate = rate(events, took);
    println!("| processor time per event, sync, 256 bytes, 64 running | {each:.1} µs |");
    if let Some(client) = client {
        println!(
            "| of it the threads of the broker's client | {:.1} µs |",
            micros(client, WARM_UP + EVENTS + WARM_UP)
        );
    }
    println!(
        "| `oha`, same server, payload and headers, before and after | {before:.1} µs, {after:.1} µs |"
    );
    println!("| ratio | {:.2} |", each / bare);
    println!("| events a second meanwhile | {rate:.0} |");
    println!("| peak resident memory, 256-byte payloads | {} |", mib(peak));
    let parts: Vec<_> =
        parts.iter().map(|(what, took)| format!("{} ms {what}", took.as_millis())).collect();
    println!("| start to first call | {} ms, of it {} |", first.as_millis(), parts.join(" and "));
}

/// How much faster one partition is when equal keys are in order than when all of it is.
async fn order() {
    let broker = Broker::shared().await;
    let gateway = Gateway::start(None).await;
    let mut rates = Vec::new();
    for (ordering, warm_up, events) in [("key", 5_000, 30_000), ("partition", 100, 1_500)] {
        let topic = broker.topic("bench", 1).await;
        let function = format!("by-{ordering}");
        gateway.deploy(&function, &topic).await;
        gateway.fault(&function, &json!({ "delay_ms": 5 })).await;
        produce(&broker, &topic, 1, warm_up + events + warm_up).await;
        let calls = gateway.begun().await;
        let connector =
            launch(&broker, &gateway).set("ordering", ordering).set("topics", &topic).start().await;
        let until = calls + warm_up + events;
        let (_, events, took) = measured(&connector, &gateway, calls + warm_up, until).await;
        rates.push(rate(events, took));
        reach(&gateway, until + warm_up).await;
        connector.end().await;
    }
    gateway.end().await;
    println!(
        "| one partition, 5 ms function, 1,000 keys: `ordering=key`, `partition` | {:.0}/s, {:.0}/s |",
        rates[0], rates[1]
    );
    println!("| ratio | {:.1} |", rates[0] / rates[1]);
}

async fn idle() {
    let broker = Broker::shared().await;
    let topic = broker.topic("bench", 6).await;
    let gateway = Gateway::start(None).await;
    for number in 0..100 {
        gateway.deploy(&format!("f{number}"), &topic).await;
    }
    let connector = launch(&broker, &gateway).ready().await;
    connector.line("partitions assigned").await;
    at_rest(connector).await;
    gateway.end().await;
}

/// Memory and processor time with nothing to do: 100 functions mapped, a minute after the connector was ready.
async fn at_rest(connector: Connector) {
    let used = process::cpu(connector.pid()).expect("it runs");
    sleep(Duration::from_secs(60)).await;
    let used = process::cpu(connector.pid()).expect("it runs") - used;
    let resident = process::resident(connector.pid()).expect("it runs");
    connector.end().await;
    println!("| idle resident memory, 100 functions, after 60 s | {} |", mib(resident));
    println!("| idle processor time | {} ms in 60 s |", used.as_millis());
}

/// Processor time, calls and time between two counts of calls.
async fn measured(
    connector: &Connector,
    gateway: &Gateway,
    from: u64,
    to: u64,
) -> (Duration, u64, Duration) {
    let first = reach(gateway, from).await;
    let (used, began) = (process::cpu(connector.pid()).expect("it runs"), Instant::now());
    let last = reach(gateway, to).await;
    let used = process::cpu(connector.pid()).expect("it runs") - used;
    (used, last - first, began.elapsed())
}

/// Waits until so many calls have begun; gives how many had.
async fn reach(gateway: &Gateway, calls: u64) -> u64 {
    loop {
        let begun = gateway.begun().await;
        if begun >= calls {
            return begun;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Processor time of one call by `oha` with these headers, in microseconds.
async fn oha(gateway: &Gateway, headers: &[String]) -> f64 {
    let program = std::env::var_os("OHA").map(PathBuf::from).expect("OHA says where `oha` is");
    let mut command = Command::new(program);
    command
        .args(["-n", &EVENTS.to_string(), "-c", &RUNNING.to_string(), "-m", "POST", "--no-tui"])
        .args(["-d", &"x".repeat(PAYLOAD)])
        .args(headers.iter().flat_map(|header| ["-H", header]))
        .arg(format!("{}/function/work.openfaas-fn", gateway.url()))
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("oha can be started");
    let pid = child.id().expect("it has just been started");
    let mut used = Duration::ZERO;
    loop {
        // A process that has ended has no figures any more: the last look counts.
        used = process::cpu(pid).unwrap_or(used);
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            assert!(status.success(), "oha ends with {status}");
            return micros(used, EVENTS);
        }
        sleep(Duration::from_millis(2)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn micros(used: Duration, events: u64) -> f64 {
    used.as_secs_f64() * 1e6 / events as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52")]
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
