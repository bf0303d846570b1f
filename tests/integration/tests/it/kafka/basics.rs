//! Records reach functions, once, as they are.

use integration::Record;

use super::scene::Scene;

#[tokio::test]
async fn records_are_delivered_and_committed() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("basics", 2).await;
    scene.deploy("basics", &topic);
    let records = (0..100).map(|n| Record::of(n.to_string()).key(n.to_string()));
    scene.broker.produce_all(&topic, records).await;

    let connector = scene.connector(&[&topic]).ready().await;
    scene.gateway.ledger().wait_for("100 calls", |calls| calls.well().count() == 100).await;
    for (partition, end) in ends(&scene.broker.read(&topic).await) {
        scene.broker.wait_for_commit(&scene.group, &topic, partition, end).await;
    }
    let metrics = connector.metrics().await;
    assert_eq!((metrics.received(), metrics.came("delivered")), (100, 100));
    connector.end().await;
    assert_eq!(scene.gateway.ledger().calls().len(), 100);
}

fn ends(stored: &[integration::kafka::Stored]) -> std::collections::BTreeMap<i32, i64> {
    stored.iter().map(|one| (one.partition, one.offset + 1)).collect()
}
