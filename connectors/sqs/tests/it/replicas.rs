//! Several connectors at one queue, and several functions of one.

use std::collections::HashMap;
use std::time::Duration;

use dev_gateway::{Fault, Function};

use crate::support::{PATIENCE, Queue, Setup, gateway};

#[tokio::test]
async fn of_two_functions_the_good_one_is_called_once() {
    let queue = Queue::standard("fanout").await;
    let gateway = gateway("good", &queue.name).await;
    gateway.deploy(Function::named("bad").topic(&queue.name));
    // The good one answers after the bad one has failed: by then the wait must not be stored.
    gateway.fault("good", Fault::slow(Duration::from_millis(300)));
    gateway.fault("bad", Fault::status(500).times(12).then(Fault::none()));
    let setup =
        Setup::new(&gateway).with("max_retry_attempts", "-1").with("visibility_timeout", "2s");
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

#[tokio::test]
async fn three_replicas_share_a_queue_and_two_go_on() {
    const MESSAGES: usize = 1_500;
    let queue = Queue::standard("shared").await;
    let gateway = gateway("f", &queue.name).await;
    gateway.fault("f", Fault::slow(Duration::from_millis(20)));
    let setup = Setup::new(&gateway);
    let replicas = [setup.ready().await, setup.ready().await, setup.ready().await];
    queue.send_all((0..MESSAGES).map(|n| n.to_string())).await;
    queue.wait_until_empty().await;
    let mut each: HashMap<String, u32> = HashMap::new();
    for call in gateway.ledger().calls() {
        *each.entry(call.text()).or_default() += 1;
    }
    assert_eq!(each.len(), MESSAGES);
    assert!(each.values().all(|calls| *calls == 1), "no fault, no duplicate");
    for replica in &replicas {
        let delivered = replica.came("delivered").await;
        assert!(delivered >= MESSAGES as u64 / 5, "one had only {delivered}");
    }

    let [killed, one, other] = replicas;
    killed.kill().await;
    gateway.ledger().forget();
    queue.send_all((0..100).map(|n| format!("again {n}"))).await;
    gateway
        .ledger()
        .wait_for_within(PATIENCE, "the others to finish", |calls| calls.well().count() >= 100)
        .await;
    one.stop().await;
    other.stop().await;
}
