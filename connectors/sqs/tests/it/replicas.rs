//! Several connectors at one queue, and several functions of one.

#![allow(clippy::print_stdout, reason = "who had how much is worth seeing")]

use std::collections::HashMap;
use std::time::Duration;

use dev_gateway::{DevGateway, Fault, Function, Gate};

use crate::support::{Queue, Setup, fifo, gateway, standard};

const LONG: Duration = Duration::from_secs(300);

#[tokio::test]
async fn of_two_functions_the_good_one_is_called_once() {
    let queue = Queue::standard("fanout").await;
    let gateway = gateway("good", &queue.name).await;
    gateway.deploy(Function::named("bad").topic(&queue.name));
    // The good one answers after the bad one has failed: by then the wait must not be stored.
    gateway.fault("good", Fault::slow(Duration::from_millis(300)));
    gateway.fault("bad", Fault::status(500).times(12).then(Fault::none()));
    let setup =
        Setup::new(&gateway).with("max_retry_attempts", "-1").with("visibility_timeout", "4s");
    let (one, other) = (setup.ready().await, setup.ready().await);
    queue.send_all((0..4).map(|n| n.to_string())).await;
    queue.wait_until_empty().await;
    gateway.ledger().with(|calls| {
        for n in 0..4 {
            let of = |function| calls.of(function).filter(|c| c.text() == n.to_string()).count();
            assert_eq!(of("good"), 1, "message {n}");
        }
        assert_eq!(calls.of("bad").count(), 16);
    });
    one.stop().await;
    other.stop().await;
}

/// Of the whole size in `make prove-sqs`.
const MESSAGES: usize = 10_000;
const FEWER: usize = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_share_a_standard_queue_and_two_go_on() {
    share(standard("shared").await, None, FEWER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_share_a_fifo_queue_and_two_go_on() {
    share(fifo("shared").await, Some(GROUPS), FEWER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove-sqs"]
async fn three_replicas_share_a_standard_queue_at_full_size() {
    share(standard("shared").await, None, MESSAGES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove-sqs"]
async fn three_replicas_share_a_fifo_queue_at_full_size() {
    share(fifo("shared").await, Some(GROUPS), MESSAGES).await;
}

/// More than the three can call at a time.
const GROUPS: usize = 100;
/// How many calls of a function run at a time unless somebody says otherwise.
const CONCURRENCY: usize = 10;

async fn share((queue, gateway): (Queue, DevGateway), groups: Option<usize>, messages: usize) {
    gateway.fault("f", Fault::slow(Duration::from_millis(20)));
    let setup = Setup::new(&gateway);
    let replicas = [setup.ready().await, setup.ready().await, setup.ready().await];
    queue.fill(0..messages, groups).await;
    queue.wait_until_empty_within(LONG).await;
    let each = calls_of_each(&gateway);
    assert_eq!(each.len(), messages);
    let again: Vec<_> = each.iter().filter(|(_, calls)| **calls > 1).collect();
    assert!(again.is_empty(), "no fault, no duplicate: {again:?}");
    let mut shares = Vec::new();
    for replica in &replicas {
        shares.push(replica.came("delivered").await);
    }
    println!("{messages} messages, groups: {groups:?}; each replica had {shares:?}");
    assert!(shares.iter().all(|share| share * 5 >= messages as u64), "{shares:?}");

    // One is killed while each of the three runs all the calls it may.
    gateway.ledger().forget();
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let more = messages / 5;
    queue.fill(messages..messages + more, groups).await;
    gate.wait_for_waiting(3 * CONCURRENCY).await;
    let [killed, one, other] = replicas;
    killed.kill().await;
    gate.open();
    queue.wait_until_empty_within(LONG).await;
    let each = calls_of_each(&gateway);
    assert_eq!(each.len(), more, "the others finished");
    let repeated: u32 = each.values().map(|calls| calls - 1).sum();
    assert!(repeated as usize <= 2 * CONCURRENCY, "{repeated}: more than the killed one had");
    one.stop().await;
    other.stop().await;
}

/// How often each message was called, by its body.
fn calls_of_each(gateway: &DevGateway) -> HashMap<String, u32> {
    let mut each = HashMap::new();
    for call in gateway.ledger().calls() {
        *each.entry(call.text()).or_default() += 1;
    }
    each
}
