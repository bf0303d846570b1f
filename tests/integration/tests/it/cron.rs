//! The cron connector as a process. It has no broker and promises no redelivery, so the list of
//! cases for sources is not for it: a tick is called at most once, whatever happens.

use std::collections::HashSet;

use dev_gateway::{Config, DevGateway, Fault, Function, Gate};
use integration::process::Signal;
use integration::{Launch, until};

struct Scene {
    gateway: DevGateway,
}

impl Scene {
    async fn new() -> Self {
        Self { gateway: DevGateway::start(Config::default()).await.expect("a port is free") }
    }

    fn deploy(&self, function: &str, schedule: &str) {
        let function = Function::named(function).topic("cron-function");
        self.gateway.deploy(function.annotation("schedule", schedule));
    }

    fn connector(&self) -> Launch {
        Launch::new("cron").set("gateway_url", self.gateway.url()).set("rebuild_interval", "200ms")
    }
}

#[tokio::test]
async fn each_tick_is_called_once_whatever_is_answered() {
    let scene = Scene::new().await;
    scene.deploy("ticking", "@every 1s");
    scene.deploy("failing", "@every 1s");
    scene.deploy("mistaken", "every now and then");
    scene.gateway.fault("failing", Fault::status(500));
    let connector = scene.connector().ready().await;
    let ledger = scene.gateway.ledger();
    ledger
        .wait_for("three ticks of each", |calls| {
            calls.of("ticking").count() >= 3 && calls.of("failing").count() >= 3
        })
        .await;
    assert_eq!(ledger.with(|calls| calls.of("mistaken").count()), 0);
    let (status, text) = connector.page("/status").await;
    assert!(status == 200 && text.contains("mistaken"), "a bad schedule is named: {text}");

    // Removed: no more ticks, while the other goes on.
    assert!(scene.gateway.remove("failing"));
    let connector = {
        connector.end().await;
        scene.connector().ready().await
    };
    let before = ledger.with(|calls| (calls.of("ticking").count(), calls.of("failing").count()));
    ledger.wait_for("more ticks", |calls| calls.of("ticking").count() >= before.0 + 2).await;
    assert_eq!(ledger.with(|calls| calls.of("failing").count()), before.1);
    connector.end().await;

    let calls = ledger.calls();
    let ids: HashSet<_> = calls.iter().map(|call| call.event_id.clone()).collect();
    assert_eq!(ids.len(), calls.len(), "no tick was called twice");
    assert!(calls.iter().all(|call| call.topic.as_deref() == Some("cron-function")));
    assert!(calls.iter().all(|call| call.header("x-cron-schedule") == Some("@every 1s")));
}

#[tokio::test]
async fn a_failed_tick_is_counted_and_dropped() {
    let scene = Scene::new().await;
    scene.deploy("failing", "@every 1s");
    scene.gateway.fault("failing", Fault::status(500));
    let connector = scene.connector().ready().await;
    let metrics =
        connector.metrics_until("two drops", |metrics| metrics.came("dropped") >= 2).await;
    assert_eq!(metrics.came("delivered"), 0);
    connector.end().await;
}

#[tokio::test]
async fn a_running_tick_is_waited_for() {
    let scene = Scene::new().await;
    scene.deploy("running", "@every 1s");
    let gate = Gate::closed();
    scene.gateway.fault("running", Fault::gate(&gate));
    let connector = scene.connector().ready().await;
    gate.wait_for_waiting(1).await;
    connector.signal(Signal::Terminate);
    connector.line("draining").await;
    let begun = scene.gateway.ledger().with(|calls| calls.begun());
    gate.open();
    let ended = connector.exited().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.lines);
    let ledger = scene.gateway.ledger();
    let look = async || ledger.running();
    until("no call to run", look, |running| *running == 0).await;
    assert_eq!(ledger.with(|calls| (calls.begun(), calls.well().count() as u64)), (begun, begun));
}
