//! JetStream, spoken to in NATS' own lines of text.

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{BROKER, GATEWAY_PORT, on_topic, run};
use crate::broker::Broker;
use crate::container::Network;
use crate::door::Door;
use crate::life::{begin, gateway, survive};
use crate::trust::Chain;

pub(crate) async fn nats() {
    let (network, chain) = (Network::create().await, Chain::of(BROKER));
    let tls = format!(
        "tls={{ cert_file: \"{}\", key_file: \"{}\" }}",
        chain.certificates().display(),
        chain.key().display()
    );
    // The server ends TLS itself, after its greeting; the test speaks to it in the clear.
    let broker = Broker::up("nats", &[tls, "allow_non_tls=true".to_owned()]).await;
    let _door = Door::open((network.host, 4222).into(), broker.address.clone(), None).await;
    let gateway = gateway(&network, GATEWAY_PORT, on_topic).await;
    let stream = json!({"name": "events", "subjects": ["orders"], "storage": "file"}).to_string();
    said(
        &broker,
        &format!("SUB answer 1\r\n{}", publication("$JS.API.STREAM.CREATE.events answer", &stream)),
        "\"created\"",
    )
    .await;
    let run = run("nats-connector", &network, &chain)
        .set("broker_host", format!("tls://{BROKER}:4222"))
        .set("stream", "events")
        .set("topics", "orders")
        .set("asynchronous_invocation", "false");

    let publish = async |payloads: &[String]| {
        let lines: String = payloads.iter().map(|payload| publication("orders", payload)).collect();
        said(&broker, &(lines + "PING\r\n"), "PONG").await;
    };
    publish(&["first".to_owned()]).await;
    let container = begin(&run, &gateway).await;
    survive(&run, container, &gateway, publish, async || ()).await;
}

fn publication(subject: &str, payload: &str) -> String {
    format!("PUB {subject} {}\r\n{payload}\r\n", payload.len())
}

/// Says this to the server, and waits for a line that contains `answer`.
async fn said(broker: &Broker, lines: &str, answer: &str) {
    let stream = TcpStream::connect(&broker.address).await.expect("the server listens");
    let mut stream = BufReader::new(stream);
    stream.write_all(b"CONNECT {\"verbose\":false}\r\n").await.expect("the server reads");
    stream.write_all(lines.as_bytes()).await.expect("the server reads");
    let mut line = String::new();
    while !line.contains(answer) {
        assert!(!line.starts_with("-ERR"), "{line}");
        line.clear();
        assert!(stream.read_line(&mut line).await.expect("the server answers") > 0, "it hangs up");
    }
}
