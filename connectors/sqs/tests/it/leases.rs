//! Leases: extended while a message is worked on, ended when the queue says so.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use dev_gateway::{Fault, Gate};

use crate::proxy::{Act, Proxy, error, refuse_all};
use crate::support::{Queue, Setup, broker, gateway, standard, unique};

#[tokio::test]
async fn a_function_slower_than_the_lease_is_called_once() {
    let (queue, gateway) = standard("slow").await;
    gateway.fault("f", Fault::slow(Duration::from_secs(10)));
    let connector = Setup::new(&gateway).with("visibility_timeout", "4s").ready().await;
    queue.send("slow").await;
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    assert_eq!(connector.metric("tributary_events_received_total").await, 1, "it came once");
    connector.stop().await;
}

#[tokio::test]
async fn what_a_killed_process_had_is_called_by_the_next() {
    let (queue, gateway) = standard("killed").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let setup = Setup::new(&gateway).with("visibility_timeout", "2s");
    let connector = setup.ready().await;
    queue.send_all((0..5).map(|n| n.to_string())).await;
    gate.wait_for_waiting(5).await;
    connector.kill().await;
    gateway.clear_fault("f");
    gate.open();
    let connector = setup.ready().await;
    queue.wait_until_empty().await;
    let well: std::collections::BTreeSet<String> =
        gateway.ledger().with(|calls| calls.well().map(|call| call.text()).collect());
    assert_eq!(well.len(), 5);
    // The deliveries of the killed process count as attempts. There may be one more: the server
    // hands messages also to the long poll that the killed process had open.
    let attempts = gateway.ledger().with(|calls| calls.iter().filter_map(|c| c.attempt).max());
    assert!(attempts >= Some(2), "{attempts:?}");
    connector.stop().await;
}

#[tokio::test]
async fn nothing_is_called_on_a_lease_that_was_refused() {
    let (queue, gateway) = standard("refused").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let proxy = Proxy::start(|asked| match &*asked.action {
        "ChangeMessageVisibilityBatch" => refuse_all(asked, "ReceiptHandleIsInvalid", true),
        _ => Act::Pass,
    })
    .await;
    let connector = Setup::new(&gateway)
        .through(&proxy)
        .with("function_concurrency", "1")
        .with("max_messages", "1")
        .with("visibility_timeout", "4s")
        .ready()
        .await;
    queue.send("runs").await;
    gate.wait_for_waiting(1).await;
    queue.send("waits").await;
    let lost = "tributary_sqs_leases_lost_total{queue=\"".to_owned() + &queue.name + "\"}";
    connector.wait_for("both leases to be lost", async || connector.metric(&lost).await >= 2).await;
    // The running call goes on and was made once; the waiting one was given back un-called.
    assert!(connector.came("released").await >= 1);
    assert_eq!(gateway.ledger().calls().len(), 1);
    proxy.script(|_| Act::Pass);
    gate.open();
    queue.wait_until_empty().await;
    let calls = gateway.ledger().calls();
    for body in ["runs", "waits"] {
        assert_eq!(calls.iter().filter(|call| call.text() == body).count(), 1, "{body}");
    }
    connector.stop().await;
}

#[tokio::test]
async fn leases_that_may_not_be_changed_are_told() {
    let (queue, gateway) = standard("denied").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let proxy = Proxy::start(|asked| match &*asked.action {
        "ChangeMessageVisibilityBatch" => error("AccessDenied", "no such permission"),
        _ => Act::Pass,
    })
    .await;
    let setup = Setup::new(&gateway).through(&proxy).with("visibility_timeout", "4s");
    let connector = setup.ready().await;
    queue.send("x").await;
    connector.wait_until_unready("leases: AccessDenied: no such permission").await;
    gate.open();
    queue.wait_until_empty().await;
    // Nothing is lent any more, so nothing is wrong.
    connector.wait_until_ready().await;
    connector.stop().await;
}

/// But not that it lends for no time at all.
#[tokio::test]
async fn the_queue_can_say_how_long_it_lends() {
    for (says, asked_for) in [("30", 30), ("0", 1)] {
        let timeout = [(QueueAttributeName::VisibilityTimeout, says)];
        let queue = Queue::create(broker(), &unique("own"), &timeout).await;
        let gateway = gateway("f", &queue.name).await;
        let proxy = Proxy::start(|_| Act::Pass).await;
        let setup = Setup::new(&gateway).through(&proxy);
        let setup = setup.flag("-visibility-timeout=queue").flag("-max-messages=3");
        let connector = setup.ready().await;
        queue.send("x").await;
        queue.wait_until_empty().await;
        let asked = &proxy.asked("ReceiveMessage")[0].body;
        assert_eq!(
            (&asked["VisibilityTimeout"], &asked["MaxNumberOfMessages"]),
            (&asked_for.into(), &3.into())
        );
        connector.stop().await;
    }
}
