//! Core NATS.

use std::time::Duration;

use async_nats::HeaderMap;
use dev_gateway::{Fault, Function, Gate, Reply};
use futures_util::future::join_all;

use crate::support::{Connector, Server, gateway, until_is};

#[tokio::test]
async fn upstreams_settings_call_a_function_through_the_queue() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("resize").topic("nats-test").echo()]).await;
    let connector = Connector::ready(
        &server,
        &gateway,
        &[("topics", "nats-test,"), ("asynchronous_invocation", ""), ("print_response", "false")],
    )
    .await;
    connector.until_logged("subscribed").await;
    let client = server.client().await;
    client.publish("nats-test", "hello".into()).await.unwrap();
    gateway.ledger().wait_for("the call", |calls| calls.of("resize").count() >= 1).await;
    let call = gateway.ledger().calls().remove(0);
    assert_eq!(call.mode, dev_gateway::Mode::Queued);
    assert_eq!(call.header("x-topic"), Some("nats-test"));
    assert_eq!(call.header("x-connector"), Some("nats-connector"));
    assert_eq!(call.header("content-type"), None);
    until_is("delivered", 1, async || connector.came("delivered").await).await;
    connector.balanced().await;
    assert_eq!(connector.stop().await.code(), Some(0));
}

#[tokio::test]
async fn bodies_and_headers_arrive_as_they_were_sent() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("f").topic("bytes.*").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[]).await;
    connector.until_logged("subscribed").await;
    let client = server.client().await;
    let large: Vec<u8> = (0..900_000_u32).map(|n| n as u8).collect();
    client.publish("bytes.empty", "".into()).await.unwrap();
    client.publish("bytes.binary", bytes::Bytes::from_static(b"\0\r\n\xff")).await.unwrap();
    client.publish("bytes.large", large.clone().into()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.append("Trace", "b");
    headers.append("Trace", "a");
    headers.insert("Stream", "posing");
    client.publish_with_headers("bytes.headers", headers, "h".into()).await.unwrap();
    gateway.ledger().wait_for("four calls", |calls| calls.of("f").count() == 4).await;
    let calls = gateway.ledger().calls();
    let of = |topic: &str| calls.iter().find(|call| call.topic.as_deref() == Some(topic)).unwrap();
    assert_eq!(of("bytes.empty").body_length, 0);
    assert_eq!(of("bytes.binary").body.as_deref(), Some(&b"\0\r\n\xff"[..]));
    assert_eq!(of("bytes.large").body_length, large.len());
    let trace: Vec<_> = of("bytes.headers").headers.get_all("x-nats-trace").collect();
    assert_eq!(trace, ["b", "a"]);
    assert_eq!(of("bytes.headers").header("x-nats-header-stream"), Some("posing"));
    assert_eq!(of("bytes.headers").header("x-nats-stream"), None);
}
