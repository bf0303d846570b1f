//! From a message to a call, and what becomes of the message then.

use std::time::Duration;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;
use dev_gateway::{Fault, Gate};
use serde_json::json;

use crate::proxy::{Act, Proxy, accept_all, first_delete_is_void, refuse_all};
use crate::support::{Setup, standard, text};

#[tokio::test]
async fn a_message_is_delivered_once_and_deleted() {
    let (queue, gateway) = standard("hello").await;
    let connector = Setup::new(&gateway).ready().await;
    let id = queue.send("hello").await;
    queue.wait_until_empty().await;
    let calls = gateway.ledger().calls();
    let [call] = &calls[..] else { panic!("{} calls", calls.len()) };
    assert_eq!(call.text(), "hello");
    assert_eq!(call.topic.as_deref(), Some(&*queue.name));
    assert_eq!(call.event_id.as_deref(), Some(&*format!("sqs:{id}")));
    assert_eq!(call.attempt, Some(1));
    assert_eq!(call.header("x-sqs-message-id"), Some(&*id));
    assert_eq!(call.header("x-sqs-queue-url"), Some(&*queue.url));
    assert_eq!(call.header("x-sqs-receive-count"), Some("1"));
    assert_eq!(call.header("x-connector"), Some("sqs-connector"));
    assert_eq!(call.header("content-type"), Some("text/plain"));
    assert_eq!(connector.came("delivered").await, 1);
    connector.stop().await;
}

#[tokio::test]
async fn a_failed_call_is_repeated_by_a_later_delivery() {
    let (queue, gateway) = standard("retry").await;
    gateway.fault("f", Fault::status(500).times(2));
    let connector = Setup::new(&gateway).ready().await;
    queue.send("again").await;
    queue.wait_until_empty().await;
    let calls = gateway.ledger().calls();
    let statuses: Vec<_> = calls.iter().map(|c| c.ended.as_ref().unwrap().status).collect();
    assert_eq!(statuses, [500, 500, 200]);
    let attempts: Vec<_> = calls.iter().map(|c| c.attempt.unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3]);
    // The wait was the broker's: each attempt is a delivery of its own.
    let counts: Vec<_> = calls.iter().map(|c| c.header("x-sqs-receive-count").unwrap()).collect();
    assert_eq!(counts, ["1", "2", "3"]);
    assert_eq!((connector.came("released").await, connector.came("delivered").await), (2, 1));
    connector.stop().await;
}

#[tokio::test]
async fn bodies_and_attributes_arrive_as_they_are() {
    let (queue, gateway) = standard("bytes").await;
    let connector = Setup::new(&gateway).with("content_type", "message").ready().await;
    let largest = "x".repeat((256 << 10) - 100);
    let odd = "\u{fffd}\t\r\nzwölf \u{1f600} \"quotes\" <&>";
    let binary = MessageAttributeValue::builder().data_type("Binary.gif");
    let binary = binary.binary_value(Blob::new([0_u8, 1, 255])).build().unwrap();
    queue.send(&largest).await;
    queue.send(" ").await;
    let attributes = [
        ("Content-Type", text("application/json")),
        ("plain", text("value")),
        ("umlaut", text("zwölf\nZeilen")),
        ("bytes", binary),
        // Poses as what the connector says itself.
        ("Message-ID", text("forged")),
    ];
    queue.send_with(odd, attributes).await;
    queue.wait_until_empty().await;
    let calls = gateway.ledger().calls();
    let of = |body: &str| calls.iter().find(|call| call.text() == body).expect("called with it");
    assert_eq!(of(&largest).body_length, largest.len());
    assert_eq!(of(" ").header("content-type"), Some("text/plain"));
    let call = of(odd);
    assert_eq!(call.header("content-type"), Some("application/json"));
    assert_eq!(call.header("x-sqs-plain"), Some("value"));
    assert_eq!(call.header("x-sqs-umlaut-enc"), Some("b64"));
    assert_eq!(call.header("x-sqs-bytes"), Some("AAH/"));
    assert_eq!(call.header("x-sqs-header-message-id"), Some("forged"));
    assert_ne!(call.header("x-sqs-message-id"), Some("forged"));
    connector.stop().await;
}

/// What the test's broker would not send: SQS takes up to 1 MiB, and a client may find no body.
#[tokio::test]
async fn bodies_of_any_length_arrive() {
    let (queue, gateway) = standard("lengths").await;
    let mut bodies = vec![String::new(), "x".repeat(1 << 20)];
    let proxy = Proxy::start(move |asked| match &*asked.action {
        "ReceiveMessage" => match bodies.pop() {
            Some(body) => {
                let id = format!("of-{}", body.len());
                let message = json!({ "MessageId": id, "ReceiptHandle": id, "Body": body });
                Act::Answer(200, json!({ "Messages": [message] }))
            }
            None => Act::Pass,
        },
        "DeleteMessageBatch" => accept_all(asked),
        _ => Act::Pass,
    })
    .await;
    let setup = Setup::new(&gateway).through(&proxy).with("topics", &queue.name);
    let connector = setup.ready().await;
    gateway.ledger().wait_for("both", |calls| calls.well().count() == 2).await;
    let mut lengths: Vec<_> = gateway.ledger().calls().iter().map(|it| it.body_length).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 1 << 20]);
    connector.wait_for("both to be done", async || connector.came("delivered").await == 2).await;
    connector.stop().await;
}

#[tokio::test]
async fn a_delete_that_fails_calls_nothing_again() {
    let (queue, gateway) = standard("delete").await;
    let mut refusals = 3;
    let proxy = Proxy::start(move |asked| {
        if asked.action == "DeleteMessageBatch" && refusals > 0 {
            refusals -= 1;
            // One refused entry by entry, one as a whole, one that was done without our hearing it.
            return match refusals {
                2 => refuse_all(asked, "InternalError", false),
                1 => Act::Close,
                _ => Act::Swallow,
            };
        }
        Act::Pass
    })
    .await;
    let connector = Setup::new(&gateway).through(&proxy).ready().await;
    queue.send("once").await;
    queue.wait_until_empty().await;
    connector
        .wait_for("the delete to be confirmed", async || {
            proxy.asked("DeleteMessageBatch").len() >= 4
        })
        .await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    connector.wait_until_ready().await;
    connector.stop().await;
}

#[tokio::test]
async fn a_void_receipt_is_given_up_and_the_redelivery_deleted() {
    let (queue, gateway) = standard("void").await;
    let proxy = first_delete_is_void().await;
    let setup = Setup::new(&gateway).through(&proxy);
    let connector = setup.with("visibility_timeout", "2s").ready().await;
    queue.send("once").await;
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    assert_eq!((connector.came("delivered").await, connector.came("repeated").await), (1, 1));
    let stale = format!("tributary_sqs_stale_handles_total{{queue=\"{}\"}}", queue.name);
    assert_eq!(connector.metric(&stale).await, 1);
    connector.stop().await;
}

#[tokio::test]
async fn draining_lets_running_calls_end_and_gives_back_the_rest() {
    let (queue, gateway) = standard("drain").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let setup = Setup::new(&gateway).with("function_concurrency", "2");
    let connector = setup.ready().await;
    queue.send_all((0..4).map(|n| n.to_string())).await;
    gate.wait_for_waiting(2).await;
    connector
        .wait_for("the others to wait", async || {
            connector.metric("tributary_events_in_flight").await == 4
        })
        .await;
    connector.terminate();
    // Those that wait for their turn go back at once, though they were lent for 30 s.
    connector.wait_for("two to be given back", async || queue.counts().await == (2, 2)).await;
    gate.open();
    assert_eq!(connector.ended().await, 0);
    assert_eq!(queue.counts().await, (2, 0));
    assert_eq!(gateway.ledger().calls().len(), 2);
}

#[tokio::test]
async fn calls_that_outlast_the_drain_are_cut_and_given_back() {
    let (queue, gateway) = standard("cut").await;
    gateway.fault("f", Fault::hang());
    let setup = Setup::new(&gateway).with("drain_timeout", "3s").with("upstream_timeout", "1m");
    let connector = setup.ready().await;
    queue.send("stuck").await;
    gateway.ledger().wait_for("the call", |calls| calls.running() == 1).await;
    connector.terminate();
    assert_eq!(connector.ended().await, 1);
    assert_eq!(queue.counts().await, (1, 0));
    gateway.ledger().wait_for_within(Duration::from_secs(5), "its end", |c| c.running() == 0).await;
}
