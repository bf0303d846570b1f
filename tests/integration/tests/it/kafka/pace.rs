//! A function in trouble takes nothing from a function on another topic.
//!
//! The figures are counts over equal windows of one run, without and with the trouble. The healthy
//! function is bound by its own time and limit, not by the processor, so that the count means
//! something on a busy machine; the better of three windows counts, because a neighbour's load can
//! only make a window worse.

use std::time::Duration;

use dev_gateway::{Fault, TimeoutAnswer};
use integration::{Connector, Record};
use tokio::time::sleep;

use super::scene::Scene;

const WINDOW: Duration = Duration::from_millis(1500);
const HEALTHY_TIME: Duration = Duration::from_millis(25);
const RECORDS: usize = 6_000;

struct Pace {
    scene: Scene,
    healthy: String,
    troubled: String,
    letters: String,
}

impl Pace {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let pace = Self {
            healthy: scene.broker.topic("healthy", 1).await,
            troubled: scene.broker.topic("troubled", 1).await,
            letters: scene.broker.topic("pace-letters", 1).await,
            scene,
        };
        pace.scene.deploy("healthy", &pace.healthy);
        pace.scene.deploy("troubled", &pace.troubled);
        pace.scene.gateway.fault("healthy", Fault::slow(HEALTHY_TIME));
        let records = (0..RECORDS).map(|n| Record::of(n.to_string()));
        pace.scene.broker.produce_all(&pace.healthy, records).await;
        pace
    }

    async fn start(&self) -> Connector {
        let launch = self
            .scene
            .connector(&[&self.healthy, &self.troubled])
            .set("ordering", "none")
            .set("print_response", "false")
            .set("dead_letter", format!("topic:{}", self.letters))
            .set("dead_letter_limit", "0");
        let connector = launch.ready().await;
        let ledger = self.scene.gateway.ledger();
        ledger.wait_for("the healthy one at its pace", |calls| calls.ended() > 100).await;
        connector
    }

    /// How many calls the healthy function answers in one window.
    async fn window(&self) -> usize {
        let count = || self.scene.gateway.ledger().with(|calls| calls.of("healthy").count());
        let before = count();
        sleep(WINDOW).await;
        count() - before
    }

    /// Prints and judges the figures: with the trouble there must be nine tenths of what there is
    /// without.
    #[expect(clippy::print_stdout, reason = "the figures are what this is for")]
    async fn judge(&self, what: &str, without: usize) {
        let mut windows = Vec::new();
        for _ in 0..3 {
            windows.push(self.window().await);
            let best = *windows.iter().max().expect("there is a window");
            if best * 10 >= without * 9 {
                println!("{what}: {without} calls of the other function without, {windows:?} with");
                return;
            }
        }
        panic!("{what}: {without} calls of the other function without, only {windows:?} with");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_slower_than_the_gateway_slows_no_other() {
    for answer in [TimeoutAnswer::Close, TimeoutAnswer::Empty502] {
        let pace = Pace::new().await;
        pace.scene.gateway.platform(|platform| {
            platform.upstream_timeout_ms = Some(300);
            platform.timeout_answer = answer;
        });
        pace.scene.gateway.fault("troubled", Fault::slow(Duration::from_secs(3600)));
        let connector = pace.start().await;
        let without = pace.window().await;
        let records = (0..40).map(|n| Record::of(n.to_string()));
        pace.scene.broker.produce_all(&pace.troubled, records).await;
        let ledger = pace.scene.gateway.ledger();
        ledger.wait_for("slow calls", |calls| calls.of("troubled").count() >= 10).await;
        pace.judge(&format!("slower than the gateway, {answer:?}"), without).await;
        connector.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_hangs_slows_no_other() {
    let pace = Pace::new().await;
    pace.scene.gateway.fault("troubled", Fault::hang());
    let connector = pace.start().await;
    let without = pace.window().await;
    // Ten times max_inflight.
    let records = (0..640).map(|n| Record::of(n.to_string()));
    pace.scene.broker.produce_all(&pace.troubled, records).await;
    let waiting = |metrics: &integration::metrics::Metrics| metrics.in_flight() >= 640;
    connector.metrics_until("640 events to wait", waiting).await;
    pace.judge("a function that hangs", without).await;
    connector.kill().await;
}

#[tokio::test]
async fn a_function_slower_than_the_gateway_uses_up_its_attempts() {
    for answer in [TimeoutAnswer::Close, TimeoutAnswer::Empty502] {
        let scene = Scene::new().await;
        let topic = scene.broker.topic("slow", 1).await;
        let letters = scene.broker.topic("slow-letters", 1).await;
        scene.deploy("slow", &topic);
        scene.gateway.platform(|platform| {
            platform.upstream_timeout_ms = Some(100);
            platform.timeout_answer = answer;
        });
        scene.gateway.fault("slow", Fault::slow(Duration::from_secs(3600)));
        scene.broker.produce(&topic, Record::of("too slow")).await;
        let launch = scene
            .connector(&[&topic])
            .set("max_retry_attempts", "2")
            .set("dead_letter", format!("topic:{letters}"));
        let connector = launch.ready().await;
        scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
        assert_eq!(scene.gateway.ledger().calls().len(), 3, "{answer:?}");
        let stored = scene.broker.read(&letters).await;
        assert_eq!(stored.len(), 1);
        let reason = stored[0].record.header_value("X-Dead-Letter-Reason");
        assert_eq!(reason, Some(b"exhausted".as_slice()), "{answer:?}");
        connector.end().await;
    }
}
