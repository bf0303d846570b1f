//! Groups of FIFO queues.

use std::collections::HashMap;
use std::time::Duration;

use dev_gateway::{Calls, Fault, Gate};

use crate::proxy::{Act, Proxy, first_delete_is_void, refuse_all};
use crate::support::{Setup, fifo};

/// Checks that of each group nothing was called before what was sent before it was answered well.
fn check_order(calls: &Calls) {
    let mut next: HashMap<String, u32> = HashMap::new();
    for call in calls.iter() {
        let text = call.text();
        let (group, n) = text.split_once(':').unwrap();
        let next = next.entry(group.to_owned()).or_default();
        let n: u32 = n.parse().unwrap();
        assert_eq!(n, *next, "group {group}");
        if call.answered_well() {
            *next += 1;
        }
    }
}

#[tokio::test]
async fn groups_keep_their_order_through_failures() {
    let (queue, gateway) = fifo("order").await;
    let bad = Fault::mix([(0.3, Fault::status(500))]).seed(7);
    gateway.fault("f", bad.delay(Duration::from_millis(30)));
    let setup =
        Setup::new(&gateway).with("max_retry_attempts", "-1").with("max_retry_wait", "100ms");
    let connector = setup.ready().await;
    for n in 0..12 {
        for group in ["a", "b", "c", "d"] {
            queue.send_to_group(group, &format!("{group}:{n}")).await;
        }
    }
    queue.wait_until_empty().await;
    gateway.ledger().with(|calls| {
        check_order(calls);
        assert_eq!(calls.well().count(), 48);
        // Groups do not wait for each other.
        let overlap = calls.iter().any(|one| {
            calls.iter().any(|other| one.text()[..1] != other.text()[..1] && one.overlaps(other))
        });
        assert!(overlap);
    });
    connector.stop().await;
}

#[tokio::test]
async fn a_failing_head_does_not_burn_the_deliveries_of_its_followers() {
    let (queue, gateway) = fifo("head").await;
    gateway.fault("f", Fault::status(500).times(8));
    let setup = Setup::new(&gateway).with("visibility_timeout", "4s");
    let setup = setup.with("backoff", "exponential").with("initial_retry_wait", "500ms");
    // Before the connector runs, so that one receive brings them all.
    for n in 0..3 {
        queue.send_to_group("g", &format!("g:{n}")).await;
    }
    let connector = setup.ready().await;
    connector
        .wait_for("head and followers to be here", async || {
            connector.metric("tributary_events_in_flight").await == 3
        })
        .await;
    queue.wait_until_empty().await;
    gateway.ledger().with(|calls| {
        check_order(calls);
        assert_eq!(calls.iter().count(), 11);
        for call in calls.iter() {
            assert_eq!(call.header("x-sqs-receive-count"), Some("1"), "{}", call.text());
            assert_eq!(call.header("x-sqs-group"), Some("g"));
        }
        let attempts = calls.iter().take(9).map(|call| call.attempt.unwrap());
        assert!(attempts.eq(1..=9));
    });
    assert_eq!(connector.metric("tributary_events_received_total").await, 3);
    connector.stop().await;
}

#[tokio::test]
async fn a_follower_is_called_only_when_its_predecessor_is_deleted() {
    let (queue, gateway) = fifo("behind").await;
    let proxy = Proxy::start(|asked| match &*asked.action {
        "DeleteMessageBatch" => refuse_all(asked, "InternalError", false),
        _ => Act::Pass,
    })
    .await;
    for n in 0..2 {
        queue.send_to_group("g", &format!("g:{n}")).await;
    }
    let connector = Setup::new(&gateway).through(&proxy).start().await;
    connector.wait_until_unready("deletes").await;
    connector
        .wait_for("several deletes to fail", async || proxy.asked("DeleteMessageBatch").len() > 4)
        .await;
    assert_eq!(connector.metric("tributary_events_received_total").await, 2, "both are here");
    assert_eq!(gateway.ledger().calls().len(), 1, "the first is not deleted yet");
    proxy.script(|_| Act::Pass);
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().calls().len(), 2);
    connector.wait_until_ready().await;
    connector.stop().await;
}

#[tokio::test]
async fn behind_a_void_receipt_the_group_goes_back() {
    let (queue, gateway) = fifo("voided").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate).times(1));
    let proxy = first_delete_is_void().await;
    let setup = Setup::new(&gateway).through(&proxy);
    for n in 0..3 {
        queue.send_to_group("g", &format!("g:{n}")).await;
    }
    let connector = setup.with("visibility_timeout", "4s").ready().await;
    gate.wait_for_waiting(1).await;
    gate.open();
    queue.wait_until_empty().await;
    gateway.ledger().with(|calls| {
        check_order(calls);
        assert_eq!(calls.iter().count(), 3, "each once");
        let counts = calls.iter().map(|call| call.header("x-sqs-receive-count").unwrap());
        let counts: Vec<_> = counts.collect();
        assert_eq!(counts[0], "1");
        assert!(counts[1..].iter().all(|count| *count != "1"), "they went back: {counts:?}");
    });
    assert_eq!(connector.came("repeated").await, 1, "the first came again");
    connector.stop().await;
}
