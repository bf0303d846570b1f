//! Which queues are consumed.

use dev_gateway::Function;
use serde_json::json;

use crate::proxy::{Act, Proxy, error};
use crate::support::{Queue, Setup, broker, gateway, standard, unique};

#[tokio::test]
async fn a_queue_is_known_by_name_url_and_arn() {
    let queues =
        [Queue::standard("name").await, Queue::standard("url").await, Queue::standard("arn").await];
    let gateway = gateway("by-name", &queues[0].name).await;
    gateway.deploy(Function::named("by-url").topic(&queues[1].url));
    let arn = format!("arn:aws:sqs:eu-west-1:000000000000:{}", queues[2].name);
    gateway.deploy(Function::named("by-arn").topic(&arn));
    let connector = Setup::new(&gateway).ready().await;
    for queue in &queues {
        queue.send("x").await;
        queue.wait_until_empty().await;
    }
    for function in ["by-name", "by-url", "by-arn"] {
        assert_eq!(gateway.ledger().with(|calls| calls.of(function).count()), 1, "{function}");
    }
    connector.stop().await;
}

#[tokio::test]
async fn the_url_alone_leads_to_a_server_that_is_not_aws() {
    let (queue, gateway) = standard("bare").await;
    let url = format!("{}/000000000000/{}", broker(), queue.name);
    let setup = Setup::new(&gateway).without("endpoint_url").without("AWS_REGION");
    let connector = setup.flag(&format!("--queue-url={url}")).ready().await;
    queue.send("x").await;
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    connector.stop().await;
}

#[tokio::test]
async fn a_function_deployed_later_brings_its_queue() {
    let (_, gateway) = standard("first").await;
    let later = Queue::standard("later").await;
    // The broker itself does not tell how long it keeps messages.
    let proxy = Proxy::start(|asked| match &*asked.action {
        "GetQueueAttributes" => {
            Act::Answer(200, json!({"Attributes": {"MessageRetentionPeriod": "60"}}))
        }
        _ => Act::Pass,
    })
    .await;
    let connector = Setup::new(&gateway).through(&proxy).ready().await;
    later.send("waits").await;
    gateway.deploy(Function::named("g").topic(&format!("sqs:{}", later.name)));
    later.wait_until_empty().await;
    let retention = format!("tributary_sqs_retention_seconds{{queue=\"{}\"}}", later.name);
    connector.wait_for("its retention", async || connector.metric(&retention).await == 60).await;
    // And takes it away again.
    gateway.remove("g");
    connector
        .wait_for("its retention to be forgotten", async || connector.metric(&retention).await == 0)
        .await;
    connector
        .wait_for("the queue to be let go", async || {
            let receivers = "tributary_sqs_receivers{queue=\"".to_owned() + &later.name + "\"}";
            connector.metric(&receivers).await == 0
        })
        .await;
    connector.stop().await;
}

#[tokio::test]
async fn messages_stay_in_a_queue_that_nobody_is_mapped_to() {
    let queue = Queue::standard("unmapped").await;
    let gateway = gateway("f", "something-else").await;
    let connector = Setup::new(&gateway).with("topics", &queue.name).ready().await;
    queue.send("early").await;
    gateway.wait_for_listings(8).await;
    assert_eq!(queue.counts().await, (1, 0));
    gateway.deploy(Function::named("g").topic(&queue.name));
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().with(|calls| calls.of("g").count()), 1);
    connector.stop().await;
}

#[tokio::test]
async fn an_unknown_queue_is_waited_for_beside_one_that_works() {
    let (known, gateway) = standard("known").await;
    let name = unique("unknown");
    gateway.deploy(Function::named("g").topic(&name));
    let setup = Setup::new(&gateway).with("queue_url", &format!("{},{name},https://", known.name));
    let connector = setup.start().await;
    connector.wait_until_unready(&format!("queue {name}")).await;
    connector.wait_until_unready("not the URL of an SQS queue").await;
    known.send("works").await;
    known.wait_until_empty().await;
    let created = Queue::create(broker(), &name, &[]).await;
    created.send("at last").await;
    created.wait_until_empty().await;
    assert_eq!(gateway.ledger().with(|calls| calls.of("g").count()), 1);
    connector.stop().await;
}

#[tokio::test]
async fn a_wish_for_what_is_no_queue_harms_nothing() {
    let (queue, gateway) = standard("real").await;
    let foreign = unique("a-kafka-topic");
    gateway.deploy(Function::named("g").topic(&format!("orders.*,{foreign},kafka:x")));
    let connector = Setup::new(&gateway).ready().await;
    connector.wait_for_log(&foreign).await;
    queue.send("x").await;
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(connector.log().matches("not consumed, although").count(), 1, "said once");
    connector.stop().await;
}

#[tokio::test]
async fn a_wish_that_may_not_be_received_from_is_left_aside() {
    let (queue, gateway) = standard("allowed").await;
    let denied = Queue::standard("denied").await;
    gateway.deploy(Function::named("g").topic(&denied.url));
    let name = denied.name.clone();
    let proxy = Proxy::start(move |asked| match &*asked.action {
        "ReceiveMessage" if asked.body.to_string().contains(&name) => {
            error("AccessDenied", "not yours")
        }
        _ => Act::Pass,
    })
    .await;
    let connector = Setup::new(&gateway).through(&proxy).start().await;
    connector.wait_for_log("not consumed, although").await;
    connector.wait_until_ready().await;
    for body in ["1", "2"] {
        queue.send(body).await;
        queue.wait_until_empty().await;
    }
    connector.wait_until_ready().await;
    assert_eq!(connector.log().matches("not consumed, although").count(), 1, "said once");
    // It is asked for again.
    proxy.script(|_| Act::Pass);
    denied.send("at last").await;
    denied.wait_until_empty().await;
    connector.stop().await;
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_found_again() {
    let (queue, gateway) = standard("deleted").await;
    let setup = Setup::new(&gateway).with("topics", &queue.name);
    let connector = setup.ready().await;
    queue.delete_queue().await;
    connector.wait_until_unready(&format!("queue {}", queue.name)).await;
    let queue = Queue::create(broker(), &queue.name, &[]).await;
    queue.send("x").await;
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    connector.stop().await;
}
