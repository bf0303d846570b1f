//! Everything at once: processes killed under load, the broker killed and restarted, the gateway
//! away, functions that fail. What came of it is judged at the end, from the gateway's ledger, by
//! [`ledger_checker`].
//!
//! The small size is part of every run; the full one takes minutes: `make prove-sqs`.

#![allow(clippy::print_stdout, reason = "it runs for minutes, and ends with its figures")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use dev_gateway::{Call, Config, DevGateway, Fault, Function};
use ledger_checker::notes::Notes;
use ledger_checker::plan::{self, Broker, FaultKind, Ordering, Settling};

use crate::support::{Connector, PATIENCE, PrivateBroker, Queue, Setup, folder, unique};

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
/// An extension is asked for at half of it: as long as a busy machine may stand still without a fault to explain it.
const LEASE: Duration = Duration::from_secs(10);
/// So many calls run at least when a connector is killed.
const RUNNING: usize = 10;
const SEED: u64 = 11;

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
    let notes = notes(fifo, size);
    let config = Config { ledger: Some(notes.ledger()), ..Config::default() };
    let gateway = DevGateway::start(config).await.unwrap();
    gateway.deploy(Function::named("f").topic(&queue.name));
    let bad = [(0.1, Fault::status(500)), (0.1, Fault::status(503)), (0.1, Fault::reset())];
    let fault = Fault::mix(bad).seed(SEED);
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
    let mut run = Run { setup, notes };
    let mut replicas = [run.start().await, run.start().await];
    for kill in 0..size.kills {
        let before = well(&gateway);
        let fresh = run.start().await;
        // Whose connector it is may be waiting for a lease: it is the calls of all that run.
        let busy = |calls: &dev_gateway::Calls| {
            calls.well().count() >= before + size.messages / size.kills / 4
                && calls.running() >= RUNNING
        };
        gateway
            .ledger()
            .wait_for_within(Duration::from_secs(120), "progress, and calls to kill", busy)
            .await;
        let met = run.moment();
        let dead = std::mem::replace(&mut replicas[kill % 2], fresh);
        dead.connector.kill().await;
        run.note("SIGKILL", FaultKind::Kill, met, &dead.name);
        if kill == size.kills / 3 || kill == 2 * size.kills / 3 {
            let met = run.moment();
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
            // Leases that ended meanwhile may be the other replica's now.
            let how = if fifo { "broker frozen" } else { "broker restarted" };
            for replica in &replicas {
                run.note(how, FaultKind::Lose, met, &replica.name);
            }
        }
        if kill == size.kills / 2 {
            let met = run.moment();
            gateway.stop().await;
            for replica in &replicas {
                run.note("gateway down", FaultKind::GatewayOutage, met, &replica.name);
            }
            tokio::time::sleep(size.gateway_down).await;
            gateway.restart().await.unwrap();
        }
    }
    queue.wait_until_empty_within(Duration::from_secs(600)).await;
    run.notes.end(0).unwrap();
    for replica in replicas {
        replica.connector.stop().await;
    }
    let judgement = ledger_checker::judged(run.notes.folder()).unwrap();
    println!("{judgement}  all of it took {} s", began.elapsed().as_secs());
    assert!(judgement.kept(), "see {}", run.notes.folder().display());
}

/// Connectors, and what is written down of them.
struct Run {
    setup: Setup,
    notes: Notes,
}

struct Replica {
    name: String,
    connector: Connector,
}

impl Run {
    async fn start(&mut self) -> Replica {
        let (name, content_type) = self.notes.process().unwrap();
        let setup = self.setup.clone().with("content_type", &content_type);
        Replica { name, connector: setup.start().await }
    }

    fn moment(&self) -> u64 {
        self.notes.moment().unwrap()
    }

    /// That something was done to a replica, from a moment until now.
    fn note(&mut self, how: &str, kind: FaultKind, before: u64, process: &str) {
        let fault = plan::Fault::new(kind, before, self.moment()).of(process);
        self.notes.fault(plan::Fault { how: Some(how.to_owned()), ..fault }).unwrap();
    }
}

/// Begins the plan. All messages are known beforehand, and each is sent once.
fn notes(fifo: bool, size: Size) -> Notes {
    let run = plan::Run {
        name: if fifo { "SQS, FIFO" } else { "SQS, standard" }.to_owned(),
        seed: SEED,
        broker: Broker::Sqs,
        functions: vec!["f.openfaas-fn".to_owned()],
        ordering: if fifo { Ordering::Settled } else { Ordering::None },
        settling: Settling::Single { lease_ms: 0, travel_ms: plan::TRAVEL_MS },
        // What a connector receives at a time: twice what it calls.
        lane_window: 2 * CONCURRENCY as u64,
    };
    let mut notes = Notes::begin(&folder("chaos"), run).unwrap();
    let sent = (0..size.messages).map(|number| match fifo {
        true => {
            let group = (number % GROUPS).to_string();
            let body = format!("{group}:{}", number / GROUPS);
            (group, body)
        }
        false => (String::new(), number.to_string()),
    });
    notes.produced(sent).unwrap();
    notes
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
