//! The same promise while the brokers of a cluster of three are killed, restarted and frozen.

use std::path::PathBuf;
use std::time::Duration;

use integration::kafka::Cluster;
use integration::{Broker, until};
use ledger_checker::plan::Ordering;
use tokio::time::{sleep, timeout};

use crate::scale::Scale;
use crate::stage::Stage;
use crate::{LATENCY_MS, judge};

/// How long a broker is frozen.
const FROZEN: Duration = Duration::from_secs(60);

/// More than can be called meanwhile; what is not is never produced.
const RECORDS: usize = 400_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove"]
async fn nothing_is_lost_on_a_cluster_whose_brokers_fail() {
    let scale = &Scale::FULL;
    let run = async {
        let cluster = Cluster::start("prove").await;
        // While the brokers still stand.
        judge(brokers_fail(&cluster, scale).await).await;
    };
    assert!(timeout(scale.limit, run).await.is_ok(), "not done within {:?}", scale.limit);
}

async fn brokers_fail(cluster: &Cluster, scale: &Scale) -> PathBuf {
    let mut stage = Stage::open(
        "brokers of a cluster of three fail",
        cluster.all().clone(),
        RECORDS,
        scale,
        Ordering::Key,
        false,
    )
    .await;
    stage.functions_answer(LATENCY_MS).await;
    // The session that members have by default. No function hangs here, so no call is given up: on a busy machine the
    // answer to one might be late.
    let settings = [("session_timeout", "10s"), ("upstream_timeout", "60s")];
    let first = stage.start(&settings).await;
    let second = stage.start(&settings).await;
    stage.both_call(&first, &second, scale.life).await;
    let topic = stage.topic().to_owned();

    let leader = cluster.leader(&topic, 0).await.expect("all is well");
    stage.hurt_brokers("leader killed", scale, killed(cluster, leader, &topic)).await;

    stage.hurt_brokers("all restarted one by one", scale, one_by_one(cluster, &topic)).await;

    let leader = cluster.leader(&topic, 0).await.expect("all is well");
    stage.hurt_brokers("leader frozen for 60 s", scale, frozen(cluster, leader, &topic)).await;

    let coordinator = cluster.coordinator(stage.group()).await.expect("all is well");
    stage.hurt_brokers("coordinator killed", scale, killed(cluster, coordinator, &topic)).await;

    stage.progress(scale.life).await;
    stage.no_more();
    stage.finish().await
}

/// Kills a node, and starts it again once others lead in its place.
async fn killed(cluster: &Cluster, node: &Broker, topic: &str) {
    node.kill();
    let leader = async || {
        let leader = cluster.leader(topic, 0).await;
        leader.map(|leader| leader.address().to_owned())
    };
    let other = |now: &Option<String>| now.as_ref().is_some_and(|now| now != node.address());
    until("another leader", leader, other).await;
    node.restart().await;
    cluster.whole(&[topic]).await;
}

/// Stops and starts every node, as an upgrade does: each when the one before it has caught up.
async fn one_by_one(cluster: &Cluster, topic: &str) {
    for node in cluster.nodes() {
        node.stop().await;
        node.restart().await;
        cluster.whole(&[topic]).await;
    }
}

/// Freezes a node: it answers nothing, and its connections stay.
async fn frozen(cluster: &Cluster, node: &Broker, topic: &str) {
    node.freeze();
    sleep(FROZEN).await;
    node.thaw();
    cluster.whole(&[topic]).await;
}
