//! What `ordering` promises, and what it does not hold up.

use std::collections::BTreeMap;
use std::time::Duration;

use dev_gateway::{Call, Fault, Gate};
use integration::Record;

use super::scene::Scene;

/// Ten keys, ten records each, in turns, on two partitions.
fn records() -> impl Iterator<Item = Record> {
    (0..100).map(|n| Record::of(n.to_string()).key(format!("key-{}", n % 10)).partition(n % 2))
}

/// Asserts that calls of equal group ran one after the other, in the order of their offsets.
fn assert_in_order<G: Ord + std::fmt::Debug>(calls: &[Call], group: impl Fn(&Call) -> G) {
    let mut groups = BTreeMap::<G, Vec<&Call>>::new();
    for call in calls {
        groups.entry(group(call)).or_default().push(call);
    }
    for (group, calls) in groups {
        for pair in calls.windows(2) {
            let offsets = (pair[0].offset, pair[1].offset);
            assert!(offsets.0.is_some() && offsets.0 < offsets.1, "{group:?}: {offsets:?}");
            assert!(!pair[0].overlaps(pair[1]), "{group:?}: {offsets:?} at the same time");
        }
    }
}

#[tokio::test]
async fn a_partition_goes_one_by_one() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("by-partition", 2).await;
    scene.deploy("one-by-one", &topic);
    // Failures now and then: a retry must not let the next one by.
    let failing = Fault::mix([(0.2, Fault::status(500))]).seed(3);
    scene.gateway.fault("one-by-one", failing.delay(Duration::from_millis(1)));
    scene.broker.produce_all(&topic, records()).await;
    let connector = scene.connector(&[&topic]).set("ordering", "partition").ready().await;
    scene.gateway.ledger().wait_for("100 calls", |calls| calls.well().count() == 100).await;
    let well: Vec<_> =
        scene.gateway.ledger().calls().into_iter().filter(Call::answered_well).collect();
    assert_in_order(&well, |call| call.partition);
    for call in scene.gateway.ledger().calls().windows(2) {
        assert!(call[0].partition != call[1].partition || !call[0].overlaps(&call[1]));
    }
    connector.end().await;
}

#[tokio::test]
async fn keys_go_one_by_one_and_side_by_side() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("by-key", 2).await;
    scene.deploy("keyed", &topic);
    let gate = Gate::closed();
    scene.gateway.fault("keyed", Fault::gate(&gate).times(10).then(Fault::none()));
    scene.broker.produce_all(&topic, records()).await;
    let launch =
        scene.connector(&[&topic]).set("ordering", "key").set("function_concurrency", "64");
    let connector = launch.ready().await;
    // The first of each key, all at once, and no second one.
    gate.wait_for_waiting(10).await;
    let received = |metrics: &integration::metrics::Metrics| metrics.received() == 100;
    connector.metrics_until("all to be received", received).await;
    let running = scene.gateway.ledger().calls();
    let mut keys: Vec<_> = running.iter().map(|call| call.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((running.len(), keys.len()), (10, 10));
    gate.open();
    scene.gateway.ledger().wait_for("100 calls", |calls| calls.well().count() == 100).await;
    assert_in_order(&scene.gateway.ledger().calls(), |call| call.key.clone());
    connector.end().await;
}

#[tokio::test]
async fn records_without_a_key_are_one_key_of_their_partition() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("no-key", 2).await;
    scene.deploy("keyless", &topic);
    scene.gateway.fault("keyless", Fault::slow(Duration::from_millis(1)));
    let records = (0..60).map(|n| Record::of(n.to_string()).partition(n % 2));
    scene.broker.produce_all(&topic, records).await;
    let connector = scene.connector(&[&topic]).set("ordering", "key").ready().await;
    scene.gateway.ledger().wait_for("60 calls", |calls| calls.well().count() == 60).await;
    assert_in_order(&scene.gateway.ledger().calls(), |call| call.partition);
    connector.end().await;
}

#[tokio::test]
async fn without_order_equal_keys_go_side_by_side() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("no-order", 1).await;
    scene.deploy("unordered", &topic);
    let gate = Gate::closed();
    scene.gateway.fault("unordered", Fault::gate(&gate));
    let records = (0..30).map(|n| Record::of(n.to_string()).key("the same"));
    scene.broker.produce_all(&topic, records).await;
    let connector = scene.connector(&[&topic]).set("ordering", "none").ready().await;
    // As many as one function is called at a time.
    gate.wait_for_waiting(10).await;
    gate.open();
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 30).await;
    assert_eq!(scene.gateway.ledger().calls().len(), 30);
    connector.end().await;
}
