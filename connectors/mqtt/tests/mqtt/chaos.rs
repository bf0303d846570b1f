//! The promise under everything at once, judged by [`ledger_checker`]. Long, so it runs only when asked for:
//! `cargo test -p mqtt-connector --test mqtt chaos -- --ignored --nocapture`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use dev_gateway::{Calls, Config, DevGateway, Fault, Function};
use ledger_checker::notes::Notes;
use ledger_checker::plan::{self, FaultKind, Ordering, Settling};

use crate::support::{Broker, Connector, PUBACK, Setup, WINDOW, folder, wait_until};

const TOPICS: usize = 64;
const MESSAGES: usize = 50_000;
const KILLS: usize = 20;
/// So many calls run at least when something breaks.
const RUNNING: usize = 10;
const SEED: u64 = 11;

/// Messages `from..to`, dealt out to the topics in turn, all topics at the same time: a window of
/// messages of one topic would be called one by one. Returns when the broker has them all.
fn publish(broker: &Broker, from: usize, to: usize) {
    let mut lines = vec![Vec::new(); TOPICS];
    (from..to).for_each(|number| lines[number % TOPICS].push(number.to_string()));
    std::thread::scope(|scope| {
        for (topic, lines) in lines.iter().enumerate() {
            scope.spawn(move || broker.publish_lines(&self::topic(topic), lines, &["-q", "1"]));
        }
    });
}

/// One run, and what is written down of it.
struct Run {
    broker: Broker,
    gateway: DevGateway,
    setup: Setup,
    notes: Notes,
    /// The connector that runs.
    process: String,
}

impl Run {
    async fn open(kind: &'static str, version: &str) -> Self {
        let run = plan::Run {
            name: format!("{kind}, protocol {version}"),
            seed: SEED,
            broker: plan::Broker::Mqtt,
            functions: vec!["f.openfaas-fn".to_owned()],
            ordering: Ordering::Key,
            // What the broker has not read is counted.
            settling: Settling::Single { lease_ms: 0, travel_ms: plan::TRAVEL_MS },
            lane_window: WINDOW as u64,
        };
        let mut notes = Notes::begin(&folder(), run).unwrap();
        let sent = |number: usize| (topic(number % TOPICS), number.to_string());
        notes.produced((0..MESSAGES).map(sent)).unwrap();
        let config = Config { ledger: Some(notes.ledger()), ..Config::default() };
        let gateway = DevGateway::start(config).await.unwrap();
        gateway.deploy(Function::named("f").topic("t/+"));
        let slow =
            |fault: Fault| fault.delay_between(Duration::from_millis(5), Duration::from_millis(15));
        let shares = [
            (0.2, slow(Fault::status(503))),
            (0.1, slow(Fault::reset())),
            (0.7, slow(Fault::none())),
        ];
        gateway.fault("f", Fault::mix(shares).seed(SEED));
        let broker = Broker::roomy(kind);
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t/#")
            .with("protocol_version", version)
            .with("function_concurrency", "32")
            .with("max_retry_attempts", "-1")
            .with("initial_retry_wait", "2ms")
            .with("max_retry_wait", "20ms")
            .with("print_response", "false");
        Self { broker, gateway, setup, notes, process: String::new() }
    }

    async fn start(&mut self) -> Connector {
        let (name, content_type) = self.notes.process().unwrap();
        self.process = name;
        self.setup = self.setup.clone().with("content_type", &content_type);
        self.setup.ready().await
    }

    /// Lets the connector get on, and freezes it in the middle of its work. Gives the moment, and how many of its
    /// acknowledgements the broker has not read.
    async fn freeze(&self, connector: &Connector) -> (u64, usize) {
        let ledger = self.gateway.ledger();
        let progress = ledger.with(|calls| calls.well().count()) + 500;
        let busy = |calls: &Calls| calls.well().count() >= progress && calls.running() >= RUNNING;
        ledger.wait_for("ten calls to run", busy).await;
        let before = self.notes.moment().unwrap();
        connector.freeze().await;
        (before, self.broker.unread() / PUBACK)
    }

    fn note(&mut self, how: &str, kind: FaultKind, (before, forgotten): (u64, usize)) {
        let fault = plan::Fault::new(kind, before, self.notes.moment().unwrap()).of(&self.process);
        self.notes.fault(plan::Fault { how: Some(how.to_owned()), forgotten, ..fault }).unwrap();
    }

    /// Ends the broker under a frozen connector, and starts it again.
    async fn restart_broker(&mut self, connector: &Connector) {
        let met = self.freeze(connector).await;
        self.broker.down();
        connector.thaw();
        connector.wait_unready("broker").await;
        self.broker.restart();
        connector.wait_ready().await;
        self.note("broker restarted", FaultKind::BrokerOutage, met);
    }

    async fn stop_gateway(&mut self, connector: &Connector) {
        let before = self.notes.moment().unwrap();
        self.gateway.stop().await;
        connector.wait_for_metric("tributary_platform_down", 1).await;
        // How long an outage lasts is part of what is tried.
        tokio::time::sleep(Duration::from_secs(30)).await;
        self.note("gateway down", FaultKind::GatewayOutage, (before, 0));
        self.gateway.restart().await.unwrap();
    }

    /// Waits until everything was answered well and acknowledged.
    async fn finish(&mut self, connector: Connector) {
        let ledger = self.gateway.ledger();
        let seen = || {
            let bodies = |calls: &Calls| calls.well().map(|call| call.body_hash).collect();
            ledger.with(|calls| -> HashSet<u64> { bodies(calls) }).len()
        };
        let mut last = (seen(), Instant::now());
        while last.0 < MESSAGES {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = seen();
            if now > last.0 {
                last = (now, Instant::now());
            }
            assert!(
                last.1.elapsed() < Duration::from_secs(60),
                "stuck at {now}\n{}",
                connector.log()
            );
        }
        wait_until(
            "nothing in flight",
            || connector.metric("tributary_events_in_flight") == 0,
            || connector.log(),
        )
        .await;
        connector.check_books();
        assert_eq!(connector.stop().await, 0);
        self.notes.end(self.broker.left_in(&self.setup.id)).unwrap();
    }
}

fn topic(number: usize) -> String {
    format!("t/{number}")
}

async fn chaos(kind: &'static str, version: &str) {
    let began = Instant::now();
    let mut run = Run::open(kind, version).await;
    // The broker queues only for a session that it knows.
    assert_eq!(run.setup.ready().await.stop().await, 0);
    publish(&run.broker, 0, MESSAGES / 2);
    let mut connector = run.start().await;
    for kill in 0..KILLS {
        if kill == KILLS / 2 {
            publish(&run.broker, MESSAGES / 2, MESSAGES);
        }
        if kill % 8 == 4 {
            run.restart_broker(&connector).await;
        }
        let met = run.freeze(&connector).await;
        connector.kill();
        run.note("SIGKILL", FaultKind::Kill, met);
        connector = run.start().await;
    }
    run.stop_gateway(&connector).await;
    run.finish(connector).await;
    let judgement = ledger_checker::judged(run.notes.folder()).unwrap();
    println!("{judgement}  all of it took {} s", began.elapsed().as_secs());
    assert!(judgement.kept(), "see {}", run.notes.folder().display());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make prove-edge"]
async fn chaos_with_3_1_1() {
    chaos("mosquitto", "4").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make prove-edge"]
async fn chaos_with_5() {
    chaos("mosquitto", "5").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make prove-edge"]
async fn chaos_at_another_broker() {
    chaos("hivemq", "5").await;
}
