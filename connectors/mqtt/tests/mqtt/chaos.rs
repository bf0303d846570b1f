//! The promise under everything at once. Long, so it runs only when asked for:
//! `cargo test -p mqtt-connector --test mqtt chaos -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dev_gateway::{Calls, DevGateway, Fault, Function};

use crate::support::{Broker, PUBACK, Setup, WINDOW, gateway, wait_until};

const TOPICS: usize = 64;
const MESSAGES: usize = 50_000;
const KILLS: usize = 20;
/// Messages `from..to`, dealt out to the topics in turn, all topics at the same time: a window of
/// messages of one topic would be called one by one. Returns when the broker has them all.
fn publish(broker: &Broker, from: usize, to: usize) {
    let mut lines = vec![Vec::new(); TOPICS];
    (from..to).for_each(|number| lines[number % TOPICS].push(number.to_string()));
    std::thread::scope(|scope| {
        for (topic, lines) in lines.iter().enumerate() {
            scope.spawn(move || broker.publish_lines(&format!("t/{topic}"), lines, &["-q", "1"]));
        }
    });
}

/// Calls of each message, by its number.
fn by_message(calls: &Calls) -> BTreeMap<usize, Vec<&dev_gateway::Call>> {
    let mut all = BTreeMap::<usize, Vec<_>>::new();
    for call in calls.of("f") {
        all.entry(call.text().parse().unwrap()).or_default().push(call);
    }
    all
}

fn judge(gateway: &DevGateway, breaks: usize, unread: usize) {
    gateway.ledger().with(|calls| {
        let all = by_message(calls);
        assert_eq!(all.len(), MESSAGES, "every message has been called");
        let well = |number: usize| all[&number].iter().find(|call| call.answered_well());
        let lost: Vec<_> = (0..MESSAGES).filter(|&number| well(number).is_none()).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        for number in TOPICS..MESSAGES {
            let before = well(number - TOPICS).unwrap().ended.unwrap().at.monotonic_ns;
            let first = all[&number].iter().map(|call| call.started.monotonic_ns).min().unwrap();
            assert!(before <= first, "{number} overtook its predecessor");
        }
        let answered = calls.well().count();
        let repeated = answered - MESSAGES;
        println!(
            "{MESSAGES} messages, {} calls, {answered} answered well, {repeated} repeated, {breaks} breaks, {unread} unread",
            calls.begun()
        );
        assert!(repeated <= breaks * WINDOW + unread, "{repeated} repeated in {breaks} breaks");
    });
}

async fn chaos(kind: &'static str, version: &str) {
    let began = Instant::now();
    let mut broker = Broker::roomy(kind);
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("t/+"));
    let slow =
        |fault: Fault| fault.delay_between(Duration::from_millis(5), Duration::from_millis(15));
    let shares =
        [(0.2, slow(Fault::status(503))), (0.1, slow(Fault::reset())), (0.7, slow(Fault::none()))];
    gateway.fault("f", Fault::mix(shares).seed(11));
    let setup = Setup::new(&broker.url(), &gateway)
        .with("topic", "t/#")
        .with("protocol_version", version)
        .with("function_concurrency", "32")
        .with("max_retry_attempts", "-1")
        .with("initial_retry_wait", "2ms")
        .with("max_retry_wait", "20ms")
        .with("print_response", "false");
    assert_eq!(setup.ready().await.stop().await, 0);
    publish(&broker, 0, MESSAGES / 2);
    let mut connector = setup.ready().await;
    let ledger = gateway.ledger();
    let mut unread = 0;
    for kill in 0..KILLS {
        if kill == KILLS / 2 {
            publish(&broker, MESSAGES / 2, MESSAGES);
        }
        if kill % 8 == 4 {
            connector.freeze().await;
            unread += broker.unread() / PUBACK;
            broker.down();
            connector.thaw();
            connector.wait_unready("broker").await;
            broker.restart();
            connector.wait_ready().await;
        }
        let progress = ledger.with(|calls| calls.well().count()) + 500;
        let busy = |calls: &Calls| calls.well().count() >= progress && calls.running() >= 10;
        ledger.wait_for("ten calls to run", busy).await;
        connector.freeze().await;
        unread += broker.unread() / PUBACK;
        connector.kill();
        connector = setup.ready().await;
        ledger.with(|calls| {
            let distinct: std::collections::HashSet<_> =
                calls.well().map(|call| call.text()).collect();
            println!(
                "kill {kill}: {} repeated, {unread} unread",
                calls.well().count() - distinct.len()
            );
        });
    }
    gateway.stop().await;
    connector.wait_for_metric("tributary_platform_down", 1).await;
    // How long an outage lasts is part of what is tried.
    tokio::time::sleep(Duration::from_secs(30)).await;
    gateway.restart().await.unwrap();
    let seen = || {
        ledger.with(|calls| {
            let numbers = calls.well().map(|call| call.text());
            numbers.collect::<std::collections::HashSet<_>>().len()
        })
    };
    let mut last = (seen(), Instant::now());
    while last.0 < MESSAGES {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = seen();
        if now > last.0 {
            last = (now, Instant::now());
        }
        assert!(last.1.elapsed() < Duration::from_secs(60), "stuck at {now}\n{}", connector.log());
    }
    wait_until(
        "nothing in flight",
        || connector.metric("tributary_events_in_flight") == 0,
        || connector.log(),
    )
    .await;
    connector.check_books();
    assert_eq!(connector.stop().await, 0);
    judge(&gateway, KILLS + 2, unread);
    println!("{kind}, protocol {version}: {:?}", began.elapsed());
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
