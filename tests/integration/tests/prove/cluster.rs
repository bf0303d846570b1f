//! The same promise while the brokers of a cluster of three are killed, restarted and frozen.

use std::path::PathBuf;
use std::time::Duration;

use integration::kafka::Cluster;
use integration::{Broker, until};
use ledger_checker::plan::Ordering;
use tokio::time::{sleep, timeout};

use crate::feed::LANES;
use crate::scale::Scale;
use crate::stage::Stage;
use crate::{LATENCY_MS, judge};

/// How long a broker is frozen.
const FROZEN: Duration = Duration::from_secs(60);

/// More than can be called meanwhile; what is not is never produced.
const RECORDS: usize = 400_000;

/// How often the leader changes, unless `CHANGES` says otherwise.
const CHANGES: usize = 50;
/// How long calls take then: so long that there are records for all of it.
const SLOW_MS: (u64, u64) = (20, 400);
/// How long one change may take on a busy machine.
const CHANGE: Duration = Duration::from_secs(90);

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour: make prove-leaders"]
async fn nothing_is_lost_when_leaders_change_again_and_again() {
    let changes = std::env::var("CHANGES").unwrap_or_default();
    let changes = if changes.is_empty() { CHANGES } else { changes.parse().expect("a number") };
    let run = async {
        let cluster = Cluster::start("leaders").await;
        judge(leaders_change(&cluster, changes).await).await;
    };
    let limit = CHANGE * u32::try_from(changes).expect("a few");
    assert!(timeout(limit, run).await.is_ok(), "not done within {limit:?}");
}

/// Kills the leader of one partition after the other, and each time lets it come back.
async fn leaders_change(cluster: &Cluster, changes: usize) -> PathBuf {
    let scale = &Scale::FULL;
    let mut stage =
        two_replicas("leaders of a cluster of three change", cluster, scale, SLOW_MS).await;
    let topic = stage.topic().to_owned();
    for partition in (0..LANES).cycle().take(changes) {
        let partition = i32::try_from(partition).expect("there are few");
        let leader = async || cluster.leader(&topic, partition).await;
        stage.hurt_brokers("leader killed", scale, killed(cluster, &topic, leader)).await;
    }
    stage.progress(scale.life).await;
    stage.no_more();
    stage.finish().await
}

/// Two connectors that share the partitions, and call.
async fn two_replicas(
    name: &'static str,
    cluster: &Cluster,
    scale: &Scale,
    latency_ms: (u64, u64),
) -> Stage {
    let brokers = cluster.all().clone();
    let mut stage = Stage::open(name, brokers, RECORDS, scale, Ordering::Key, false).await;
    stage.functions_answer(latency_ms).await;
    // The session that members have by default. No function hangs here, so no call is given up: on a busy machine the
    // answer to one might be late.
    let settings = [("session_timeout", "10s"), ("upstream_timeout", "60s")];
    let first = stage.start(&settings).await;
    let second = stage.start(&settings).await;
    stage.both_call(&first, &second, scale.life).await;
    stage
}

async fn brokers_fail(cluster: &Cluster, scale: &Scale) -> PathBuf {
    let mut stage =
        two_replicas("brokers of a cluster of three fail", cluster, scale, LATENCY_MS).await;
    let topic = stage.topic().to_owned();

    let leader = async || cluster.leader(&topic, 0).await;
    stage.hurt_brokers("leader killed", scale, killed(cluster, &topic, leader)).await;

    stage.hurt_brokers("all restarted one by one", scale, one_by_one(cluster, &topic)).await;

    let leader = cluster.leader(&topic, 0).await.expect("all is well");
    stage.hurt_brokers("leader frozen for 60 s", scale, frozen(cluster, leader, &topic)).await;

    let group = stage.group().to_owned();
    let coordinator = async || cluster.coordinator(&group).await;
    stage.hurt_brokers("coordinator killed", scale, killed(cluster, &topic, coordinator)).await;

    stage.progress(scale.life).await;
    stage.no_more();
    stage.finish().await
}

/// Kills the node that is said to lead, and starts it again once another does.
async fn killed<'a>(cluster: &Cluster, topic: &str, leader: impl AsyncFn() -> Option<&'a Broker>) {
    let node = leader().await.expect("all is well");
    node.kill();
    let now = async || leader().await.map(|leader| leader.address().to_owned());
    let other = |now: &Option<String>| now.as_ref().is_some_and(|now| now != node.address());
    until("another leader", now, other).await;
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
