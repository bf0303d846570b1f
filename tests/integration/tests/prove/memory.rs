//! A gigabyte of large records waits for a function that does not answer, and the connector has 128 MiB.

use std::time::{Duration, Instant};

use integration::metrics::Metrics;
use integration::process::MemoryLimit;
use integration::{Broker, Gateway, Launch, Record, process, unique};
use serde_json::json;
use tokio::time::sleep;

const RECORDS: usize = 1_000;
const PARTITIONS: usize = 6;
const RECORD_BYTES: usize = 1_000_000;
const LIMIT: u64 = 128 * 1024 * 1024;
/// How long the function does not answer: several times as long as it takes to fetch what may be held.
const STOPPED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove"]
async fn a_backlog_of_large_records_fits_into_128_mib() {
    let broker = Broker::shared().await;
    let topic = broker.topic("large", i32::try_from(PARTITIONS).expect("few")).await;
    let gateway = Gateway::start(None).await;
    gateway.deploy("stopped", &topic).await;
    gateway.fault("stopped", &json!({ "do": "hang" })).await;
    // No two alike, so that whatever compresses on the way gains nothing.
    for portion in 0..RECORDS / 50 {
        let records = (0..50).map(|number| {
            let number = portion * 50 + number;
            let partition = i32::try_from(number % PARTITIONS).expect("few");
            Record::of(payload(number)).key(number.to_string()).partition(partition)
        });
        broker.produce_all(&topic, records).await;
    }

    let group = unique("large");
    let connector = Launch::new("kafka")
        .set("broker_hosts", broker.address())
        .set("group", &group)
        .set("gateway_url", gateway.url())
        .set("ordering", "key")
        .set("max_retry_attempts", "-1")
        .set("upstream_timeout", "10s")
        .set("print_response", "false")
        .start()
        .await;
    let pid = connector.pid();
    let limited = MemoryLimit::on(pid, LIMIT);
    println!(
        "128 MiB are {}",
        if limited.is_some() {
            "all it is given"
        } else {
            "not enforced: no control group can be made"
        }
    );
    connector.line("partitions assigned").await;
    let until = Instant::now() + STOPPED;
    while Instant::now() < until {
        sleep(STOPPED / 6).await;
        let now = process::resident(pid).expect("it runs");
        println!("{} begun, {} MiB resident", gateway.begun().await, now >> 20);
    }

    gateway.fault("stopped", &json!({})).await;
    let all = u64::try_from(RECORDS).expect("few");
    let mut delivered = 0;
    // However slow the machine: as long as it gets on.
    while delivered < all {
        let more = |metrics: &Metrics| metrics.came("delivered") > delivered;
        delivered = connector.metrics_until("more to be delivered", more).await.came("delivered");
    }
    for partition in 0..PARTITIONS {
        let end = RECORDS / PARTITIONS + usize::from(partition < RECORDS % PARTITIONS);
        let (partition, end) = (i32::try_from(partition), i64::try_from(end));
        let (partition, end) = (partition.expect("few"), end.expect("few"));
        broker.wait_for_commit(&group, &topic, partition, end).await;
    }
    let peak = process::peak_resident(pid).expect("it runs");
    println!("peak resident memory: {:.1} MiB", peak as f64 / 1_048_576.0);
    assert_eq!(connector.count("partitions assigned"), 1, "no rebalance");
    assert_eq!(connector.count("partitions lost"), 0);
    assert_eq!(delivered, all, "none is called twice");
    assert_eq!(limited.as_ref().map_or(0, MemoryLimit::kills), 0);
    assert!(peak < LIMIT, "{peak} bytes");
    connector.end().await;
    drop(limited);
    gateway.end().await;
}

/// A megabyte that is like no other.
fn payload(number: usize) -> Vec<u8> {
    use rand::rngs::StdRng;
    use rand::{RngCore as _, SeedableRng as _};
    let mut payload = vec![0; RECORD_BYTES];
    StdRng::seed_from_u64(number as u64).fill_bytes(&mut payload);
    payload
}
