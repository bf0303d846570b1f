//! Three servers: leaders that die, step down, and hang.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream;
use dev_gateway::{DevGateway, Function};

use crate::support::{Connector, PATIENCE, Server, consumers, gateway, until, until_is};

/// A cluster with a replicated stream, and a connector that consumes it.
struct Scene {
    servers: [Server; 3],
    context: Context,
    gateway: DevGateway,
    connector: Connector,
    consumer: String,
}

impl Scene {
    async fn open() -> Self {
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
        // It notices soon when its own server hangs.
        let client = async_nats::ConnectOptions::new().ping_interval(Duration::from_secs(1));
        let context = async_nats::jetstream::new(client.connect(all).await.unwrap());
        let made = async || consumers(&stream).await.pop().map(|consumer| consumer.name);
        let consumer = until("the consumer", made).await;
        Self { servers, context, gateway, connector, consumer }
    }

    /// Publishes a hundred messages, each until it is known to be stored.
    async fn publish(&self, from: usize) {
        for n in from..from + 100 {
            until("a publish that is stored", async || {
                // The id makes a publish that is repeated count once.
                let message = PublishMessage::build();
                let message = message.payload(n.to_string().into()).message_id(n.to_string());
                let sent = self.context.send_publish(format!("s.{}", n % 7), message);
                sent.await.ok()?.await.ok()
            })
            .await;
        }
    }

    /// The index of the server that leads the consumer.
    async fn leader(&self) -> usize {
        let leader = until("a leader", async || {
            let stream = self.context.get_stream("S").await.ok()?;
            stream.consumer_info(&self.consumer).await.ok()?.cluster?.leader
        })
        .await;
        leader.trim_start_matches('n').parse().unwrap()
    }

    /// Waits until so many messages have been called and acknowledged; each was called once.
    async fn finish(self, messages: usize) {
        let all = |calls: &dev_gateway::Calls| {
            calls.well().map(|call| call.body_hash).collect::<HashSet<_>>().len() == messages
        };
        self.gateway.ledger().wait_for("all", all).await;
        until_is("pending and unacknowledged", Some((0, 0)), async || {
            let stream = self.context.get_stream("S").await.ok()?;
            let info = stream.consumer_info(&self.consumer).await.ok()?;
            Some((info.num_pending, info.num_ack_pending))
        })
        .await;
        let mut times: HashMap<String, usize> = HashMap::new();
        for call in self.gateway.ledger().calls() {
            *times.entry(call.text()).or_default() += 1;
        }
        // One process remembers what it has called: a redelivery finds it done.
        assert!(times.values().all(|&times| times == 1), "{times:?}");
        self.connector.until_ready().await;
        self.connector.balanced().await;
    }
}

#[tokio::test]
async fn leaders_that_die_cost_nothing() {
    let mut scene = Scene::open().await;
    scene.publish(0).await;
    for round in 1..3 {
        let leader = scene.leader().await;
        scene.servers[leader].kill().await;
        scene.publish(round * 100).await;
        scene.servers[leader].up().await;
    }
    scene.finish(300).await;
}

#[tokio::test]
async fn leaders_that_step_down_cost_nothing() {
    let scene = Scene::open().await;
    for round in 0..3 {
        let of =
            ["STREAM.LEADER.STEPDOWN.S", &format!("CONSUMER.LEADER.STEPDOWN.S.{}", scene.consumer)];
        for leader in of {
            until("a leader that steps down", async || {
                let answer = scene.context.request(leader.to_owned(), &()).await.ok()?;
                matches!(answer, Response::Ok(serde_json::Value::Object(_))).then_some(())
            })
            .await;
        }
        scene.publish(round * 100).await;
    }
    scene.finish(300).await;
}

#[tokio::test]
async fn a_leader_that_hangs_is_not_waited_for() {
    let scene = Scene::open().await;
    scene.publish(0).await;
    // Its connections stay open: nothing but its silence tells.
    let leader = scene.leader().await;
    scene.servers[leader].pause().await;
    scene.publish(100).await;
    let all = |calls: &dev_gateway::Calls| calls.well().count() >= 200;
    scene.gateway.ledger().wait_for_within(2 * PATIENCE, "all without it", all).await;
    scene.servers[leader].resume().await;
    scene.publish(200).await;
    scene.finish(300).await;
}
