//! Everything at once: processes killed under load, the broker killed and restarted, the gateway
//! away, functions that fail. Nothing may be lost, groups keep their order, and what is called
//! again after having been answered well is bounded by what a killed process had in hand.
//!
//! The small size is part of every run; the full one takes minutes: `make prove-sqs`.

#![allow(clippy::print_stdout, reason = "it runs for minutes, and ends with its figures")]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use dev_gateway::{Call, Config, DevGateway, Fault, Function};

use crate::support::{Connector, PATIENCE, PrivateBroker, Queue, Setup, unique};

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    messages: usize,
    kills: usize,
    gateway_down: Duration,
}

const SMALL: Size = Size { messages: 1_000, kills: 4, gateway_down: Duration::from_secs(2) };
const FULL: Size = Size { messages: 20_000, kills: 20, gateway_down: Duration::from_secs(30) };
const CONCURRENCY: usize = 32;
const GROUPS: usize = 40;
const LEASE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_from_a_standard_queue() {
    chaos(false, SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_from_a_fifo_queue() {
    chaos(true, SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove-sqs"]
async fn nothing_is_lost_from_a_standard_queue_at_full_size() {
    chaos(false, FULL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove-sqs"]
async fn nothing_is_lost_from_a_fifo_queue_at_full_size() {
    chaos(true, FULL).await;
}

async fn chaos(fifo: bool, size: Size) {
    let began = Instant::now();
    let broker = PrivateBroker::up("elasticmq", if fifo { "chaos-fifo" } else { "chaos-standard" });
    let queue = if fifo {
        let attributes = [(QueueAttributeName::FifoQueue, "true")];
        let name = format!("{}.fifo", unique("chaos"));
        Queue::create(&broker.endpoint, &name, &attributes).await
    } else {
        Queue::create(&broker.endpoint, &unique("chaos"), &[]).await
    };
    let gateway = DevGateway::start(Config::default()).await.unwrap();
    gateway.deploy(Function::named("f").topic(&queue.name));
    let bad = [(0.1, Fault::status(500)), (0.1, Fault::status(503)), (0.1, Fault::reset())];
    let fault = Fault::mix(bad).seed(11);
    gateway.fault("f", fault.delay_between(Duration::from_millis(100), Duration::from_millis(300)));

    let setup = Setup::new(&gateway)
        .with("endpoint_url", &broker.endpoint)
        .with("function_concurrency", &CONCURRENCY.to_string())
        .with("max_retry_attempts", "-1")
        .with("initial_retry_wait", "50ms")
        .with("max_retry_wait", "500ms")
        .with("visibility_timeout", &format!("{}s", LEASE.as_secs()));
    // All of them before the first kill: on a busy machine connectors call faster than this sends, and
    // a queue that runs dry between two kills leaves no call to kill.
    queue.fill(0..size.messages, fifo.then_some(GROUPS)).await;
    let mut replicas = [setup.start().await, setup.start().await];
    let mut least_running = usize::MAX;
    for kill in 0..size.kills {
        let before = well(&gateway);
        let fresh = setup.start().await;
        let mut running = 0;
        gateway
            .ledger()
            .wait_for_within(Duration::from_secs(120), "progress, and calls to kill", |calls| {
                running = calls.running();
                calls.well().count() >= before + size.messages / size.kills / 4 && running >= 10
            })
            .await;
        std::mem::replace(&mut replicas[kill % 2], fresh).kill().await;
        least_running = least_running.min(running);
        if kill == size.kills / 3 || kill == 2 * size.kills / 3 {
            // ElasticMQ forgets the order of groups when it restarts (it delivers 12, 7, 9, 10, 6),
            // so the order is tested through an outage that it lives through.
            match fifo {
                true => {
                    broker.freeze();
                    // Longer than the leases last.
                    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
                    broker.go_on();
                }
                false => restart(&broker, &queue, &gateway, size.messages).await,
            }
        }
        if kill == size.kills / 2 {
            gateway.stop().await;
            tokio::time::sleep(size.gateway_down).await;
            gateway.restart().await.unwrap();
        }
    }
    queue.wait_until_empty_within(Duration::from_secs(600)).await;
    for replica in &replicas {
        println!(
            "delivered {}, repeated {}",
            replica.came("delivered").await,
            replica.came("repeated").await
        );
    }
    let calls = gateway.ledger().calls();
    let (repeated, most) = (check(&calls, size, fifo), most_repeated(size));
    let failed = calls.iter().filter(|call| !call.answered_well()).count();
    for replica in replicas {
        Connector::stop(replica).await;
    }
    let (outage, seconds) = (size.gateway_down.as_secs(), began.elapsed().as_secs());
    println!("| {} | |\n|---|---|", if fifo { "FIFO" } else { "standard" });
    println!("| messages, all answered well, queue empty | {} |", size.messages);
    println!(
        "| SIGKILLs, each with at least so many calls running | {}, {least_running} |",
        size.kills
    );
    println!("| the broker {} | 2 times |", if fifo { "frozen" } else { "restarted" });
    println!("| the gateway down | {outage} s |");
    println!("| calls, of them not answered well | {}, {failed} |", calls.len());
    println!("| called again after a good answer, at most | {repeated}, {most} |");
    println!("| time | {seconds} s |");
}

/// How many calls may be made for messages that had been answered well: what each killed process
/// had received, at most its window.
fn most_repeated(size: Size) -> usize {
    size.kills * 2 * CONCURRENCY
}

/// Restarts the server and waits until it has everything again: whatever was sent is in the queue,
/// or has been answered well, or both. What a server loses, connectors are not to be blamed for.
async fn restart(broker: &PrivateBroker, queue: &Queue, gateway: &DevGateway, sent: usize) {
    broker.restart();
    let mut missing = sent;
    let complete = async {
        while missing > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            // In this order: what is answered and deleted in between is counted twice, not never.
            let Ok((waiting, lent)) = queue.try_counts().await else { continue };
            let answered: HashSet<String> =
                gateway.ledger().with(|calls| calls.well().map(Call::text).collect());
            missing = sent.saturating_sub((waiting + lent) as usize + answered.len());
        }
    };
    if tokio::time::timeout(PATIENCE, complete).await.is_err() {
        panic!("the server came back from its restart without {missing} messages");
    }
}

fn well(gateway: &DevGateway) -> usize {
    gateway.ledger().with(|calls| calls.well().count())
}

/// Returns how many calls were made for messages that had been answered well before.
fn check(calls: &[Call], size: Size, fifo: bool) -> usize {
    let mut answered: HashMap<String, u64> = HashMap::new();
    let mut repeated = 0;
    let mut next: HashMap<String, usize> = HashMap::new();
    for call in calls {
        let text = call.text();
        let before = answered.get(&text).is_some_and(|at| *at <= call.started.monotonic_ns);
        repeated += usize::from(before);
        if fifo {
            let (group, n) = text.split_once(':').unwrap();
            let n: usize = n.parse().unwrap();
            let next = next.entry(group.to_owned()).or_default();
            // A follower begins when its predecessor is deleted; so what a killed process leaves
            // behind is at most one message of a group that was answered well.
            assert!(
                n == *next || n + 1 == *next,
                "group {group}: {n} called, {next} is next: {:#?}",
                history(calls, group)
            );
            if call.answered_well() && n == *next {
                *next += 1;
            }
        }
        if call.answered_well() {
            let at = call.ended.as_ref().unwrap().at.monotonic_ns;
            answered.entry(text).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
    }
    let body = |number: usize| match fifo {
        true => format!("{}:{}", number % GROUPS, number / GROUPS),
        false => number.to_string(),
    };
    let lost: Vec<String> =
        (0..size.messages).map(body).filter(|body| !answered.contains_key(body)).collect();
    assert!(lost.is_empty(), "{} never answered well: {lost:?}", lost.len());
    let most = most_repeated(size);
    assert!(repeated <= most, "{repeated} called again, {most} allowed");
    repeated
}

/// What happened to a group, one line for each call.
fn history(calls: &[Call], group: &str) -> Vec<String> {
    let of_group = calls.iter().filter(|call| call.text().starts_with(&format!("{group}:")));
    of_group
        .map(|call| {
            let millis = |at: u64| at / 1_000_000;
            let ended = call.ended.as_ref();
            format!(
                "{} from {:?} at {} ms, receive {}: {:?} at {:?} ms",
                call.text(),
                call.peer,
                millis(call.started.monotonic_ns),
                call.header("x-sqs-receive-count").unwrap_or_default(),
                ended.map(|end| (end.status, end.cause)),
                ended.map(|end| millis(end.at.monotonic_ns)),
            )
        })
        .collect()
}
