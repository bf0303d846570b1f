//! The group protocol in which the broker shares the partitions out (KIP-848).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use dev_gateway::Calls;
use integration::{Broker, Record, unique, until};

use super::scene::Scene;

#[tokio::test]
async fn two_replicas_share_a_topic_by_the_brokers_word_and_nothing_is_lost() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("by-the-broker", 4).await;
    scene.deploy("shared", &topic);
    let launch =
        scene.connector(&[&topic]).set("group_protocol", "consumer").set("ordering", "key");
    let first = launch.ready().await;
    let second = launch.ready().await;
    let produced = AtomicUsize::new(0);
    let produce = async || {
        let from = produced.fetch_add(20, Ordering::Relaxed);
        let records =
            (from..from + 20).map(|n| Record::of(n.to_string()).key((n % 50).to_string()));
        scene.broker.produce_all(&topic, records).await;
    };

    // Partitions move to the second one, and back again, while records are called.
    let shared = async || {
        produce().await;
        second.metrics().await.received()
    };
    until("a share for the second", shared, |received| *received > 20).await;
    let listed = scene.broker.tool(&["groups", "--list", "--type", "consumer"]).await;
    assert!(listed.contains(&scene.group), "{listed}");
    produce().await;
    second.end().await;
    produce().await;

    let all = produced.into_inner();
    let called = |calls: &Calls| calls.well().map(|call| call.text()).collect::<BTreeSet<_>>();
    scene.gateway.ledger().wait_for("every record", |calls| called(calls).len() == all).await;
    let stored = scene.broker.read(&topic).await;
    for partition in 0..4 {
        let end = stored.iter().filter(|one| one.partition == partition).count();
        let end = i64::try_from(end).expect("few records");
        scene.broker.wait_for_commit(&scene.group, &topic, partition, end).await;
    }
    first.end().await;
}

#[tokio::test]
async fn a_broker_without_the_protocol_is_joined_the_classic_way() {
    let classic = ["group.coordinator.rebalance.protocols=classic"];
    let scene = Scene::at(Broker::private("classic", &classic).await).await;
    let topic = scene.broker.topic("classic", 1).await;
    scene.deploy("fallen-back", &topic);
    scene.broker.produce(&topic, Record::of(unique("record"))).await;
    let connector = scene.connector(&[&topic]).set("group_protocol", "consumer").start().await;
    connector.line("does not speak the group protocol consumer").await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    connector.ready().await;
    connector.end().await;
}
