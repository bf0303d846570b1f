//! Servers that die, consumers that vanish, connectors that are killed.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream;
use dev_gateway::{Fault, Function, Gate};

use crate::support::{
    Connector, Server, consumers, gateway, pull_consumer, until, until_empty, until_is,
};

#[tokio::test]
async fn what_a_killed_connector_had_is_delivered_again() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let config = pull::Config { ack_wait: Duration::from_secs(1), ..pull_consumer("d") };
    stream.create_consumer(config).await.unwrap();
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::gate(&gate).times(3));
    let env = [("stream", "S"), ("durable", "d")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    for n in 0..3 {
        server.publish("s", n.to_string()).await;
    }
    gate.wait_for_waiting(3).await;
    connector.kill().await;
    gate.open();
    gateway.ledger().forget();
    let connector = Connector::ready(&server, &gateway, &env).await;
    let again = |call: &&dev_gateway::Call| call.attempt == Some(2) && call.answered_well();
    gateway.ledger().wait_for("all again", |calls| calls.of("f").filter(again).count() == 3).await;
    until_empty(&stream, "d").await;
    connector.balanced().await;
}

#[tokio::test]
async fn a_server_that_is_killed_is_pulled_from_again_and_running_calls_go_on() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::gate(&gate).times(1));
    let connector = Connector::ready(&server, &gateway, &[("stream", "S")]).await;
    server.publish("s", "runs over the restart").await;
    gate.wait_for_waiting(1).await;
    for n in 0..3 {
        server.kill().await;
        connector.until_unready("broker").await;
        server.up().await;
        connector.until_ready().await;
        until("a publish that is stored", async || {
            let context = server.context().await;
            context.publish("s", n.to_string().into()).await.ok()?.await.ok()
        })
        .await;
        gateway
            .ledger()
            .wait_for("the next", |calls| calls.well().any(|call| call.text() == n.to_string()))
            .await;
    }
    gate.open();
    let consumer = consumers(&stream).await.remove(0).name;
    until_empty(&stream, &consumer).await;
    let calls = gateway.ledger().calls();
    let of = |text: &str| calls.iter().filter(|call| call.text() == text).count();
    assert_eq!(of("runs over the restart"), 1);
    connector.balanced().await;
    assert_eq!(connector.metric("tributary_source_restarts_total").await, 0);
    assert_eq!(connector.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_created_consumer_that_is_deleted_is_created_where_it_was() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[("stream", "S")]).await;
    for n in 0..5 {
        server.publish("s", n.to_string()).await;
    }
    gateway.ledger().wait_for("five", |calls| calls.of("f").count() == 5).await;
    let consumer = consumers(&stream).await.remove(0);
    until_empty(&stream, &consumer.name).await;
    stream.delete_consumer(&consumer.name).await.unwrap();
    server.publish("s", "after").await;
    gateway.ledger().wait_for("the next", |calls| calls.of("f").count() > 5).await;
    until_empty(&stream, &consumer.name).await;
    let calls = gateway.ledger().calls();
    assert_eq!(calls.len(), 6, "what was done is not called again");
    assert_eq!(calls[5].text(), "after");
    connector.until_ready().await;
}

#[tokio::test]
async fn a_bound_consumer_that_is_deleted_is_waited_for() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    stream.create_consumer(pull_consumer("d")).await.unwrap();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = [("stream", "S"), ("durable", "d")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s", "before").await;
    gateway.ledger().wait_for("the first", |calls| calls.of("f").count() == 1).await;
    until_empty(&stream, "d").await;
    stream.delete_consumer("d").await.unwrap();
    connector.until_unready("there is no such consumer").await;
    assert!(consumers(&stream).await.is_empty(), "none is created in its place");
    stream.create_consumer(pull_consumer("d")).await.unwrap();
    connector.until_ready().await;
    server.publish("s", "after").await;
    until_empty(&stream, "d").await;
    let calls = gateway.ledger().calls();
    let texts: Vec<_> = calls.iter().map(|call| call.text()).collect();
    assert_eq!(texts, ["before", "after"], "what came again is remembered");
    connector.balanced().await;
}

#[tokio::test]
async fn leaders_that_die_cost_nothing() {
    let mut servers = Server::cluster().await;
    let config = stream::Config {
        name: "S".into(),
        subjects: vec!["s.>".into()],
        num_replicas: 3,
        ..Default::default()
    };
    let stream = servers[0].stream_with(config).await;
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    let all: Vec<_> = servers.iter().map(Server::address).collect();
    let env = [("stream", "S"), ("function_concurrency", "4")];
    let connector = Connector::start(&all.join(","), &gateway, &env);
    connector.until_ready().await;
    let client = async_nats::connect(all).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let publish = async |from: usize| {
        for n in from..from + 100 {
            // The id makes a publish that is repeated count once.
            until("a publish that is stored", async || {
                let message = async_nats::jetstream::message::PublishMessage::build()
                    .payload(n.to_string().into())
                    .message_id(n.to_string());
                context.send_publish(format!("s.{}", n % 7), message).await.ok()?.await.ok()
            })
            .await;
        }
    };
    publish(0).await;
    until("the consumer", async || (!consumers(&stream).await.is_empty()).then_some(())).await;
    let name = consumers(&stream).await.remove(0).name;
    for round in 0..2 {
        let leader = until("a leader", async || {
            let stream = context.get_stream("S").await.ok()?;
            stream.consumer_info(&name).await.ok()?.cluster?.leader
        })
        .await;
        let index: usize = leader.trim_start_matches('n').parse().unwrap();
        servers[index].kill().await;
        publish(100 + round * 100).await;
        servers[index].up().await;
    }
    gateway
        .ledger()
        .wait_for("all", |calls| {
            calls.well().map(|call| call.text()).collect::<std::collections::HashSet<_>>().len()
                == 300
        })
        .await;
    until_is("pending and unacknowledged", Some((0, 0)), async || {
        let stream = context.get_stream("S").await.ok()?;
        let info = stream.consumer_info(&name).await.ok()?;
        Some((info.num_pending, info.num_ack_pending))
    })
    .await;
    let mut times: HashMap<String, usize> = HashMap::new();
    for call in gateway.ledger().calls() {
        *times.entry(call.text()).or_default() += 1;
    }
    // One process remembers what it has called: a redelivery finds it done.
    assert!(times.values().all(|&times| times == 1), "{times:?}");
    connector.until_ready().await;
    connector.balanced().await;
}

#[tokio::test]
async fn started_before_the_server_and_the_gateway_it_waits_quietly() {
    let mut server = Server::start().await;
    server.stream("S", &["s"]).await;
    server.publish("s", "x").await;
    server.kill().await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.stop().await;
    let connector = Connector::start(&server.address(), &gateway, &[("stream", "S")]);
    connector.until_unready("gateway").await;
    gateway.restart().await.unwrap();
    connector.until_unready("broker").await;
    server.up().await;
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
    connector.until_ready().await;
    assert!(connector.log().len() < 20, "{:#?}", connector.log());
}

#[tokio::test]
async fn while_the_gateway_is_down_nothing_new_is_received_and_nothing_burnt() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = [("stream", "S"), ("max_retry_attempts", "0"), ("lane_window", "3")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    gateway.stop().await;
    server.publish("s", "finds it down").await;
    connector.until_unready("platform").await;
    for n in 0..20 {
        server.publish("s", n.to_string()).await;
    }
    let consumer = consumers(&stream).await.remove(0).name;
    until("requests are taken back", async || {
        (stream.consumer_info(&consumer).await.unwrap().num_waiting == 0).then_some(())
    })
    .await;
    gateway.restart().await.unwrap();
    gateway.ledger().wait_for("all", |calls| calls.well().count() == 21).await;
    until_empty(&stream, &consumer).await;
    assert_eq!(gateway.ledger().calls().len(), 21);
    assert_eq!(connector.came("dropped").await, 0);
    connector.balanced().await;
}
