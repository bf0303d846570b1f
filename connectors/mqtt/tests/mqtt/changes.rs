//! Annotations that change while the broker has messages queued for what they said before.

use std::collections::BTreeSet;

use dev_gateway::{Calls, DevGateway, Fault, Function, Gate};

use crate::support::{Broker, Connector, Setup, gateway, wait_until};

/// More than brokers send before any is acknowledged.
const QUEUED: usize = 50;

fn numbered() -> Vec<String> {
    (0..QUEUED).map(|number| number.to_string()).collect()
}

fn answered(calls: &Calls, function: &str) -> BTreeSet<String> {
    calls.of(function).filter(|call| call.answered_well()).map(|call| call.text()).collect()
}

/// A connector with messages for `a/b`, of which `f` has answered none.
struct Backlog {
    gateway: DevGateway,
    gate: Gate,
    setup: Setup,
    connector: Connector,
}

impl Backlog {
    async fn new(broker: &Broker, settings: &[(&str, &str)], functions: &[&str]) -> Self {
        let gateway = gateway().await;
        let gate = Gate::closed();
        gateway.fault("f", Fault::gate(&gate));
        for function in functions {
            gateway.deploy(Function::named(function).topic("a/b"));
        }
        let plain = Setup::new(&broker.url(), &gateway);
        let setup = settings.iter().fold(plain, |setup, (name, value)| setup.with(name, value));
        let connector = setup.ready().await;
        connector.wait_for_metric("tributary_mqtt_sessions", 1).await;
        broker.publish_lines("a/b", &numbered(), &["-q", "1"]);
        gate.wait_for_waiting(1).await;
        Self { gateway, gate, setup, connector }
    }

    /// Deploys `f` with another annotation, and waits until the broker has it.
    async fn change(&self, filter: &str) {
        self.gateway.deploy(Function::named("f").topic(filter));
        let log = || self.connector.log();
        let is_subscribed = |line: &str| line.contains(&format!("subscribed filter={filter} "));
        wait_until(filter, || log().lines().any(is_subscribed), log).await;
    }

    async fn wait_for_all(&self, function: &str) {
        let all: BTreeSet<_> = numbered().into_iter().collect();
        let has_all = |calls: &Calls| answered(calls, function).is_superset(&all);
        self.gateway.ledger().wait_for("all that was queued", has_all).await;
        self.connector.wait_for_metric("tributary_events_in_flight", 0).await;
        self.connector.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_filter_brings_what_was_queued_for_the_narrow_one() {
    for (kind, version) in [("mosquitto", "4"), ("mosquitto", "5"), ("hivemq", "5")] {
        let broker = Broker::start(kind, &[]);
        let backlog = Backlog::new(&broker, &[("protocol_version", version)], &["f"]).await;
        backlog.change("a/#").await;
        broker.publish("a/c", "new", &["-q", "1"]);
        backlog.gate.wait_for_waiting(2).await;
        backlog.gate.open();
        backlog.wait_for_all("f").await;
        assert_eq!(backlog.gateway.ledger().calls().len(), QUEUED + 1, "each once");
        backlog.connector.wait_for_log("unsubscribed: ").await;
        // The narrow one is not subscribed any more: what is published now comes once.
        broker.publish("a/b", "last", &["-q", "1"]);
        let is_last = |calls: &Calls| answered(calls, "f").contains("last");
        backlog.gateway.ledger().wait_for("the last", is_last).await;
        backlog.connector.wait_for_metric("tributary_events_in_flight", 0).await;
        backlog.connector.wait_for_metric("tributary_mqtt_sessions", 1).await;
        if kind == "mosquitto" {
            let began_clean = |line: &str| {
                line.contains(&format!("as {}.", backlog.setup.id)) && line.contains(", c1, ")
            };
            broker.wait_for_log("the session's end", |log| log.lines().any(began_clean)).await;
        }
        assert_eq!(backlog.gateway.ledger().calls().len(), QUEUED + 2);
        assert_eq!(backlog.connector.metric("tributary_source_restarts_total"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_filter_to_another_gets_what_was_queued() {
    let broker = Broker::mosquitto(&[]);
    let backlog = Backlog::new(&broker, &[], &["f", "g"]).await;
    backlog.change("a/#").await;
    backlog.gate.open();
    backlog.wait_for_all("f").await;
    backlog.wait_for_all("g").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_that_is_taken_back_finds_what_was_queued() {
    let broker = Broker::mosquitto(&[]);
    let backlog = Backlog::new(&broker, &[("unmap_after", "60s")], &["f"]).await;
    backlog.change("c").await;
    backlog.gate.open();
    backlog.connector.wait_for_metric("tributary_mqtt_sessions", 1).await;
    broker.publish("a/b", "meanwhile", &["-q", "1"]);
    backlog.gateway.deploy(Function::named("f").topic("a/b"));
    backlog.wait_for_all("f").await;
    let meanwhile = |calls: &Calls| answered(calls, "f").contains("meanwhile");
    backlog.gateway.ledger().wait_for("what came meanwhile", meanwhile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_was_left_is_emptied_over_another_connection_too() {
    let mut broker = Broker::mosquitto(&[]);
    let backlog = Backlog::new(&broker, &[], &["f"]).await;
    backlog.change("a/#").await;
    broker.wait_for_log("UNSUBSCRIBE", |log| log.contains("Received UNSUBSCRIBE")).await;
    broker.kill().await;
    backlog.connector.wait_unready("broker").await;
    broker.restart();
    backlog.gate.open();
    backlog.wait_for_all("f").await;
}
