//! What the SQS connector costs. Its broker, ElasticMQ, is slower than the connector by far, so there is nothing to
//! learn from the rate; processor time and memory are the connector's own.

use integration::connector::binary;
use integration::sqs::Queue;
use integration::{Gateway, Launch, process, root};
use tokio::process::Command;

use crate::{PAYLOAD, RUNNING, at_rest, measured, mib, micros, oha, rate, reach};

const EVENTS: u64 = 20_000;
const WARM_UP: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: make bench"]
async fn sqs() {
    let endpoint = endpoint().await;
    println!("| SQS | |\n|---|---|");
    cost(&endpoint).await;
    idle(&endpoint).await;
}

/// Processor time for each event, beside `oha` before and after; the highest memory.
async fn cost(endpoint: &str) {
    let queue = Queue::create(endpoint, "bench", &[]).await;
    let gateway = Gateway::start(None).await;
    gateway.deploy("work", &queue.name).await;
    let messages = usize::try_from(WARM_UP + EVENTS + WARM_UP).expect("few");
    queue.send(&"x".repeat(PAYLOAD), messages).await;

    // Built before anything is timed.
    binary("sqs").await;
    let before = oha(&gateway, &headers(&queue)).await;
    let calls = gateway.begun().await;
    let connector = launch(endpoint, &gateway).ready().await;
    let (used, events, took) =
        measured(&connector, &gateway, calls + WARM_UP, calls + WARM_UP + EVENTS).await;
    reach(&gateway, calls + WARM_UP + EVENTS + WARM_UP).await;
    let peak = process::peak_resident(connector.pid()).expect("it runs");
    connector.end().await;
    let after = oha(&gateway, &headers(&queue)).await;
    gateway.end().await;

    let each = micros(used, events);
    println!("| processor time per event, sync, 256 bytes, 64 running | {each:.1} µs |");
    println!(
        "| `oha`, same server, payload and headers, before and after | {before:.1} µs, {after:.1} µs |"
    );
    println!("| ratio | {:.2} |", each / f64::midpoint(before, after));
    println!("| events a second meanwhile | {:.0} |", rate(events, took));
    println!("| peak resident memory, 256-byte payloads | {} |", mib(peak));
}

/// Memory with nothing to do: 100 functions mapped, a minute after it was ready.
async fn idle(endpoint: &str) {
    let queue = Queue::create(endpoint, "bench", &[]).await;
    let gateway = Gateway::start(None).await;
    for number in 0..100 {
        gateway.deploy(&format!("f{number}"), &queue.name).await;
    }
    let connector = launch(endpoint, &gateway).ready().await;
    at_rest(connector).await;
    gateway.end().await;
}

fn launch(endpoint: &str, gateway: &Gateway) -> Launch {
    Launch::new("sqs")
        .set("endpoint_url", endpoint)
        .set("gateway_url", gateway.url())
        .set("AWS_ACCESS_KEY_ID", "key")
        .set("AWS_SECRET_ACCESS_KEY", "secret")
        .set("AWS_REGION", "eu-west-1")
        .set("function_concurrency", RUNNING.to_string())
        .set("max_inflight", RUNNING.to_string())
        .set("print_response", "false")
}

/// The headers of a call by the connector.
fn headers(queue: &Queue) -> Vec<String> {
    let id = "f6a3a4a1-3f0c-4f5a-8a51-3c1d1a1f2b3c";
    vec![
        "Content-Type: text/plain".to_owned(),
        "X-Connector: sqs-connector".to_owned(),
        "X-Event-Attempt: 1".to_owned(),
        "X-SQS-Receive-Count: 1".to_owned(),
        "User-Agent: tributary-sqs-connector/0.1.0".to_owned(),
        format!("X-Topic: {}", queue.name),
        format!("X-Event-Id: sqs:{id}"),
        format!("X-SQS-Message-ID: {id}"),
        format!("X-SQS-Queue-URL: {}", queue.url()),
    ]
}

async fn endpoint() -> String {
    let script = root().join("tests/brokers/elasticmq.sh");
    let output = Command::new(script).arg("up").output().await.expect("the script runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let address = text.lines().find_map(|line| line.strip_prefix("ADDRESS="));
    format!("http://{}", address.expect("the script prints ADDRESS"))
}
