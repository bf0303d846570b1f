//! JetStream consumers that somebody else made.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull, push};
use async_nats::jetstream::stream::Stream;
use dev_gateway::{DevGateway, Fault, Function, Gate, Reply};
use futures_util::StreamExt as _;

use crate::support::{
    Connector, Server, consumers, gateway, pull_consumer, until_empty, until_is, work_queue,
};

const BOUND: [(&str, &str); 2] = [("stream", "S"), ("durable", "theirs")];

async fn with_limit(stream: &Stream, max_deliver: i64, ack_wait: Duration) {
    let config = pull::Config { max_deliver, ack_wait, ..pull_consumer("theirs") };
    stream.create_consumer(config).await.unwrap();
}

#[tokio::test]
async fn a_bound_consumer_is_served_as_it_is_and_never_changed() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let config = pull::Config {
        filter_subject: "s.mine".into(),
        description: Some("by hand".into()),
        max_ack_pending: 3,
        max_batch: 2,
        max_bytes: 4096,
        max_expires: Duration::from_secs(2),
        ..pull_consumer("theirs")
    };
    stream.create_consumer(config).await.unwrap();
    let mut before = stream.consumer_info("theirs").await.unwrap().config;
    let gateway = gateway([Function::named("f").topic("s.*").echo()]).await;
    let env = [BOUND[0], BOUND[1], ("topics", "s.mine")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    for n in 0..10 {
        server.publish("s.other", n.to_string()).await;
        server.publish("s.mine", n.to_string()).await;
    }
    gateway.ledger().wait_for("ten calls", |calls| calls.of("f").count() == 10).await;
    until_empty(&stream, "theirs").await;
    let mut now = consumers(&stream).await;
    // The server's own notes, which it adds to some answers.
    before.metadata.clear();
    now[0].config.metadata.clear();
    assert_eq!(now.len(), 1, "none was created beside it");
    assert_eq!(now[0].config, before);
    connector.balanced().await;
}

/// A request that is taken back may have been answered already, and costs the message a delivery.
#[tokio::test]
async fn it_asks_once_when_it_starts() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    stream.create_consumer(pull_consumer("theirs")).await.unwrap();
    let mut asked = server.client().await.subscribe("$JS.API.CONSUMER.MSG.NEXT.S.*").await.unwrap();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &BOUND).await;
    server.publish("s", "x").await;
    until_is("delivered", 1, async || connector.came("delivered").await).await;
    asked.drain().await.unwrap();
    let mut times = 0;
    while asked.next().await.is_some() {
        times += 1;
    }
    assert_eq!(times, 1);
}

/// A leader that goes takes with it what it has counted as sent and its followers had not noted.
#[tokio::test]
async fn what_was_counted_as_sent_and_is_late_holds_up_nothing_else() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    stream.create_consumer(pull_consumer("theirs")).await.unwrap();
    let client = server.client().await;
    let mut asked = client.subscribe("$JS.API.CONSUMER.MSG.NEXT.S.*").await.unwrap();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = [&BOUND[..], &[("lane_window", "2")]].concat();
    let connector = Connector::ready(&server, &gateway, &env).await;
    let inbox = asked.next().await.unwrap().reply.unwrap();
    let over = b"NATS/1.0 409 Batch Completed\r\nNats-Pending-Messages: 1\r\n\r\n";
    server.publish_raw(inbox.as_bytes(), over, b"").await;
    let next: serde_json::Value =
        serde_json::from_slice(&asked.next().await.unwrap().payload).unwrap();
    assert_eq!(next["batch"], 1, "there is room for the one that may still come");
    // The server itself has not ended the first request, and serves it first.
    let mut late = client.subscribe(inbox).await.unwrap();
    server.publish("s", "late").await;
    assert_eq!(late.next().await.unwrap().payload, "late");
    gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
    until_empty(&stream, "theirs").await;
    connector.balanced().await;
}

#[tokio::test]
async fn a_consumer_that_its_owner_changes_is_served_as_it_is_then() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    stream.create_consumer(pull_consumer("theirs")).await.unwrap();
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s.a").echo()]).await;
    gateway.fault("f", Fault::gate(&gate).times(1).then(Fault::status(503).times(2)));
    let connector = Connector::ready(&server, &gateway, &BOUND).await;
    server.publish("s.a", "runs meanwhile").await;
    gate.wait_for_waiting(1).await;
    let limited = pull::Config { max_deliver: 1, ..pull_consumer("theirs") };
    stream.update_consumer(limited).await.unwrap();
    // A new topic is a reason to look.
    gateway.deploy(Function::named("g").topic("s.b").echo());
    connector.until_logged("to be served as it is now").await;
    gate.open();
    gateway.ledger().wait_for("the first", |calls| calls.well().count() == 1).await;
    server.publish("s.a", "fails twice").await;
    gateway.ledger().wait_for("the second", |calls| calls.well().count() == 2).await;
    until_empty(&stream, "theirs").await;
    assert_eq!(gateway.ledger().calls().len(), 4);
    let info = stream.consumer_info("theirs").await.unwrap();
    assert_eq!(info.delivered.consumer_sequence, 2, "its only delivery was finished here");
    assert_eq!(connector.metric("tributary_nats_recovered_total").await, 0, "never given up on");
    connector.until_ready().await;
    connector.balanced().await;
}

#[tokio::test]
async fn a_consumer_that_would_lose_messages_is_refused_with_the_reason() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let push = push::Config {
        durable_name: Some("theirs".into()),
        deliver_subject: "elsewhere".into(),
        ..Default::default()
    };
    stream.create_consumer(push).await.unwrap();
    server.publish("s", "x").await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    // In between there is none for a moment, and none is to be created.
    let env = [BOUND[0], BOUND[1], ("bind", "true")];
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("refused: it pushes its messages").await;

    stream.delete_consumer("theirs").await.unwrap();
    let none = pull::Config { ack_policy: AckPolicy::All, ..pull_consumer("theirs") };
    stream.create_consumer(none).await.unwrap();
    connector.until_unready("one acknowledgement for all").await;

    stream.delete_consumer("theirs").await.unwrap();
    stream.create_consumer(pull_consumer("theirs")).await.unwrap();
    connector.until_ready().await;
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
}

#[tokio::test]
async fn with_bind_the_consumer_is_waited_for() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    server.publish("s", "x").await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = [BOUND[0], BOUND[1], ("bind", "true")];
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("there is no such consumer").await;
    assert!(consumers(&stream).await.is_empty());
    stream.create_consumer(pull_consumer("theirs")).await.unwrap();
    connector.until_ready().await;
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
}

#[tokio::test]
async fn the_last_delivery_is_finished_here() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    with_limit(&stream, 2, Duration::from_secs(30)).await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::status(503).times(5));
    let connector = Connector::ready(&server, &gateway, &BOUND).await;
    server.publish("s", "x").await;
    gateway.ledger().wait_for("six calls", |calls| calls.of("f").count() == 6).await;
    until_empty(&stream, "theirs").await;
    let info = stream.consumer_info("theirs").await.unwrap();
    assert_eq!(info.delivered.consumer_sequence, 2);
    assert_eq!(connector.metric("tributary_nats_recovered_total").await, 0, "never given up on");
    until_is("delivered", 1, async || connector.came("delivered").await).await;
    connector.balanced().await;
}

#[tokio::test]
async fn a_last_delivery_that_keeps_failing_is_dead_lettered() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let letters = server.stream("LETTERS", &["letters"]).await;
    with_limit(&stream, 2, Duration::from_secs(30)).await;
    let gateway = gateway([Function::named("f").topic("s").answer(Reply::status(500))]).await;
    let env = [BOUND[0], BOUND[1], ("dead_letter", "subject:letters"), ("max_retry_attempts", "3")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s", "x").await;
    until_is("letters", 1, async || letters.get_info().await.unwrap().state.messages).await;
    until_empty(&stream, "theirs").await;
    assert_eq!(gateway.ledger().calls().len(), 4);
    connector.balanced().await;
}

#[tokio::test]
async fn a_last_delivery_that_draining_cuts_short_is_dead_lettered() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let letters = server.stream("LETTERS", &["letters"]).await;
    with_limit(&stream, 1, Duration::from_secs(30)).await;
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::gate(&gate));
    let env =
        [BOUND[0], BOUND[1], ("dead_letter", "subject:letters"), ("function_concurrency", "1")];
    let mut connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s", "runs").await;
    gate.wait_for_waiting(1).await;
    server.publish("s", "waits").await;
    until_is("in flight", 2, async || connector.metric("tributary_events_in_flight").await).await;
    connector.terminate();
    until_is("letters", 1, async || letters.get_info().await.unwrap().state.messages).await;
    let letter = letters.get_raw_message(1).await.unwrap();
    assert_eq!(&letter.payload[..], b"waits");
    assert_eq!(letter.headers.get("X-Dead-Letter-Reason").unwrap().as_str(), "shutdown");
    gate.open();
    assert_eq!(connector.ended().await.code(), Some(0));
    until_empty(&stream, "theirs").await;
}

/// Publishes messages that may be delivered once, and kills the connector in the middle of their
/// calls: the server gives up on them while nobody is there to hear it.
async fn crash_in_the_last_delivery(server: &mut Server, gateway: &DevGateway, texts: &[&str]) {
    let stream = server.stream_with(work_queue("S", "s")).await;
    with_limit(&stream, 1, Duration::from_secs(1)).await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let connector = Connector::ready(server, gateway, &BOUND).await;
    for text in texts {
        server.publish("s", text.to_string()).await;
    }
    gate.wait_for_waiting(texts.len()).await;
    connector.kill().await;
    let context = server.context().await;
    let kept = context.get_stream("tributary-skipped-S-theirs").await.unwrap();
    let advisories = async || kept.get_info().await.unwrap().state.messages;
    until_is("advisories", texts.len() as u64, advisories).await;
    gate.open();
    gateway.ledger().forget();
}

#[tokio::test]
async fn what_a_crash_makes_the_server_skip_is_found_at_the_next_start() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    crash_in_the_last_delivery(&mut server, &gateway, &["first", "second"]).await;
    let connector = Connector::ready(&server, &gateway, &BOUND).await;
    gateway.ledger().wait_for("both", |calls| calls.well().count() == 2).await;
    let mut called: Vec<_> = gateway.ledger().calls().iter().map(|call| call.text()).collect();
    called.sort();
    assert_eq!(called, ["first", "second"]);
    let ids: Vec<_> = gateway.ledger().calls().iter().map(|call| call.event_id.clone()).collect();
    assert!(ids.contains(&Some("nats:S/1".to_owned())), "{ids:?}");
    let stream = server.context().await.get_stream("S").await.unwrap();
    until_is("left in the queue", 0, async || stream.get_info().await.unwrap().state.messages)
        .await;
    assert_eq!(connector.metric("tributary_nats_recovered_total").await, 2);
    connector.balanced().await;
    assert_eq!(connector.stop().await.code(), Some(0));
}

#[tokio::test]
async fn what_the_server_skipped_and_keeps_failing_is_dead_lettered() {
    let mut server = Server::start().await;
    let letters = server.stream("LETTERS", &["letters"]).await;
    let gateway = gateway([Function::named("f").topic("s").answer(Reply::status(500))]).await;
    crash_in_the_last_delivery(&mut server, &gateway, &["x"]).await;
    let env = [BOUND[0], BOUND[1], ("dead_letter", "subject:letters"), ("max_retry_attempts", "3")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    until_is("letters", 1, async || letters.get_info().await.unwrap().state.messages).await;
    let attempts: Vec<_> = gateway.ledger().calls().iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4].map(Some));
    assert_eq!(connector.metric("tributary_nats_recovered_total").await, 1, "fetched once");
    until_is("dead-lettered", 1, async || connector.came("dead_lettered").await).await;
    connector.balanced().await;
}
