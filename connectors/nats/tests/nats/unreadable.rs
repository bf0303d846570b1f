//! Messages that the client library cannot read, so that they break the connection.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Stream;
use dev_gateway::{Fault, Function, Reply};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;

use crate::support::{
    Connector, Server, gateway, pull_consumer, until, until_empty, until_is, work_queue,
};

const LATIN: &[u8] = b"NATS/1.0\r\nPlace: Gr\xf6\xdfe\r\nColor: red\r\n\r\n";
const BLANK: &[u8] = b"NATS/1.0\r\nA name: x\r\n\r\n";
const PLAIN: &[u8] = b"NATS/1.0\r\nColor: red\r\n\r\n";
const ENV: [(&str, &str); 2] = [("stream", "S"), ("durable", "d")];

/// A bound consumer whose messages come again soon.
async fn bound(server: &mut Server) -> Stream {
    let stream = server.stream_with(work_queue("S", "s.>")).await;
    let config = pull::Config { ack_wait: Duration::from_secs(1), ..pull_consumer("d") };
    stream.create_consumer(config).await.unwrap();
    stream
}

#[tokio::test]
async fn each_is_called_once_with_all_it_has_and_the_others_go_on() {
    let mut server = Server::start().await;
    let stream = bound(&mut server).await;
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    for n in 0..10 {
        server.publish("s.good", n.to_string()).await;
    }
    server.publish_raw(b"s.value", LATIN, b"value").await;
    server.publish_raw(b"s.name", BLANK, b"name").await;
    server.publish_raw(b"s.gr\xf6\xdfe", PLAIN, b"subject").await;
    for n in 10..20 {
        server.publish("s.good", n.to_string()).await;
    }
    let connector = Connector::start(&server.address(), &gateway, &ENV);
    gateway.ledger().wait_for("all of them", |calls| calls.well().count() >= 23).await;
    until_empty(&stream, "d").await;
    until_is("kept", 0, async || stream.get_info().await.unwrap().state.messages).await;
    let calls = gateway.ledger().calls();
    assert_eq!(calls.len(), 23, "each once");
    let of = |text: &str| calls.iter().find(|call| call.text() == text).unwrap();
    assert_eq!(of("value").header("x-event-id"), Some("nats:S/11"));
    assert_eq!(of("value").header("x-nats-place"), Some("R3L232U="));
    assert_eq!(of("value").header("x-nats-place-enc"), Some("b64"));
    assert_eq!(of("value").header("x-nats-color"), Some("red"));
    assert_eq!(of("name").header("x-nats-hex-41206e616d65"), Some("x"));
    assert_eq!(of("subject").header("x-nats-color"), Some("red"));
    until_is("fetched", 3, async || connector.metric("tributary_nats_unreadable_total").await)
        .await;
    connector.until_ready().await;
    server.publish("s.good", "after").await;
    gateway.ledger().wait_for("the next", |calls| calls.well().count() == 24).await;
    connector.balanced().await;
    assert_eq!(connector.stop().await.code(), Some(0));
}

#[tokio::test]
async fn one_that_is_retried_breaks_the_connection_no_more() {
    let mut server = Server::start().await;
    let stream = bound(&mut server).await;
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    // Longer than its lease.
    gateway.fault("f", Fault::status(503).delay(Duration::from_millis(1500)).times(2));
    server.publish_raw(b"s.value", LATIN, b"value").await;
    let connector = Connector::start(&server.address(), &gateway, &ENV);
    gateway.ledger().wait_for("three calls", |calls| calls.of("f").count() == 3).await;
    until_empty(&stream, "d").await;
    assert_eq!(gateway.ledger().calls().len(), 3);
    assert_eq!(connector.metric("tributary_nats_unreadable_total").await, 1, "found once");
    connector.balanced().await;
}

#[tokio::test]
async fn a_letter_has_what_no_header_can_hold_in_another_form() {
    let mut server = Server::start().await;
    let stream = bound(&mut server).await;
    let letters = server.stream("LETTERS", &["letters"]).await;
    let refusing = Function::named("f").topic("s.>").answer(Reply::status(400));
    let gateway = gateway([refusing]).await;
    server.publish_raw(b"s.value", LATIN, b"value").await;
    let env = [ENV[0], ENV[1], ("dead_letter", "subject:letters")];
    let _connector = Connector::start(&server.address(), &gateway, &env);
    until_is("letters", 1, async || letters.get_info().await.unwrap().state.messages).await;
    let letter = letters.get_raw_message(1).await.unwrap();
    let header = |name: &str| letter.headers.get(name).map(|it| it.as_str().to_owned());
    assert_eq!(header("Place").as_deref(), Some("R3L232U="));
    assert_eq!(header("Place-Enc").as_deref(), Some("b64"));
    assert_eq!(header("Color").as_deref(), Some("red"));
    assert_eq!(&letter.payload[..], b"value");
    until_empty(&stream, "d").await;
}

/// A message that another process holds keeps the floor far back: everything behind it is to be
/// looked through, and none of it breaks the connection.
#[tokio::test]
async fn a_search_that_is_long_holds_up_nothing() {
    const MANY: usize = 10_000;
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let config = pull::Config { ack_wait: Duration::from_secs(600), ..pull_consumer("d") };
    let consumer = stream.create_consumer(config).await.unwrap();
    let client = server.client().await;
    for _ in 0..MANY {
        client.publish("s", "done".into()).await.unwrap();
    }
    let mut messages = consumer.messages().await.unwrap();
    for n in 0..MANY {
        let message = messages.next().await.unwrap().unwrap();
        if n > 0 {
            message.ack().await.unwrap();
        }
    }
    drop(messages);
    until_is("held", 1, async || stream.consumer_info("d").await.unwrap().num_ack_pending).await;
    // It is to remember that when it is killed.
    server.stop().await;
    server.up().await;

    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &ENV).await;
    let mut looked_at = client.subscribe("$JS.API.STREAM.MSG.GET.S").await.unwrap();
    for _ in 0..2 {
        let asks = async || (stream.consumer_info("d").await.ok()?.num_waiting > 0).then_some(());
        until("a request", asks).await;
        server.kill().await;
        connector.until_unready("broker").await;
        server.up().await;
        connector.until_ready().await;
    }
    server.publish("s", "next").await;
    gateway.ledger().wait_for("the next", |calls| calls.of("f").count() == 1).await;
    client.flush().await.unwrap();
    let mut seen = 0;
    // All that are here, in one go.
    while unconstrained(looked_at.next()).now_or_never().flatten().is_some() {
        seen += 1;
    }
    assert!(seen < MANY / 2, "{seen} were looked at before the next was called");
    connector.balanced().await;
}

#[tokio::test]
async fn core_nats_loses_it_and_goes_on() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[]).await;
    connector.until_logged("subscribed").await;
    server.publish_raw(b"t", LATIN, b"lost").await;
    connector.until_logged("the connection was lost").await;
    let client = server.client().await;
    until("a message that arrives", async || {
        client.publish("t", "next".into()).await.unwrap();
        (connector.came("delivered").await > 0).then_some(())
    })
    .await;
    connector.until_ready().await;
    assert!(gateway.ledger().calls().iter().all(|call| call.text() == "next"));
}
