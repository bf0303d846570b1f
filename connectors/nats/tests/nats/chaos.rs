//! Everything at once: kills, a server and a gateway that go away, functions that fail.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::message::PublishMessage;
use dev_gateway::{Fault, Function};

use crate::support::{Connector, Server, gateway, pull_consumer, until, until_empty, until_is};

const SUBJECTS: usize = 32;
const CONCURRENCY: usize = 32;

/// How much there is of it: enough for every kind of trouble, or as much as the environment says.
fn amount(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Publishes until every message is known to be stored; the server may be gone now and then.
async fn publish(address: String, messages: usize) {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let context = async_nats::jetstream::new(options.connect(address).await.unwrap());
    for n in 0..messages {
        loop {
            // The id makes a publish that is repeated count once.
            let message =
                PublishMessage::build().payload(n.to_string().into()).message_id(n.to_string());
            let subject = format!("s.{}", n % SUBJECTS);
            if let Ok(sent) = context.send_publish(subject, message).await
                && sent.await.is_ok()
            {
                break;
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_and_little_is_repeated() {
    let (messages, kills) = (amount("CHAOS_MESSAGES", 5_000), amount("CHAOS_KILLS", 6));
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let config = pull::Config { ack_wait: Duration::from_secs(3), ..pull_consumer("d") };
    stream.create_consumer(config).await.unwrap();
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    let bad = [(0.2, Fault::status(503)), (0.05, Fault::status(500)), (0.05, Fault::reset())];
    let delay = (Duration::from_millis(5), Duration::from_millis(40));
    gateway.fault("f", Fault::mix(bad).delay_between(delay.0, delay.1).seed(7));
    let concurrency = CONCURRENCY.to_string();
    let env = [
        ("stream", "S"),
        ("durable", "d"),
        ("function_concurrency", &*concurrency),
        ("max_retry_attempts", "-1"),
    ];
    let published = tokio::spawn(publish(server.address(), messages));
    let mut connector = Connector::ready(&server, &gateway, &env).await;
    for kill in 0..kills {
        until("calls that run", async || (gateway.ledger().running() >= 10).then_some(())).await;
        match kill {
            1 | 4 => {
                server.kill().await;
                connector.until_unready("broker").await;
                server.up().await;
                connector.until_ready().await;
            }
            3 => {
                gateway.stop().await;
                connector.until_unready("platform").await;
                gateway.restart().await.unwrap();
                connector.until_ready().await;
            }
            _ => {}
        }
        until("calls that run", async || (gateway.ledger().running() >= 10).then_some(())).await;
        connector.kill().await;
        connector = Connector::ready(&server, &gateway, &env).await;
    }
    published.await.unwrap();
    gateway
        .ledger()
        .wait_for_within(Duration::from_secs(300), "every message answered well", |calls| {
            let seen: std::collections::HashSet<_> =
                calls.well().map(|call| call.body_hash).collect();
            seen.len() == messages
        })
        .await;
    until_empty(&stream, "d").await;
    until_is("in flight", 0, async || connector.metric("tributary_events_in_flight").await).await;
    connector.balanced().await;
    let mut well: HashMap<u64, usize> = HashMap::new();
    gateway.ledger().with(|calls| {
        for call in calls.well() {
            *well.entry(call.body_hash).or_default() += 1;
        }
    });
    let repeated: usize = well.values().map(|times| times - 1).sum();
    // What was in flight, and what had been answered but not acknowledged, at each kill.
    let bound = kills * 2 * CONCURRENCY;
    eprintln!("{messages} messages, {kills} kills: {repeated} answered well more than once");
    assert!(repeated <= bound, "{repeated} is more than {bound}");
    assert_eq!(connector.stop().await.code(), Some(0));
}
