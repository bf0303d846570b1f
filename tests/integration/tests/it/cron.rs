//! The cron connector as a process. It has no broker and promises no redelivery, so the list of
//! cases for sources is not for it: a tick is called at most once, whatever happens.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use dev_gateway::{Config, DevGateway, Fault, Function, Gate};
use integration::process::Signal;
use integration::{Launch, WallClock, until};

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

/// What docs/cron.md says of a clock that is set.
#[tokio::test]
async fn a_clock_that_is_set_fires_nothing_twice_and_stops_nothing() {
    const HOUR: i64 = 3_600;
    const CLOSE_TO_AN_HOUR: Duration = Duration::from_secs(3_500);
    let scene = Scene::new().await;
    scene.deploy("ticking", "* * * * * *");
    let (clock, began) = (WallClock::new(), SystemTime::now());
    let connector = clock.of(scene.connector().set("cron_seconds", "true")).ready().await;
    clock.is_read_by(connector.pid());
    let ledger = scene.gateway.ledger();
    let ticks = || ledger.with(|calls| calls.of("ticking").map(tick).collect::<Vec<_>>());
    let until_tick = async |what: &str, is: &dyn Fn(&(SystemTime, String)) -> bool| {
        let look = |calls: &dev_gateway::Calls| calls.of("ticking").map(tick).any(|tick| is(&tick));
        ledger.wait_for(what, look).await;
    };

    until_tick("a tick", &|_| true).await;
    // As if the host had slept: what fell due meanwhile is missed.
    clock.set(HOUR);
    until_tick("a tick an hour later", &|(at, _)| *at > began + CLOSE_TO_AN_HOUR).await;
    let missed = connector.metrics().await;
    let missed = missed.sum("tributary_cron_ticks_total", &[("outcome", "missed")]);
    assert!(missed >= 100.0, "they are counted, up to a hundred: {missed}");
    // By less than an hour: silent until it has made up for that.
    let last = ticks().into_iter().map(|(at, _)| at).max().expect("there are some");
    clock.set(HOUR - 3);
    until_tick("a tick after the last one", &|(at, _)| *at > last).await;
    let before = ticks();
    let instants: Vec<_> = before.iter().map(|(at, _)| at).collect();
    assert!(instants.is_sorted(), "no time comes twice: {before:#?}");
    // By more: a new time, whose ticks are told from those of the old one.
    clock.set(-HOUR);
    let is_of_the_new_time = |(at, _): &(SystemTime, String)| *at < began - CLOSE_TO_AN_HOUR;
    until_tick("a tick of the new time", &is_of_the_new_time).await;
    connector.end().await;
    let mut of_the_new_time = ticks().into_iter().filter(is_of_the_new_time);
    assert!(of_the_new_time.all(|(_, id)| id.ends_with("Z/1")), "{:#?}", ticks());

    let ids: HashSet<_> = ticks().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), ticks().len(), "no tick was called twice");
}

/// The instant of a call's tick, and its id.
fn tick(call: &dev_gateway::Call) -> (SystemTime, String) {
    let scheduled = call.header("x-cron-scheduled").expect("each call says so");
    let instant = humantime::parse_rfc3339(scheduled).expect("it is a time");
    (instant, call.event_id.clone().expect("each call has an id"))
}
