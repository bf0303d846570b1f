//! JetStream with consumers that the connector creates.

use std::time::Duration;

use async_nats::jetstream::stream;
use dev_gateway::{Fault, Function, Gate};

use crate::support::{
    Connector, Server, consumers, gateway, pull_consumer, until_empty, until_is, work_queue,
};

#[tokio::test]
async fn a_message_of_a_stream_calls_its_function_and_is_acknowledged() {
    let mut server = Server::start().await;
    let stream = server.stream("ORDERS", &["orders.>"]).await;
    server.publish("orders.eu", "kept before the start").await;
    let gateway = gateway([Function::named("bill").topic("orders.*").echo()]).await;
    let env = [("stream", "ORDERS"), ("topics", "orders.*")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    gateway.ledger().wait_for("the call", |calls| calls.of("bill").count() == 1).await;
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

#[tokio::test]
async fn without_topics_what_annotations_wish_for_is_consumed() {
    let mut server = Server::start().await;
    let orders = server.stream("ORDERS", &["orders.>"]).await;
    let bills = server.stream("BILLS", &["bills.>"]).await;
    server.publish("bills.1", "b").await;
    let gateway = gateway([Function::named("o").topic("orders.>").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[("durable", "team")]).await;
    server.publish("orders.1", "o").await;
    gateway.ledger().wait_for("the first", |calls| calls.of("o").count() == 1).await;
    gateway.deploy(Function::named("b").topic("bills.1, no.such.stream, cron-function").echo());
    gateway.ledger().wait_for("the new one", |calls| calls.of("b").count() == 1).await;
    connector.until_status_says("no.such.stream").await;
    connector.until_ready().await;
    assert!(consumers(&orders).await.iter().all(|it| it.name.starts_with("team-")));
    assert_eq!(consumers(&bills).await.len(), 1);
}

#[tokio::test]
async fn an_order_that_no_stream_keeps_is_not_ready_until_one_does() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("f").topic("late.>").echo()]).await;
    let env = [("stream", "LATE"), ("topics", "late.x")];
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("stream LATE").await;
    server.stream("LATE", &["other"]).await;
    connector.until_unready("topic late.x").await;
    let context = server.context().await;
    let config = stream::Config {
        name: "LATE".into(),
        subjects: vec!["other".into(), "late.>".into()],
        ..Default::default()
    };
    context.update_stream(config).await.unwrap();
    connector.until_ready().await;
    server.publish("late.x", "x").await;
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
}

#[tokio::test]
async fn what_nobody_is_mapped_to_stays_at_the_server() {
    let mut server = Server::start().await;
    let stream = server.stream_with(work_queue("W", "w.>")).await;
    for n in 0..5 {
        server.publish("w.held", n.to_string()).await;
    }
    let gateway = gateway([Function::named("other").topic("w.other").echo()]).await;
    let env = [("stream", "W"), ("topics", "w.held,w.other"), ("unmap_after", "1s")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("w.other", "o").await;
    gateway.ledger().wait_for("the other topic", |calls| calls.of("other").count() == 1).await;
    assert_eq!(connector.metric("tributary_events_received_total").await, 1);
    gateway.deploy(Function::named("f").topic("w.held").echo());
    gateway.ledger().wait_for("what was held", |calls| calls.of("f").count() == 5).await;
    gateway.remove("f");
    connector.until_unmapped("w.held").await;
    server.publish("w.held", "held again").await;
    server.publish("w.other", "o").await;
    gateway.ledger().wait_for("the other topic", |calls| calls.of("other").count() == 2).await;
    gateway.deploy(Function::named("f").topic("w.held").echo());
    gateway.ledger().wait_for("what was held", |calls| calls.of("f").count() == 6).await;
    until_is("kept", 0, async || stream.get_info().await.unwrap().state.messages).await;
    connector.balanced().await;
}

#[tokio::test]
async fn a_wildcard_acknowledges_what_nobody_matches_and_counts_it() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let gateway = gateway([Function::named("f").topic("s.mine").echo()]).await;
    let env = [("stream", "S"), ("topics", "s.*"), ("unmap_after", "0s")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s.nobody", "n").await;
    server.publish("s.mine", "m").await;
    until_is("unmatched", 1, async || connector.came("unmatched").await).await;
    gateway.ledger().wait_for("mine", |calls| calls.of("f").count() == 1).await;
    until_empty(&stream, &consumers(&stream).await[0].name).await;
    connector.balanced().await;
}

#[tokio::test]
async fn overlapping_consumers_deliver_once_and_losing_a_topic_loses_nothing() {
    let mut server = Server::start().await;
    let stream = server.stream("A", &["a.>"]).await;
    let functions = [
        Function::named("narrow").topic("a.b.*").echo(),
        Function::named("cross").topic("a.*.c").echo(),
    ];
    let gateway = gateway(functions).await;
    let connector = Connector::ready(&server, &gateway, &[("stream", "A")]).await;
    for subject in ["a.b.c", "a.b.d", "a.x.c"] {
        server.publish(subject, subject).await;
    }
    gateway.ledger().wait_for("four calls", |calls| calls.iter().count() >= 4).await;
    // Wider than both, and begun with the oldest message: what the others handled is not repeated.
    gateway.deploy(Function::named("wide").topic("a.>").echo());
    until_is("consumers", 3, async || consumers(&stream).await.len()).await;
    server.publish("a.z", "a.z").await;
    server.publish("a.b.c", "again").await;
    gateway.ledger().wait_for("three more", |calls| calls.iter().count() >= 8).await;
    for consumer in consumers(&stream).await {
        until_empty(&stream, &consumer.name).await;
    }
    let mut seen: Vec<_> = gateway
        .ledger()
        .calls()
        .into_iter()
        .map(|call| format!("{} {}", call.text(), call.function.split('.').next().unwrap()))
        .collect();
    seen.sort();
    let wanted = [
        "a.b.c cross",
        "a.b.c narrow",
        "a.b.d narrow",
        "a.x.c cross",
        "a.z wide",
        "again cross",
        "again narrow",
        "again wide",
    ];
    assert_eq!(seen, wanted);
    connector.balanced().await;
}

/// The absent function's consumer is the older one, and brings what the other one wants as well.
#[tokio::test]
async fn what_an_absent_function_asked_for_is_kept_where_anothers_topic_overlaps() {
    let mut server = Server::start().await;
    let stream = server.stream("A", &["a.>"]).await;
    let narrow = || Function::named("narrow").topic("a.b.*").echo();
    let gateway = gateway([narrow()]).await;
    let env = [("stream", "A"), ("unmap_after", "1s")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    until_is("consumers", 1, async || consumers(&stream).await.len()).await;
    gateway.deploy(Function::named("cross").topic("a.*.c").echo());
    until_is("consumers", 2, async || consumers(&stream).await.len()).await;
    gateway.remove("narrow");
    connector.until_unmapped("a.b.*").await;
    for subject in ["a.b.d", "a.b.c"] {
        server.publish(subject, subject).await;
    }
    gateway.ledger().wait_for("its own", |calls| calls.of("cross").count() == 1).await;
    gateway.deploy(narrow());
    gateway.ledger().wait_for("what was kept", |calls| calls.of("narrow").count() == 2).await;
    for consumer in consumers(&stream).await {
        until_empty(&stream, &consumer.name).await;
    }
    assert_eq!(gateway.ledger().calls().len(), 3);
    connector.balanced().await;
}

/// What had been received for it goes back to the server and stays there.
#[tokio::test]
async fn what_waits_for_a_function_that_goes_away_is_kept_for_its_return() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let gate = Gate::closed();
    let f = || Function::named("f").topic("s.>").echo();
    let gateway = gateway([f()]).await;
    gateway.fault("f", Fault::gate(&gate));
    let env = [("stream", "S"), ("function_concurrency", "1"), ("unmap_after", "1s")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s.1", "runs").await;
    gate.wait_for_waiting(1).await;
    server.publish("s.2", "waits").await;
    until_is("in flight", 2, async || connector.metric("tributary_events_in_flight").await).await;
    gateway.remove("f");
    connector.until_unmapped("s.>").await;
    until_is("in flight", 1, async || connector.metric("tributary_events_in_flight").await).await;
    gate.open();
    gateway.deploy(f());
    gateway.ledger().wait_for("the other", |calls| calls.of("f").count() == 2).await;
    until_empty(&stream, &consumers(&stream).await[0].name).await;
    connector.balanced().await;
}

#[tokio::test]
async fn a_function_three_times_slower_than_its_lease_is_called_once() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let mut config = pull_consumer("short");
    config.ack_wait = Duration::from_secs(1);
    stream.create_consumer(config).await.unwrap();
    let gate = Gate::closed();
    let gateway = gateway([Function::named("slow").topic("s").echo()]).await;
    gateway.fault("slow", Fault::gate(&gate));
    let env = [("stream", "S"), ("durable", "short"), ("function_concurrency", "1")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s", "runs").await;
    server.publish("s", "waits for the function").await;
    gate.wait_for_waiting(1).await;
    // Three leases by the server's clock: a second consumer's message comes back three times.
    let mut other = pull_consumer("clock");
    other.ack_wait = Duration::from_secs(1);
    let clock = stream.create_consumer(other).await.unwrap();
    let mut ticks = clock.messages().await.unwrap();
    let mut deliveries = 0;
    while deliveries < 4 {
        use futures_util::StreamExt as _;
        let message = ticks.next().await.unwrap().unwrap();
        deliveries = deliveries.max(message.info().unwrap().delivered);
    }
    gate.open();
    gateway.ledger().wait_for("both", |calls| calls.of("slow").count() == 2).await;
    until_empty(&stream, "short").await;
    assert_eq!(gateway.ledger().calls().len(), 2);
    let info = stream.consumer_info("short").await.unwrap();
    assert_eq!(info.delivered.consumer_sequence, 2, "nothing was delivered again");
    connector.balanced().await;
}

#[tokio::test]
async fn a_failing_call_waits_at_the_server_and_is_retried_there() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::status(503).times(2));
    let connector = Connector::ready(&server, &gateway, &[("stream", "S")]).await;
    server.publish("s", "x").await;
    gateway.ledger().wait_for("three calls", |calls| calls.of("f").count() == 3).await;
    let calls = gateway.ledger().calls();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.attempt.unwrap(), call.header("x-nats-delivered").unwrap()))
        .collect();
    assert_eq!(told, [(1, "1"), (2, "2"), (3, "3")]);
    until_empty(&stream, &consumers(&stream).await[0].name).await;
    assert_eq!(connector.came("released").await, 2);
    connector.balanced().await;
}

#[tokio::test]
async fn of_two_functions_the_good_one_is_called_once_over_two_replicas() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let functions =
        [Function::named("good").topic("s").echo(), Function::named("bad").topic("s").echo()];
    let gateway = gateway(functions).await;
    gateway.fault("bad", Fault::status(503).times(4));
    let one = Connector::ready(&server, &gateway, &[("stream", "S")]).await;
    let two = Connector::ready(&server, &gateway, &[("stream", "S")]).await;
    server.publish("s", "x").await;
    gateway.ledger().wait_for("the end", |calls| calls.of("bad").count() == 5).await;
    until_empty(&stream, &consumers(&stream).await[0].name).await;
    assert_eq!(gateway.ledger().with(|calls| calls.of("good").count()), 1);
    one.balanced().await;
    two.balanced().await;
}

#[tokio::test]
async fn every_body_and_header_of_a_stream_arrives_as_it_was_sent() {
    let mut server = Server::start().await;
    server.stream("S", &["s.>"]).await;
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[("stream", "S")]).await;
    server.publish("s.empty", "").await;
    server.publish("s.binary", bytes::Bytes::from_static(b"\0\r\n\xff")).await;
    server.publish("s.quarter", vec![0xfe; 256 * 1024]).await;
    // Larger than what is taken for typical, beside many small ones.
    for n in 0..40 {
        server.publish("s.small", n.to_string()).await;
        if n % 10 == 0 {
            server.publish("s.large", vec![n; 1_000_000]).await;
        }
    }
    let context = server.context().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.append("Trace", "b");
    headers.append("Trace", "a");
    headers.insert("Sequence", "posing");
    context.publish_with_headers("s.headers", headers, "h".into()).await.unwrap().await.unwrap();
    gateway.ledger().wait_for("every call", |calls| calls.of("f").count() == 48).await;
    let calls = gateway.ledger().calls();
    let of =
        |topic: &'static str| calls.iter().filter(move |call| call.topic.as_deref() == Some(topic));
    assert_eq!(of("s.empty").next().unwrap().body_length, 0);
    assert_eq!(of("s.binary").next().unwrap().body.as_deref(), Some(&b"\0\r\n\xff"[..]));
    assert_eq!(of("s.quarter").next().unwrap().body_length, 256 * 1024);
    assert!(of("s.large").all(|call| call.body_length == 1_000_000));
    assert_eq!(of("s.large").count(), 4);
    let with = of("s.headers").next().unwrap();
    assert_eq!(with.headers.get_all("x-nats-trace").collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(with.header("x-nats-header-sequence"), Some("posing"));
    assert_eq!(with.header("x-nats-sequence"), Some("48"));
    connector.balanced().await;
}

#[tokio::test]
async fn a_letter_is_stored_with_everything_and_not_consumed_again() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let functions = [Function::named("f")
        .topic("s.>")
        .answer(dev_gateway::Reply::status(400).body("bad\nvalue"))];
    let gateway = gateway(functions).await;
    let env = [("stream", "S"), ("topics", "s.>"), ("dead_letter", "subject:s.dead")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    let context = server.context().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "the publisher's");
    headers.insert("Color", "red");
    context.publish_with_headers("s.x", headers, "payload".into()).await.unwrap().await.unwrap();
    until_is("dead-lettered", 1, async || connector.came("dead_lettered").await).await;
    let letter = stream.get_last_raw_message_by_subject("s.dead").await.unwrap();
    assert_eq!(&letter.payload[..], b"payload");
    let header = |name: &str| letter.headers.get(name).map(|it| it.as_str().to_owned());
    assert_eq!(header("Color").as_deref(), Some("red"));
    assert_eq!(header("X-Dead-Letter-Reason").as_deref(), Some("refused"));
    assert_eq!(header("X-Dead-Letter-Status").as_deref(), Some("400"));
    assert_eq!(header("X-Dead-Letter-Subject").as_deref(), Some("s.x"));
    assert_eq!(header("X-Dead-Letter-Position").as_deref(), Some("nats:S/1"));
    assert_eq!(header("X-Dead-Letter-Header-Nats-Msg-Id").as_deref(), Some("the publisher's"));
    let consumer = consumers(&stream).await.remove(0);
    until_empty(&stream, &consumer.name).await;
    assert_eq!(gateway.ledger().calls().len(), 1, "the letter itself calls nobody");
    connector.balanced().await;
}

#[tokio::test]
async fn a_letter_calls_who_asked_for_it_by_name() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let functions = [
        Function::named("f").topic("s.>").answer(dev_gateway::Reply::status(400)),
        Function::named("h").topic("s.dead").echo(),
    ];
    let gateway = gateway(functions).await;
    let env = [("stream", "S"), ("dead_letter", "subject:s.dead")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s.x", "x").await;
    gateway.ledger().wait_for("the letter", |calls| calls.of("h").count() == 1).await;
    until_empty(&stream, &consumers(&stream).await[0].name).await;
    assert_eq!(gateway.ledger().calls().len(), 2, "the pattern does not bring it");
    connector.balanced().await;
}

/// Of the server, and of the letters' stream.
#[tokio::test]
async fn a_letter_that_its_notes_make_too_large_is_stored_with_the_least_of_them() {
    for (server_takes, stream_takes) in [(1200, -1), (1_048_576, 1200)] {
        let mut server = Server::with(&format!("max_payload: {server_takes}")).await;
        let stream = server.stream("S", &["s"]).await;
        let config = async_nats::jetstream::stream::Config {
            name: "LETTERS".to_owned(),
            subjects: vec!["letters".to_owned()],
            max_message_size: stream_takes,
            ..Default::default()
        };
        let letters = server.stream_with(config).await;
        let no = dev_gateway::Reply::status(400);
        let gateway = gateway([Function::named("f").topic("s").answer(no)]).await;
        let env = [("stream", "S"), ("dead_letter", "subject:letters")];
        let connector = Connector::ready(&server, &gateway, &env).await;
        server.publish("s", "x".repeat(850)).await;
        until_is("dead-lettered", 1, async || connector.came("dead_lettered").await).await;
        let consumer = consumers(&stream).await.remove(0);
        until_empty(&stream, &consumer.name).await;
        let letter = letters.get_raw_message(1).await.unwrap();
        assert_eq!(letter.payload.len(), 850);
        let header = |name: &str| letter.headers.get(name).map(|it| it.as_str().to_owned());
        assert_eq!(header("X-Dead-Letter-Reason").as_deref(), Some("refused"));
        assert_eq!(header("X-Dead-Letter-Function").as_deref(), Some("f.openfaas-fn"));
        assert_eq!(header("X-Dead-Letter-Position").as_deref(), Some("nats:S/1"));
        assert_eq!(header("X-Dead-Letter-Last"), None);
        connector.balanced().await;
    }
}

#[tokio::test]
async fn a_letter_that_no_stream_keeps_is_not_stored_and_its_message_is_held() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let gateway =
        gateway([Function::named("f").topic("s").answer(dev_gateway::Reply::status(400))]).await;
    let env = [("stream", "S"), ("dead_letter", "subject:letters.s")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s", "x").await;
    connector.until_unready("letters.s").await;
    let consumer = consumers(&stream).await.remove(0);
    assert_eq!(stream.consumer_info(&consumer.name).await.unwrap().num_ack_pending, 1);
    let letters = server.stream("LETTERS", &["letters.>"]).await;
    until_empty(&stream, &consumer.name).await;
    assert_eq!(letters.get_info().await.unwrap().state.messages, 1);
    connector.until_ready().await;
    connector.balanced().await;
}

#[tokio::test]
async fn draining_gives_back_what_waits_and_acknowledges_what_ends() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::gate(&gate));
    let env = [("stream", "S"), ("function_concurrency", "2"), ("lane_window", "6")];
    let mut connector = Connector::ready(&server, &gateway, &env).await;
    for n in 0..20 {
        server.publish("s", n.to_string()).await;
    }
    gate.wait_for_waiting(2).await;
    until_is("in flight", 6, async || connector.metric("tributary_events_in_flight").await).await;
    let consumer = consumers(&stream).await.remove(0).name;
    connector.terminate();
    until_is("released", 4, async || connector.came("released").await).await;
    gate.open();
    assert_eq!(connector.ended().await.code(), Some(0));
    // What was given back counts as unacknowledged until it is delivered again.
    let info = stream.consumer_info(&consumer).await.unwrap();
    assert_eq!(info.num_ack_pending, 4, "acknowledgements are with the server before the end");
    let next = Connector::ready(&server, &gateway, &env).await;
    gateway.ledger().wait_for("the rest", |calls| calls.well().count() == 20).await;
    until_empty(&stream, &consumer).await;
    assert_eq!(gateway.ledger().calls().len(), 20, "nothing was called twice");
    next.balanced().await;
}
