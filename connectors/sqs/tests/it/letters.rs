//! What becomes of messages that no function answers well.

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;
use dev_gateway::{Fault, Function};

use crate::proxy::{Act, Proxy, error};
use crate::support::{Queue, Setup, fifo, standard, text};

#[tokio::test]
async fn an_exhausted_message_goes_to_the_dead_letter_queue_with_all_it_had() {
    let (queue, gateway) = standard("letters").await;
    let dead = Queue::standard("dead").await;
    gateway.fault("f", Fault::status(500).body("broken"));
    let connector = Setup::new(&gateway)
        .with("dead_letter", &format!("queue:{}", dead.name))
        .with("max_retry_attempts", "1")
        .ready()
        .await;
    let number = MessageAttributeValue::builder().data_type("Number.int").string_value("7");
    let binary =
        MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new([0, 255]));
    let attributes = [("colour", text("red")), ("n", number.build().unwrap())];
    queue.send_with("körper", attributes).await;
    let letter = dead.receive().await;
    queue.wait_until_empty().await;
    assert_eq!(letter.body(), Some("körper"));
    let attributes = letter.message_attributes().unwrap();
    let of = |name: &str| attributes[name].string_value().unwrap_or_default().to_owned();
    assert_eq!(of("colour"), "red");
    assert_eq!((&*of("n"), attributes["n"].data_type()), ("7", "Number.int"));
    assert_eq!(of("X-Dead-Letter-Reason"), "exhausted");
    assert_eq!(of("X-Dead-Letter-Status"), "500");
    assert!(of("X-Dead-Letter-Function").starts_with('f'));
    assert!(of("X-Dead-Letter-Position").starts_with("sqs:"));
    assert_eq!(gateway.ledger().calls().len(), 2);

    // More attributes than leave room for notes one by one.
    let mut many: Vec<(String, _)> = (0..7).map(|n| (format!("a{n}"), text("x"))).collect();
    many.push(("bin".to_owned(), binary.build().unwrap()));
    queue.send_with("many", many.iter().map(|(name, value)| (&**name, value.clone()))).await;
    let letter = loop {
        let letter = dead.receive().await;
        if letter.body() == Some("many") {
            break letter;
        }
    };
    let attributes = letter.message_attributes().unwrap();
    assert_eq!(attributes.len(), 9);
    assert_eq!(attributes["bin"].binary_value().map(Blob::as_ref), Some(&[0, 255][..]));
    assert!(attributes["X-Dead-Letter"].string_value().unwrap().contains("Reason: exhausted"));
    connector.stop().await;
}

#[tokio::test]
async fn a_refused_message_is_stored_at_once() {
    let (queue, gateway) = standard("refused").await;
    let dead = Queue::standard("dead").await;
    gateway.fault("f", Fault::status(400));
    let setup = Setup::new(&gateway).with("dead_letter", &format!("queue:{}", dead.url));
    let connector = setup.ready().await;
    queue.send("bad").await;
    let letter = dead.receive().await;
    let reason = letter.message_attributes().unwrap()["X-Dead-Letter-Reason"].string_value();
    assert_eq!(reason, Some("refused"));
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    connector.stop().await;
}

#[tokio::test]
async fn a_redrive_policy_bounds_the_calls_and_names_the_place() {
    let (queue, gateway) = standard("redrive").await;
    let dead = Queue::standard("dead").await;
    queue.redrive(&dead.name, 3).await;
    gateway.fault("f", Fault::status(503));
    let connector = Setup::new(&gateway).ready().await;
    queue.send("thrice").await;
    let letter = dead.receive().await;
    let attributes = letter.message_attributes().unwrap();
    assert_eq!(attributes["X-Dead-Letter-Reason"].string_value(), Some("exhausted"));
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().calls().len(), 3);
    assert_eq!(connector.came("dead_lettered").await, 1);
    connector.stop().await;
}

#[tokio::test]
async fn where_we_may_not_send_the_queue_moves_the_message_itself() {
    let (queue, gateway) = standard("moved").await;
    let dead = Queue::standard("dead").await;
    queue.redrive(&dead.name, 2).await;
    gateway.fault("f", Fault::status(503));
    let proxy = Proxy::start(|asked| match &*asked.action {
        "SendMessage" => error("AccessDenied", "no sqs:SendMessage"),
        _ => Act::Pass,
    })
    .await;
    let setup = Setup::new(&gateway).through(&proxy);
    let connector = setup.ready().await;
    queue.send("twice").await;
    let letter = dead.receive().await;
    assert_eq!(letter.body(), Some("twice"));
    assert!(letter.message_attributes().is_none(), "the queue moved it as it was");
    assert_eq!(gateway.ledger().calls().len(), 2);
    assert_eq!((connector.came("released").await, connector.came("dropped").await), (2, 0));
    connector.wait_until_ready().await;
    connector.stop().await;
}

#[tokio::test]
async fn letters_of_a_fifo_queue_keep_their_group_and_each_function_has_its_own() {
    let (queue, gateway) = fifo("ordered").await;
    let dead = Queue::fifo("dead").await;
    gateway.deploy(Function::named("g").topic(&queue.name));
    gateway.fault("f", Fault::status(400));
    gateway.fault("g", Fault::status(400));
    let setup = Setup::new(&gateway).with("dead_letter", &format!("queue:{}", dead.name));
    let connector = setup.ready().await;
    queue.send_to_group("g1", "bad").await;
    queue.wait_until_empty().await;
    assert_eq!(dead.counts().await, (2, 0), "what the queue takes for a repetition is not kept");
    let letter = dead.receive().await;
    use aws_sdk_sqs::types::MessageSystemAttributeName::MessageGroupId;
    assert_eq!(letter.attributes().unwrap()[&MessageGroupId], "g1");
    connector.stop().await;
}
