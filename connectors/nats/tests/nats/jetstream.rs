//! JetStream with consumers that the connector creates.

use dev_gateway::Function;

use crate::support::{Connector, Server, consumers, gateway, until_empty};

#[tokio::test]
async fn a_message_of_a_stream_calls_its_function_and_is_acknowledged() {
    let mut server = Server::start().await;
    let stream = server.stream("ORDERS", &["orders.>"]).await;
    server.publish("orders.eu", "kept before the start").await;
    let gateway = gateway([Function::named("bill").topic("orders.*").echo()]).await;
    let connector =
        Connector::ready(&server, &gateway, &[("stream", "ORDERS"), ("topics", "orders.*")]).await;
    server.publish("orders.us", "and after").await;
    gateway.ledger().wait_for("both calls", |calls| calls.of("bill").count() == 2).await;
    let calls = gateway.ledger().calls();
    assert_eq!(calls[0].text(), "kept before the start");
    assert_eq!(calls[0].header("x-event-id"), Some("nats:ORDERS/1"));
    assert_eq!(calls[0].header("x-nats-stream"), Some("ORDERS"));
    assert_eq!(calls[0].header("x-nats-sequence"), Some("1"));
    assert_eq!(calls[0].header("x-nats-delivered"), Some("1"));
    let made = consumers(&stream).await;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].config.max_deliver, -1);
    until_empty(&stream, &made[0].name).await;
    connector.balanced().await;
    assert_eq!(connector.stop().await.code(), Some(0));
}
