//! What core NATS loses, which is what nobody can prevent there, and whether it is counted.
//! `make prove-nats` prints the table that stands in `docs/reliability.md`.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::Client;
use dev_gateway::{DevGateway, Fault, Function};
use tokio::time::{MissedTickBehavior, interval};

use crate::support::{Connector, Server, gateway, until_is};

const MESSAGES: usize = 10_000;
/// Published together, each hundredth of a second: far below what is called in that time.
const AT_ONCE: usize = 10;
const ENV: [(&str, &str); 2] = [("function_concurrency", "32"), ("grace_period", "12s")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: make prove-nats"]
async fn what_core_nats_loses_at_full_size() {
    let mut scene = Scene::open().await;
    let connector = scene.connector().await;
    eprintln!("\n  {MESSAGES} messages, and        called  counted as lost  not counted");

    for (what, at_once) in [("nothing else", AT_ONCE), ("all of them at once", MESSAGES)] {
        let (before, lost_before) = (scene.called(), lost(&connector).await);
        publish(scene.client.clone(), at_once).await;
        until_is("called or lost", MESSAGES, async || {
            scene.called() - before + lost(&connector).await - lost_before
        })
        .await;
        assert_eq!(scene.row(what, before, lost(&connector).await - lost_before), 0);
    }

    let (before, lost_before) = (scene.called(), lost(&connector).await);
    let publishing = tokio::spawn(publish(scene.client.clone(), AT_ONCE));
    scene.until_called(before + MESSAGES / 8).await;
    scene.server.kill().await;
    connector.until_unready("broker").await;
    scene.server.up().await;
    connector.until_ready().await;
    publishing.await.unwrap();
    scene.settled().await;
    let counted = lost(&connector).await - lost_before;
    scene.row("the server killed, started", before, counted);
    connector.balanced().await;

    let before = scene.called();
    let publishing = tokio::spawn(publish(scene.client.clone(), AT_ONCE));
    scene.until_called(before + MESSAGES / 8).await;
    connector.kill().await;
    let connector = scene.connector().await;
    publishing.await.unwrap();
    scene.settled().await;
    scene.row("SIGKILL, started", before, lost(&connector).await);

    let before = scene.called();
    let publishing = tokio::spawn(publish(scene.client.clone(), AT_ONCE));
    scene.until_called(before + MESSAGES / 8).await;
    assert_eq!(connector.stop().await.code(), Some(0));
    let connector = scene.connector().await;
    publishing.await.unwrap();
    scene.settled().await;
    scene.row("SIGTERM, started", before, lost(&connector).await);

    let different = scene
        .gateway
        .ledger()
        .with(|calls| calls.iter().map(|call| call.body_hash).collect::<HashSet<_>>().len());
    assert_eq!(different, scene.called(), "nothing is called twice");
}

struct Scene {
    server: Server,
    client: Client,
    gateway: DevGateway,
}

impl Scene {
    async fn open() -> Self {
        let mut server = Server::start().await;
        let gateway = gateway([Function::named("f").topic("t").echo()]).await;
        gateway.fault("f", Fault::slow(Duration::from_millis(2)));
        let client = server.client().await;
        Self { server, client, gateway }
    }

    async fn connector(&self) -> Connector {
        let connector = Connector::ready(&self.server, &self.gateway, &ENV).await;
        connector.until_logged("subscribed").await;
        connector
    }

    fn called(&self) -> usize {
        self.gateway.ledger().with(|calls| calls.iter().count())
    }

    async fn until_called(&self, calls: usize) {
        let reached = |all: &dev_gateway::Calls| all.iter().count() >= calls;
        self.gateway.ledger().wait_for("enough calls", reached).await;
    }

    /// Waits until the last message that was published has been called.
    async fn settled(&self) {
        let before = self.called();
        self.client.publish("t", format!("last {before}").into()).await.unwrap();
        let text = format!("last {before}");
        let last = |calls: &dev_gateway::Calls| calls.well().any(|call| call.text() == text);
        self.gateway.ledger().wait_for("the last", last).await;
        self.gateway.ledger().wait_for("the end", |calls| calls.running() == 0).await;
    }

    /// Prints one line; gives how many were lost and not counted.
    fn row(&self, what: &str, before: usize, counted: usize) -> usize {
        let last = |call: &&dev_gateway::Call| call.text().starts_with("last");
        let called = self
            .gateway
            .ledger()
            .with(|calls| calls.iter().skip(before).filter(|call| !last(call)).count());
        let uncounted = MESSAGES - called - counted;
        eprintln!("  {what:<26} {called:>6} {counted:>16} {uncounted:>12}");
        uncounted
    }
}

/// Publishes that many at once, in each hundredth of a second, under payloads of their own.
async fn publish(client: Client, at_once: usize) {
    let series = client.new_inbox();
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..MESSAGES {
        if n % at_once == 0 {
            ticks.tick().await;
        }
        client.publish("t", format!("{n} {series}").into()).await.unwrap();
    }
    client.flush().await.unwrap();
}

/// What the connector has counted as lost.
async fn lost(connector: &Connector) -> usize {
    let mut lost = 0;
    for why in ["full", "stopped"] {
        lost += connector.metric(&format!("tributary_nats_lost_total{{why=\"{why}\"}}")).await;
    }
    lost as usize
}
