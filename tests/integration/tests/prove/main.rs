//! The proof that nothing is lost: connectors are killed, joined and left by others, and cut off from their gateway,
//! under load, with functions that fail; then a program of its own judges what happened.
//!
//! The driver here breaks things and writes down what it did. It asserts nothing about the connector but that it gets
//! on; [`ledger_checker`] does all of that, in another process, from the gateway's ledger and from the broker.
//!
//! `make test` runs the small size, `make prove` the full one.

#![allow(clippy::print_stdout, reason = "it runs for minutes, and ends with a table")]

mod cluster;
mod feed;
mod memory;
mod scale;
mod stage;
mod tail;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration::{Broker, judged};
use ledger_checker::plan::{FaultKind, Ordering};
use tokio::time::timeout;

use scale::Scale;
use stage::{Setting, Stage};

/// How long functions take.
const LATENCY_MS: (u64, u64) = (1, 20);
/// How long a call may take; one that hangs does.
const UPSTREAM_TIMEOUT: &str = "2s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost() {
    prove(&Scale::SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove"]
async fn nothing_is_lost_at_full_size() {
    prove(&Scale::FULL).await;
}

/// Runs every part, one after the other, and has each judged.
async fn prove(scale: &Scale) {
    let began = Instant::now();
    let parts = async {
        judge(by_key(scale).await).await;
        judge(by_partition(scale).await).await;
        judge(with_letters(scale).await).await;
    };
    assert!(timeout(scale.limit, parts).await.is_ok(), "not done within {:?}", scale.limit);
    println!("all of it took {} s", began.elapsed().as_secs());
}

/// Kills, a stopped gateway, a second replica, failing functions; retries never end.
async fn by_key(scale: &Scale) -> PathBuf {
    let mut stage = Stage::open(
        "equal keys in order, retries without end",
        Broker::shared().await,
        scale.records,
        scale,
        Ordering::Key,
        false,
    )
    .await;
    stage.functions_answer(LATENCY_MS).await;
    let last = kills(&mut stage, scale, scale.kills).await;
    gateway_stops(&mut stage, scale).await;
    replicas(&mut stage, scale, &last).await;

    stage.say("30 % of the answers are 500, reset or never come");
    stage.functions_fail(LATENCY_MS).await;
    stage.finish().await
}

/// The same promise where a whole partition is one order.
async fn by_partition(scale: &Scale) -> PathBuf {
    let mut stage = Stage::open(
        "partitions in order",
        Broker::shared().await,
        scale.partition_records,
        scale,
        Ordering::Partition,
        false,
    )
    .await;
    stage.functions_answer(LATENCY_MS).await;
    // Six partitions and three functions: no more than 18 calls run, ever.
    let scale =
        &Scale { at_least_running: 6, at_least_unread: scale.at_least_unread / 2, ..*scale };
    kills(&mut stage, scale, 2).await;
    stage.functions_fail(LATENCY_MS).await;
    stage.finish().await
}

/// Failing functions and three retries: what fails four times is found among the dead letters.
async fn with_letters(scale: &Scale) -> PathBuf {
    let mut stage = Stage::open(
        "three retries, then dead letters",
        Broker::shared().await,
        scale.letters_records,
        scale,
        Ordering::Key,
        true,
    )
    .await;
    stage.functions_fail(LATENCY_MS).await;
    stage.start(&[]).await;
    stage.finish().await
}

/// Kills the connector again and again, and starts it again at once. Gives the process that lives in the end.
async fn kills(stage: &mut Stage, scale: &Scale, kills: usize) -> String {
    let mut process = stage.start(&[]).await;
    for number in 1..=kills {
        stage.say(&format!("kill {number} of {kills}"));
        stage.kill(&process, scale).await;
        // A static member that comes back gets its partitions back at once; whoever follows another kind of member gets
        // them when the broker has given up the dead one. Some of those keep their session for as long as by default.
        let settings: &[Setting<'_>] = match number % 5 {
            1..=3 => &[("group_instance_id", "the-first")],
            4 if scale.usual_session => &[("session_timeout", "10s")],
            _ => &[],
        };
        process = stage.start(settings).await;
    }
    stage.progress(scale.life).await;
    process
}

/// Stops the gateway for a while.
async fn gateway_stops(stage: &mut Stage, scale: &Scale) {
    stage.say(&format!("the gateway is down for {:?}", scale.gateway_down));
    stage.stop_gateway(scale).await;
    stage.progress(scale.life).await;
}

/// A second replica joins and leaves, once in good order, once by a kill.
async fn replicas(stage: &mut Stage, scale: &Scale, first: &str) {
    for kind in [FaultKind::Leave, FaultKind::Kill] {
        stage.say(&format!("a second replica joins, and goes by {kind:?}"));
        let second = stage.start(&[]).await;
        stage.both_call(first, &second, scale.life).await;
        match kind {
            FaultKind::Kill => stage.kill(&second, scale).await,
            _ => stage.terminate(&second).await,
        }
        stage.progress(scale.life).await;
    }
}

/// Has a run judged.
async fn judge(folder: PathBuf) {
    let (kept, said) = judged(&folder).await;
    println!("\n{said}");
    assert!(kept, "the checker says no; see {}", folder.display());
    // Some hundred megabytes. What failed is kept to be looked at.
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

/// How long between two looks at what goes on.
const TICK: Duration = Duration::from_millis(4);
