//! The log is not what it was: retention has deleted the head, or the topic is another.

use integration::{Connector, Record, until};

use super::scene::Scene;

fn numbered(numbers: std::ops::Range<usize>) -> impl Iterator<Item = Record> {
    numbers.map(|number| Record::of(number.to_string()))
}

fn called(scene: &Scene) -> Vec<String> {
    scene.gateway.ledger().calls().iter().map(dev_gateway::Call::text).collect()
}

async fn out_of_range(connector: &Connector) -> f64 {
    connector.metrics().await.sum("tributary_kafka_out_of_range_total", &[])
}

#[tokio::test]
async fn a_head_deleted_by_retention_while_nobody_ran_is_counted() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("expired", 1).await;
    scene.deploy("reader", &topic);
    scene.broker.produce_all(&topic, numbered(0..2)).await;
    let launch = scene.connector(&[&topic]);
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 2).await;
    assert_eq!(out_of_range(&connector).await, 0.0);
    connector.end().await;

    scene.broker.produce_all(&topic, numbered(2..10)).await;
    scene.broker.delete_before(&topic, 0, 6).await;
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 10).await;
    assert_eq!(called(&scene), ["0", "1", "6", "7", "8", "9"]);
    assert_eq!(out_of_range(&connector).await, 1.0);
    let line = connector.line("records are lost").await;
    assert!(line.contains("ERROR") && line.contains("committed=2 first=6 end=10"), "{line}");
    connector.end().await;
}

#[tokio::test]
async fn what_retention_deletes_while_it_is_held_is_counted_as_well() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("held-too-long", 1).await;
    scene.broker.produce_all(&topic, numbered(0..10)).await;
    let connector = scene.connector(&[&topic]).ready().await;
    let held = |metrics: &integration::metrics::Metrics| {
        metrics.sum("tributary_kafka_head_age_seconds", &[]) > 0.0
    };
    connector.metrics_until("the head to be held", held).await;
    scene.broker.delete_before(&topic, 0, 6).await;

    // The head is in hand, so it is saved; what is between is gone.
    scene.deploy("late", &topic);
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 10).await;
    assert_eq!(called(&scene), ["0", "6", "7", "8", "9"]);
    assert_eq!(out_of_range(&connector).await, 1.0);
    connector.ready().await;
    connector.end().await;
}

/// A group that has read everything is told from now on to read what is committed alone.
#[tokio::test]
async fn a_commit_behind_an_open_transaction_is_not_out_of_range() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("ahead", 1).await;
    scene.deploy("reader", &topic);
    scene.broker.produce_all(&topic, numbered(0..3)).await;
    let open = scene.broker.transaction(&topic, numbered(3..6).collect()).await;
    scene.broker.produce_all(&topic, numbered(6..9)).await;
    let heedless = scene.connector(&[&topic]).set("isolation_level", "read_uncommitted");
    let heedless = heedless.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 9).await;
    heedless.end().await;

    let connector = scene.connector(&[&topic]).ready().await;
    let joined = |metrics: &integration::metrics::Metrics| {
        metrics.sum("kafka_connector_consumer_group_connect", &[]) > 0.0
    };
    connector.metrics_until("its partition to be begun", joined).await;
    open.end(true).await;
    scene.broker.produce_all(&topic, numbered(10..11)).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 11).await;
    assert_eq!(called(&scene), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "10"]);
    assert_eq!(out_of_range(&connector).await, 0.0);
    connector.end().await;
}

/// As after an unclean election: the log ends before what was committed.
#[tokio::test]
async fn a_log_that_ends_before_the_commit_is_read_anew_and_counted() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("truncated", 1).await;
    scene.deploy("reader", &topic);
    scene.broker.produce_all(&topic, numbered(0..3)).await;
    scene.broker.commit(&scene.group, &topic, 0, 50).await;
    let connector = scene.connector(&[&topic]).ready().await;
    scene.gateway.ledger().wait_for("all there is", |calls| calls.well().count() == 3).await;
    assert_eq!(called(&scene), ["0", "1", "2"]);
    assert_eq!(out_of_range(&connector).await, 1.0);
    let line = connector.line("committed=50").await;
    assert!(line.contains("ERROR") && line.contains("first=0 end=3"), "{line}");
    until(
        "the commit to be where the log ends",
        async || scene.broker.committed(&scene.group, &topic).await,
        |committed| committed.get(&0).is_some_and(|committed| committed.offset == 3),
    )
    .await;
    connector.end().await;
}

#[tokio::test]
async fn a_topic_created_anew_is_another_topic() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("anew", 1).await;
    scene.deploy("reader", &topic);
    scene.broker.produce_all(&topic, numbered(0..5)).await;
    let connector = scene.connector(&[&topic]).ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 5).await;

    // Under the running connector, and shorter than what was committed.
    scene.broker.delete_topic(&topic).await;
    connector.not_ready(&topic).await;
    until("the topic to be gone", async || scene.broker.partitions(&topic).await, |n| *n == 0)
        .await;
    scene.broker.create_topic(&topic, 1, &[]).await;
    scene.broker.produce_all(&topic, ["a", "b", "c"].map(Record::of)).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 3).await;
    assert_eq!(called(&scene), ["0", "1", "2", "3", "4", "a", "b", "c"]);
    connector.ready().await;
    connector.end().await;
}
