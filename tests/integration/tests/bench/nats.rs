//! JetStream beside the bare client: each message is acknowledged on its own. And NATS with nothing to do.

use std::time::Instant;

use async_nats::jetstream::{self, stream};
use integration::{Gateway, Launch, script, unique};

use super::{EVENTS, PAYLOAD, RUNNING, WARM_UP, at_rest, beside_oha};

/// How many messages are published before their confirmations are waited for.
const BURST: u64 = 500;

const STREAM: &str = "BENCH";
const SUBJECT: &str = "kept";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: make bench"]
async fn nats() {
    println!("| NATS JetStream | |\n|---|---|");
    let server = Server::start();
    let gateway = Gateway::start(None).await;
    gateway.deploy("work", SUBJECT).await;
    server.fill().await;
    let headers = [
        "X-Topic: kept",
        "X-Event-Id: nats:BENCH@120761",
        "Content-Type: application/octet-stream",
        "X-Connector: nats-connector",
        "X-Event-Attempt: 1",
        "X-Nats-Stream: BENCH",
        "X-Nats-Sequence: 120761",
        "X-Nats-Delivered: 1",
        "User-Agent: tributary-nats-connector/0.1.0",
    ];
    let begin = async || {
        let started = Instant::now();
        let connector = server.launch(&gateway).start().await;
        connector.line("serving").await;
        (connector, vec![("until the consumer was created", started.elapsed())])
    };
    beside_oha("nats", &gateway, &headers.map(str::to_owned), None, begin).await;
    gateway.end().await;

    let gateway = Gateway::start(None).await;
    for number in 0..100 {
        gateway.deploy(&format!("f{number}"), SUBJECT).await;
    }
    at_rest(server.launch(&gateway).ready().await).await;
    gateway.end().await;
}

/// A server of this bench alone.
struct Server {
    name: String,
    address: String,
}

impl Server {
    fn start() -> Self {
        let name = unique("bench");
        let address = script("nats", "up", &name, [])["ADDRESS"].clone();
        Self { name, address }
    }

    fn launch(&self, gateway: &Gateway) -> Launch {
        Launch::new("nats")
            .set("broker_host", &self.address)
            .set("stream", STREAM)
            .set("topics", SUBJECT)
            .set("gateway_url", gateway.url())
            .set("asynchronous_invocation", "false")
            .set("function_concurrency", RUNNING.to_string())
            .set("max_inflight", RUNNING.to_string())
            .set("print_response", "false")
    }

    async fn fill(&self) {
        let client = async_nats::connect(&self.address).await.expect("the server takes us");
        let context = jetstream::new(client);
        let subjects = vec![SUBJECT.to_owned()];
        let config = stream::Config { name: STREAM.to_owned(), subjects, ..Default::default() };
        context.create_stream(config).await.expect("the server creates the stream");
        let payload = bytes::Bytes::from("x".repeat(PAYLOAD));
        let messages = WARM_UP + EVENTS + WARM_UP;
        for _ in 0..messages / BURST {
            let mut confirmed = Vec::new();
            for _ in 0..BURST {
                let sent = context.publish(SUBJECT, payload.clone()).await;
                confirmed.push(sent.expect("the connection stands"));
            }
            for one in confirmed {
                one.await.expect("the server stores it");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script("nats", "wipe", &self.name, []);
    }
}
