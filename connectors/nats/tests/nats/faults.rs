//! Servers that die, consumers that vanish, connectors that are killed.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream;
use dev_gateway::{Fault, Function, Gate};

use crate::support::{
    Connector, PATIENCE, Server, consumers, directory, gateway, pull_consumer, until, until_empty,
    until_is,
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

/// Two of three servers die, the consumer's leader among them: until one is back nobody is there to
/// settle with, and nobody who could say so.
#[tokio::test]
async fn an_acknowledgement_waits_for_another_leader() {
    let mut servers = Server::cluster().await;
    let config = stream::Config {
        name: "S".into(),
        subjects: vec!["s".into()],
        num_replicas: 3,
        ..Default::default()
    };
    let stream = servers[0].stream_with(config).await;
    let made = async || stream.create_consumer(pull_consumer("d")).await.ok();
    let leader = until("the consumer", made).await.cached_info().cluster.clone();
    let leader = leader.unwrap().leader.unwrap();
    let survivor = (0..3).find(|n| leader != format!("n{n}")).unwrap();
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::gate(&gate).times(1));
    let env = [("stream", "S"), ("durable", "d")];
    let connector = Connector::ready(&servers[survivor], &gateway, &env).await;
    servers[survivor].publish("s", "x").await;
    gate.wait_for_waiting(1).await;
    for (_, server) in servers.iter_mut().enumerate().filter(|(n, _)| *n != survivor) {
        server.kill().await;
    }
    gate.open();
    let retries = async || connector.metric("tributary_nats_settle_retries_total").await;
    until("that it is told again and again", async || (retries().await > 4).then_some(())).await;
    for (_, server) in servers.iter_mut().enumerate().filter(|(n, _)| *n != survivor) {
        server.up().await;
    }
    let context = servers[survivor].context().await;
    let left = async || {
        let stream = context.get_stream("S").await.ok()?;
        Some(stream.consumer_info("d").await.ok()?.num_ack_pending)
    };
    until_is("unacknowledged", Some(0), left).await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    connector.balanced().await;
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
async fn a_stream_that_is_purged_goes_on() {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s"]).await;
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::gate(&gate).times(2));
    let env = [("stream", "S"), ("lane_window", "2")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    for n in 0..10 {
        server.publish("s", n.to_string()).await;
    }
    gate.wait_for_waiting(2).await;
    stream.purge().await.unwrap();
    gate.open();
    server.publish("s", "after").await;
    gateway.ledger().wait_for("the next", |calls| calls.well().count() == 3).await;
    until_empty(&stream, &consumers(&stream).await[0].name).await;
    let texts: Vec<_> = gateway.ledger().calls().iter().map(|call| call.text()).collect();
    assert_eq!(texts, ["0", "1", "after"]);
    connector.until_ready().await;
    connector.balanced().await;
    assert_eq!(connector.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_stream_that_is_made_anew_is_consumed_from_its_beginning() {
    let mut server = Server::start().await;
    server.stream("S", &["s"]).await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[("stream", "S"), ("topics", "s")]).await;
    for n in 0..5 {
        server.publish("s", n.to_string()).await;
    }
    gateway.ledger().wait_for("five", |calls| calls.well().count() == 5).await;
    server.context().await.delete_stream("S").await.unwrap();
    connector.until_unready("stream S").await;
    let stream = server.stream("S", &["s"]).await;
    for n in 5..8 {
        server.publish("s", n.to_string()).await;
    }
    // Their numbers are those of others before.
    gateway.ledger().wait_for("all", |calls| calls.well().count() == 8).await;
    connector.until_ready().await;
    until_empty(&stream, &consumers(&stream).await[0].name).await;
    connector.balanced().await;
}

#[tokio::test]
async fn started_before_the_server_and_the_gateway_it_waits_quietly() {
    starts_first(Duration::ZERO).await;
}

#[tokio::test]
#[ignore = "takes more than a minute: make prove-nats"]
async fn started_a_minute_before_the_server_and_the_gateway_at_full_size() {
    starts_first(Duration::from_secs(65)).await;
}

/// The gateway is down, then the server's name does not resolve, then nobody listens there.
async fn starts_first(early: Duration) {
    let mut server = Server::start().await;
    server.stream("S", &["s"]).await;
    server.publish("s", "x").await;
    server.kill().await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.stop().await;
    let hosts = directory().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let servers = format!("the-server:{}", server.port());
    let connector = Connector::with_hosts(&hosts, &servers, &gateway, &[("stream", "S")]);
    connector.until_unready("gateway").await;
    tokio::time::sleep(early).await;
    gateway.restart().await.unwrap();
    connector.until_unready("broker").await;
    connector.until_logged("failed to lookup address").await;
    tokio::time::sleep(early).await;
    // In place: the file is mounted.
    std::fs::write(&hosts, "127.0.0.1 localhost the-server\n").unwrap();
    connector.until_unready("onnection refused").await;
    server.up().await;
    gateway
        .ledger()
        .wait_for_within(PATIENCE, "the call", |calls| calls.of("f").count() == 1)
        .await;
    connector.until_ready().await;
    // Started, told of what is not well and of what is again, and a summary a minute.
    let most = 14 + 2 * early.as_secs() as usize / 60;
    assert!(connector.log().len() <= most, "{:#?}", connector.log());
}

#[tokio::test]
async fn it_ends_in_time_although_the_server_cannot_be_told() {
    let mut server = Server::start().await;
    server.stream("S", &["s"]).await;
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    gateway.fault("f", Fault::gate(&gate));
    let env = [("stream", "S"), ("grace_period", "7s"), ("function_concurrency", "1")];
    let mut connector = Connector::ready(&server, &gateway, &env).await;
    server.publish("s", "runs").await;
    server.publish("s", "waits").await;
    gate.wait_for_waiting(1).await;
    server.kill().await;
    connector.until_unready("broker").await;
    connector.terminate();
    gate.open();
    // Nothing of it is lost: the server knows nothing of what was done.
    assert!(connector.ended().await.code().is_some_and(|code| code <= 1));
    server.up().await;
    gateway.ledger().forget();
    let next = Connector::ready(&server, &gateway, &[("stream", "S")]).await;
    gateway.ledger().wait_for("both", |calls| calls.well().count() == 2).await;
    next.balanced().await;
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
