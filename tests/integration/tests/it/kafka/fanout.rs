//! Several functions on one topic, and the gateway's queue.

use std::collections::BTreeMap;

use dev_gateway::{Fault, Mode};
use integration::{Record, until};

use super::scene::Scene;

#[tokio::test]
async fn one_of_three_fails_and_the_others_are_called_once() {
    let scene = Scene::new().await;
    let (topic, letters) =
        (scene.broker.topic("fanout", 2).await, scene.broker.topic("fanout-letters", 1).await);
    for function in ["steady", "upright", "failing"] {
        scene.deploy(function, &topic);
    }
    scene.gateway.fault("failing", Fault::status(500));
    let records = (0..20).map(|n| Record::of(n.to_string()).key(n.to_string()));
    scene.broker.produce_all(&topic, records).await;
    let launch = scene
        .connector(&[&topic])
        .set("dead_letter", format!("topic:{letters}"))
        .set("max_retry_attempts", "3");
    let connector = launch.ready().await;
    let metrics = connector
        .metrics_until("all to be stored", |metrics| metrics.came("dead_lettered") == 20)
        .await;
    assert_eq!(metrics.received(), 20);
    let calls = scene.gateway.ledger().calls();
    for (function, each) in [("steady", 1), ("upright", 1), ("failing", 4)] {
        let mut by_event = BTreeMap::<_, usize>::new();
        let of = format!("{function}.openfaas-fn");
        for call in calls.iter().filter(|call| call.function == of) {
            *by_event.entry(call.text()).or_default() += 1;
        }
        assert_eq!(by_event.len(), 20);
        assert!(by_event.values().all(|calls| *calls == each), "{function}: {by_event:?}");
    }
    assert_eq!(scene.broker.read(&letters).await.len(), 20);
    connector.end().await;
}

#[tokio::test]
async fn the_gateways_queue_answers_for_the_function() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("queued", 1).await;
    scene.deploy("queued", &topic);
    // What the function itself answers is not seen.
    scene.gateway.fault("queued", Fault::status(500));
    scene.broker.produce_all(&topic, (0..10).map(|n| Record::of(n.to_string()))).await;
    let launch = scene.connector(&[&topic]).set("asynchronous_invocation", "true");
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 10).await;
    let of = |mode| scene.gateway.ledger().with(|c| c.iter().filter(|c| c.mode == mode).count());
    assert_eq!((of(Mode::Queued), of(Mode::Sync)), (10, 0));
    assert_eq!(connector.metrics().await.came("delivered"), 10);
    connector.end().await;
}

#[tokio::test]
async fn a_missing_queue_holds_the_topic_and_says_why() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("no-queue", 1).await;
    scene.deploy("unqueued", &topic);
    scene.gateway.platform(|platform| platform.async_off = true);
    scene.broker.produce_all(&topic, (0..10).map(|n| Record::of(n.to_string()))).await;
    let launch = scene.connector(&[&topic]).set("asynchronous_invocation", "true");
    let connector = launch.start().await;
    let why = connector.not_ready("unqueued").await;
    assert!(why.contains("async"), "the reason names the setting or the queue: {why}");
    let status = connector.status().await;
    assert_eq!(status["held"][0]["topic"], *topic, "{status}");
    // It tries one call now and then, and says so once.
    until("five trials", async || connector.count("[404]"), |trials| *trials >= 5).await;
    assert_eq!(connector.count("WARN not well subject=\"no-queue"), 1, "{:#?}", connector.lines());
    let committed = scene.broker.committed(&scene.group, &topic).await;
    assert!(committed.values().all(|committed| committed.offset == 0), "{committed:?}");

    scene.gateway.platform(|platform| platform.async_off = false);
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 10).await;
    connector.ready().await;
    connector.end().await;
}
