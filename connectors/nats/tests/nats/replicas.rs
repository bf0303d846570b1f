//! Several connectors share the work, each message once; what one leaves the others finish.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use dev_gateway::{DevGateway, Fault, Function};

use crate::support::{Connector, PATIENCE, Server, gateway, pull_consumer, until, until_empty};

const SMALL: usize = 2_000;
const FULL: usize = 10_000;
/// No more than this is under way at once: a core subscription drops what its window cannot hold,
/// and a client waits with only so many unconfirmed.
const BURST: usize = 500;

#[tokio::test]
async fn three_replicas_share_a_consumer_and_two_finish_for_one_that_is_killed() {
    share_a_consumer(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: make prove-nats"]
async fn three_replicas_share_a_consumer_at_full_size() {
    share_a_consumer(FULL).await;
}

#[tokio::test]
async fn three_replicas_share_a_queue_group_and_two_go_on_without_one_that_is_killed() {
    share_a_group(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: make prove-nats"]
async fn three_replicas_share_a_queue_group_at_full_size() {
    share_a_group(FULL).await;
}

async fn share_a_consumer(messages: usize) {
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let config = pull::Config { ack_wait: Duration::from_secs(2), ..pull_consumer("d") };
    stream.create_consumer(config).await.unwrap();
    let gateway = slow_gateway().await;
    let env = [("stream", "S"), ("durable", "d")];
    let mut replicas = three(&server, &gateway, &env).await;
    let context = server.context().await;
    let publish = async |messages: usize| {
        let all: Vec<usize> = (0..messages).collect();
        for burst in all.chunks(BURST) {
            let mut acks = Vec::new();
            for n in burst {
                let subject = format!("s.{}", n % 40);
                acks.push(context.publish(subject, n.to_string().into()).await.unwrap());
            }
            for ack in acks {
                ack.await.unwrap();
            }
        }
    };
    publish(messages).await;
    until_called(&gateway, messages).await;
    until_empty(&stream, "d").await;
    assert_eq!(gateway.ledger().calls().len(), messages, "each once");
    fair(&replicas, messages).await;

    gateway.ledger().forget();
    publish(messages / 5).await;
    replicas.remove(0).kill().await;
    until_called(&gateway, messages / 5).await;
    until_empty(&stream, "d").await;
    for replica in &replicas {
        replica.balanced().await;
    }
}

async fn share_a_group(messages: usize) {
    let mut server = Server::start().await;
    let gateway = slow_gateway().await;
    let mut replicas = three(&server, &gateway, &[]).await;
    for replica in &replicas {
        replica.until_logged("subscribed").await;
    }
    let client = server.client().await;
    let publish = async |messages: usize| {
        for burst in (0..messages).step_by(BURST) {
            let until = messages.min(burst + BURST);
            for n in burst..until {
                client.publish(format!("s.{}", n % 40), n.to_string().into()).await.unwrap();
            }
            until_called(&gateway, until).await;
        }
    };
    publish(messages).await;
    assert_eq!(gateway.ledger().calls().len(), messages, "each once");
    fair(&replicas, messages).await;

    replicas.remove(0).kill().await;
    // With its connection the server forgets the subscriptions of the one that is gone, but only once it
    // has noticed; what it gave it meanwhile is lost, as core NATS keeps nothing.
    until("nothing to be given to the one that is gone", async || {
        let ended = || gateway.ledger().with(dev_gateway::Calls::ended);
        let all = ended() + 40;
        for n in 0..40 {
            client.publish(format!("s.{n}"), "?".into()).await.unwrap();
        }
        let called = async {
            while ended() < all {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(2), called).await.ok()
    })
    .await;
    gateway.ledger().forget();
    publish(messages / 5).await;
    assert_eq!(gateway.ledger().calls().len(), messages / 5, "each once, by the others");
    for replica in &replicas {
        assert_eq!(replica.metric("tributary_nats_lost_total{why=\"full\"}").await, 0);
        replica.balanced().await;
    }
}

async fn slow_gateway() -> DevGateway {
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    gateway.fault("f", Fault::slow(Duration::from_millis(2)));
    gateway
}

async fn three(server: &Server, gateway: &DevGateway, env: &[(&str, &str)]) -> Vec<Connector> {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Connector::ready(server, gateway, env).await);
    }
    replicas
}

/// Waits until so many different messages have been answered well.
async fn until_called(gateway: &DevGateway, messages: usize) {
    let all = |calls: &dev_gateway::Calls| {
        // Counted first: to tell them apart costs more.
        calls.ended() >= messages as u64
            && calls.well().map(|call| call.body_hash).collect::<HashSet<_>>().len() == messages
    };
    gateway.ledger().wait_for_within(2 * PATIENCE, "every message", all).await;
}

/// A fair share is at least a fifth.
async fn fair(replicas: &[Connector], messages: usize) {
    let mut shares = Vec::new();
    for replica in replicas {
        shares.push(replica.metric("tributary_events_received_total").await as usize);
    }
    eprintln!("{messages} messages, shared {shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), messages);
    assert!(shares.iter().all(|&share| share >= messages / 5), "{shares:?}");
}
