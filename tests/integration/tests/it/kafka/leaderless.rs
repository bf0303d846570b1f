//! Partitions whose only broker is away.

use integration::kafka::Cluster;
use integration::{Broker, Record, until};

use super::scene::Scene;

/// The partition that loses its leader; the others keep theirs.
const SHUT: i32 = 2;

async fn produce(broker: &Broker, topic: &str, partitions: impl IntoIterator<Item = i32>) {
    let record = |partition: i32| Record::of(partition.to_string()).partition(partition);
    broker.produce_all(topic, partitions.into_iter().map(record)).await;
}

/// Kills the only broker of the partition.
async fn shut<'a>(cluster: &'a Cluster, topic: &str) -> &'a Broker {
    let broker = cluster.leader(topic, SHUT).await.expect("all is well");
    broker.kill();
    let leader = async || cluster.leader(topic, SHUT).await.is_some();
    until("the partition to be without a leader", leader, |is_led| !is_led).await;
    broker
}

#[tokio::test]
async fn a_partition_without_a_leader_holds_up_no_other() {
    let cluster = Cluster::start("leaderless").await;
    let scene = Scene::at(cluster.all().clone()).await;
    let topic = cluster.topic_without_copies("leaderless").await;
    scene.deploy("patient", &topic);
    produce(&scene.broker, &topic, 0..=SHUT).await;
    let committed = async |partition, offset| {
        scene.broker.wait_for_commit(&scene.group, &topic, partition, offset).await;
    };

    // Nothing is committed, so nobody can say where it begins.
    let away = shut(&cluster, &topic).await;
    let launch = scene.connector(&[&topic]).set("session_timeout", "10s");
    let connector = launch.start().await;
    committed(0, 1).await;
    committed(1, 1).await;
    connector.not_ready("kafka partitions").await;
    away.restart().await;
    committed(SHUT, 1).await;
    connector.ready().await;
    connector.end().await;

    // Where something is, it begins there as soon as it can be read.
    produce(&scene.broker, &topic, [SHUT]).await;
    let away = shut(&cluster, &topic).await;
    produce(&scene.broker, &topic, 0..SHUT).await;
    let connector = launch.start().await;
    committed(0, 2).await;
    committed(1, 2).await;
    away.restart().await;
    committed(SHUT, 2).await;
    connector.ready().await;
    let mut called: Vec<_> =
        scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    called.sort_unstable();
    assert_eq!(called, ["0", "0", "1", "1", "2", "2"]);
    connector.end().await;
}
