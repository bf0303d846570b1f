//! Messages that name their topic by an attribute.

use dev_gateway::Function;

use crate::support::{Setup, standard, text};

/// As those who come from the community's connector have it: its flags, as they write them.
#[tokio::test]
async fn an_attribute_names_the_topic() {
    let (queue, gateway) = standard("mixed").await;
    // Neither is the name of a queue.
    gateway.deploy(Function::named("paid").topic("order.paid"));
    gateway.deploy(Function::named("by-url").topic(&queue.url));
    let connector = Setup::new(&gateway)
        .without("wait_time")
        .without("rebuild_interval")
        .flag("--region=eu-west-1")
        .flag(&format!("--queue-url={}", queue.url))
        .flag("--max-wait-time=1")
        .flag("--max-number-of-messages=3")
        .flag("--topic-refresh-interval=1")
        .flag("--visibility-timeout=2")
        .flag("--log-level=info")
        .ready()
        .await;
    queue.send_with("1", [("Topic", text("order.paid"))]).await;
    queue.send("2").await;
    // Nobody is mapped to this one yet: it goes back, again and again, and keeps nobody waiting.
    queue.send_with("3", [("Topic", text("order.shipped"))]).await;
    connector.wait_for("it to go back twice", async || connector.came("released").await >= 2).await;
    gateway.deploy(Function::named("shipped").topic("order.shipped"));
    queue.wait_until_empty().await;
    gateway.ledger().with(|calls| {
        let of = |function| calls.of(function).map(|call| call.text()).collect::<Vec<_>>();
        assert_eq!((of("paid"), of("shipped")), (vec!["1".to_owned()], vec!["3".to_owned()]));
        assert_eq!((of("f"), of("by-url")), (vec!["2".to_owned()], vec!["2".to_owned()]));
        let paid = calls.of("paid").next().expect("it was called");
        assert_eq!(paid.topic.as_deref(), Some("order.paid"));
        assert_eq!(paid.header("x-sqs-topic"), Some("order.paid"));
    });
    connector.stop().await;
}

#[tokio::test]
async fn without_it_the_queue_is_the_topic_whatever_a_message_says() {
    let (queue, gateway) = standard("plain").await;
    gateway.deploy(Function::named("other").topic("order-paid"));
    let connector = Setup::new(&gateway).with("topics", &queue.name).ready().await;
    queue.send_with("x", [("Topic", text("order-paid"))]).await;
    queue.wait_until_empty().await;
    let functions: Vec<_> =
        gateway.ledger().calls().into_iter().map(|call| call.function).collect();
    assert_eq!(functions, ["f.openfaas-fn"]);
    connector.stop().await;
}
