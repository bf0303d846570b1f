//! What an operator is told of partitions, their heads, and the client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use integration::metrics::Metrics;
use integration::{Record, unique};

use super::scene::Scene;

const HOUR: u32 = 3_600;

#[tokio::test]
async fn a_held_head_is_seen_to_grow_old() {
    let scene = Scene::new().await;
    let topic = unique("measured");
    scene.broker.create_topic(&topic, 1, &[("retention.ms", "86400000")]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let hour_ago = i64::try_from((now - Duration::from_secs(HOUR.into())).as_millis()).unwrap();
    let records = (0..3).map(|number| Record::of(number.to_string()).at(hour_ago + number));
    scene.broker.produce_all(&topic, records).await;

    // Nobody is mapped: the partition is held.
    let connector = scene.connector(&[&topic]).ready().await;
    let of = |metrics: &Metrics, name: &str| {
        metrics.sum(&format!("tributary_kafka_{name}"), &[("topic", &topic)])
    };
    let held = |metrics: &Metrics| {
        metrics.sum("tributary_kafka_paused_lanes", &[("cause", "held")]) == 1.0
            && of(metrics, "commit_gap") == 3.0
            && of(metrics, "retention_seconds") == 86_400.0
    };
    let metrics = connector.metrics_until("the partition to be measured", held).await;
    let age = of(&metrics, "head_age_seconds");
    assert!((f64::from(HOUR)..f64::from(2 * HOUR)).contains(&age), "{age}");
    assert_eq!(metrics.sum("tributary_kafka_client_brokers", &[("state", "up")]), 1.0);
    assert!(metrics.sum("tributary_kafka_client_round_trip_seconds", &[]) > 0.0);
    assert_eq!(scene.gateway.ledger().calls().len(), 0);

    scene.deploy("measured", &topic);
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 3).await;
    let free = |metrics: &Metrics| {
        of(metrics, "head_age_seconds") == 0.0
            && of(metrics, "lag") == 0.0
            && of(metrics, "commit_gap") == 0.0
            && metrics.sum("tributary_kafka_paused_lanes", &[]) == 0.0
    };
    connector.metrics_until("nothing to wait any more", free).await;
    let called: Vec<_> = scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    assert_eq!(called, ["0", "1", "2"]);

    // By the names that dashboards have from upstream, without a counter's ending.
    let metrics = connector.metrics().await;
    let group = [("group", scene.group.as_str())];
    assert_eq!(metrics.sum("kafka_connector_consumer_group_connect", &group), 1.0);
    let member = [("group", scene.group.as_str()), ("topic", &topic), ("partition", "0")];
    assert_eq!(metrics.sum("kafka_connector_messages_consumed", &member), 3.0);
    assert_eq!(metrics.sum("kafka_connector_messages_offset", &member), 2.0);
    assert!(format!("{metrics:?}").contains("member_id=\"tributary-kafka-connector-"));
    connector.end().await;
}
