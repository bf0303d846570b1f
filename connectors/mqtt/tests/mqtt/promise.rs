//! Nothing is acknowledged before it has been answered well, and nothing that was not is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use dev_gateway::{Calls, DevGateway, Fault, Function, Gate};

use crate::support::{Broker, Setup, gateway, wait_until};

fn answered(calls: &Calls) -> BTreeSet<String> {
    calls.well().map(|call| call.text()).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

async fn echo(name: &str, topic: &str) -> DevGateway {
    let gateway = gateway().await;
    gateway.deploy(Function::named(name).topic(topic));
    gateway
}

async fn no_puback_before_the_answer(version: &str) {
    let broker = Broker::mosquitto(&[]);
    let gateway = echo("f", "t").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let setup =
        Setup::new(&broker.url(), &gateway).with("topic", "t").with("protocol_version", version);
    let connector = setup.ready().await;

    broker.publish("t", "one", &["-q", "1"]);
    gate.wait_for_waiting(1).await;
    // The broker logs in the order of what it does: had there been a PUBACK, it would stand
    // before this other publish.
    broker.publish("elsewhere", "marker", &["-q", "1", "-i", "marker"]);
    broker.wait_for_log("the marker", |log| log.contains("Sending PUBACK to marker")).await;
    assert_eq!(broker.acknowledged(&setup.id), 0);

    gate.open();
    wait_until("a PUBACK", || broker.acknowledged(&setup.id) == 1, || broker.log()).await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    connector.check_books();
    assert_eq!(connector.stop().await, 0);
}

/// Mosquitto is told to send all it has, as brokers do that restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_sends_too_much_for_one_filter_disturbs_no_other() {
    let broker = Broker::mosquitto(&["max_inflight_messages 0"]);
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("flood"));
    gateway.deploy(Function::named("g").topic("calm"));
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let setup = Setup::new(&broker.url(), &gateway)
        .with("topics", "flood,calm")
        .with("protocol_version", "4")
        .with("buffer_bytes", "8Ki");
    let connector = setup.ready().await;
    let bodies: BTreeSet<_> = (0..40).map(|n| format!("{n:>500}")).collect();
    for body in &bodies {
        broker.publish("flood", body, &["-q", "1"]);
    }
    let floods = "the broker sends more than there is room for";
    wait_until("the flood", || connector.log().contains(floods), || connector.log()).await;
    gate.open();
    gateway.ledger().wait_for("all of it", |calls| answered(calls).is_superset(&bodies)).await;
    broker.publish("calm", "calm", &["-q", "1"]);
    gateway.ledger().wait_for("the other", |calls| calls.of("g").count() == 1).await;
    connector.wait_for_metric("tributary_events_in_flight", 0).await;
    assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
    connector.check_books();
}

/// Each session alone would have room for what it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_all_sessions_together_keeps_within_the_buffer() {
    const BUFFER: u64 = 64 << 10;
    let broker = Broker::mosquitto(&["max_inflight_messages 0"]);
    let gateway = echo("f", "+").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let topics = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"];
    let setup = Setup::new(&broker.url(), &gateway)
        .with("topics", &topics.join(","))
        .with("buffer_bytes", &BUFFER.to_string());
    let connector = setup.ready().await;
    connector.wait_for_metric("tributary_mqtt_sessions", 10).await;
    let bodies =
        |topic: &str| -> Vec<String> { (0..30).map(|n| format!("{topic} {n:>1000}")).collect() };
    for topic in topics {
        broker.publish_lines(topic, &bodies(topic), &["-q", "1"]);
    }
    let is_full = |topic: &str, log: &str| {
        let of_topic = |line: &str| line.contains(&format!("filter={topic} "));
        log.lines().any(|line| line.contains("more than there is room for") && of_topic(line))
    };
    let are_full = || topics.iter().filter(|topic| is_full(topic, &connector.log())).count() > 5;
    wait_until("the floods", are_full, || connector.log()).await;
    let held = connector.metric("tributary_buffer_bytes");
    // One message for each on top, with what it takes beside its payload.
    assert!((BUFFER / 4..BUFFER + 10 * 2_000).contains(&held), "{held} bytes are held");
    gate.open();
    let all: BTreeSet<_> = topics.into_iter().flat_map(bodies).collect();
    gateway.ledger().wait_for("all of it", |calls| answered(calls).is_superset(&all)).await;
    connector.wait_for_metric("tributary_events_in_flight", 0).await;
    connector.wait_for_metric("tributary_buffer_bytes", 0).await;
    assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
    connector.check_books();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_puback_before_the_answer_with_3_1_1() {
    no_puback_before_the_answer("4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_puback_before_the_answer_with_5() {
    no_puback_before_the_answer("5").await;
}

/// Killed with calls running, started again: each message is called again and answered.
async fn a_killed_connector(kind: &'static str, version: &str) {
    let broker = Broker::start(kind, &[]);
    let gateway = echo("f", "t/+").await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let setup =
        Setup::new(&broker.url(), &gateway).with("topic", "t/#").with("protocol_version", version);
    // Some brokers send no more while anything is unacknowledged, so it is all there at the start.
    assert_eq!(setup.ready().await.stop().await, 0);
    for number in numbered(6) {
        broker.publish(&format!("t/{number}"), &number, &["-q", "1"]);
    }
    let connector = setup.ready().await;
    gate.wait_for_waiting(6).await;
    connector.kill();
    gateway.ledger().wait_for("the calls are cut", |calls| calls.running() == 0).await;
    gate.open();
    let connector = setup.ready().await;
    gateway.ledger().wait_for("all answered", |calls| answered(calls).len() == 6).await;
    connector.wait_for_metric("tributary_events_in_flight", 0).await;
    assert_eq!(gateway.ledger().calls().len(), 12, "six were cut, six answered");
    connector.check_books();
    assert_eq!(connector.stop().await, 0);

    // All of it is acknowledged: nothing comes a third time.
    let connector = setup.ready().await;
    broker.publish("t/last", "last", &["-q", "1"]);
    gateway.ledger().wait_for("the last", |calls| answered(calls).contains("last")).await;
    assert_eq!(gateway.ledger().calls().len(), 13);
    drop(connector);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connector_loses_nothing_with_3_1_1() {
    a_killed_connector("mosquitto", "4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connector_loses_nothing_with_5() {
    a_killed_connector("mosquitto", "5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connector_loses_nothing_at_another_broker() {
    a_killed_connector("hivemq", "5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_nothing() {
    for version in ["4", "5"] {
        let mut broker = Broker::mosquitto(&[]);
        let gateway = echo("f", "t/+").await;
        let gate = Gate::closed();
        gateway.fault("f", Fault::gate(&gate));
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t/#")
            .with("protocol_version", version);
        let connector = setup.ready().await;
        for number in numbered(5) {
            broker.publish(&format!("t/{number}"), &number, &["-q", "1"]);
        }
        gate.wait_for_waiting(5).await;
        broker.kill().await;
        connector.wait_unready("broker").await;
        // What was answered meanwhile cannot be acknowledged: it is called again.
        gate.open();
        gateway.ledger().wait_for("answered", |calls| answered(calls).len() == 5).await;
        broker.restart();
        connector.wait_ready().await;
        let again = |calls: &Calls| calls.well().count() == 10;
        gateway.ledger().wait_for("answered again", again).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        wait_until("PUBACKs", || broker.acknowledged(&setup.id) == 5, || broker.log()).await;
        connector.check_books();
    }
}

/// On the next connection the same message, or another one, has its packet id.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_outlives_its_connection_acknowledges_nothing() {
    for version in ["4", "5"] {
        let mut broker = Broker::mosquitto(&[]);
        let gateway = echo("f", "t").await;
        let (first, second) = (Gate::closed(), Gate::closed());
        gateway.fault("f", Fault::gate(&first));
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("protocol_version", version);
        let connector = setup.ready().await;
        broker.publish("t", "one", &["-q", "1"]);
        first.wait_for_waiting(1).await;
        gateway.fault("f", Fault::gate(&second));
        broker.kill().await;
        connector.wait_unready("broker").await;
        broker.restart();
        let again = format!("Sending PUBLISH to {} (d1", setup.id);
        broker.wait_for_log("it comes again", |log| log.contains(&again)).await;

        // Called again when the first call has ended: its answer has been judged by then.
        first.open();
        second.wait_for_waiting(1).await;
        broker.publish("elsewhere", "marker", &["-q", "1", "-i", "marker"]);
        broker.wait_for_log("the marker", |log| log.contains("Sending PUBACK to marker")).await;
        assert_eq!(broker.acknowledged(&setup.id), 0);
        second.open();
        wait_until("a PUBACK", || broker.acknowledged(&setup.id) == 1, || broker.log()).await;
        assert_eq!(gateway.ledger().calls().len(), 2);
        connector.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_it_was_away_is_replayed_right_after_the_connack() {
    for (kind, version) in [("mosquitto", "4"), ("mosquitto", "5"), ("hivemq", "5")] {
        let broker = Broker::start(kind, &[]);
        let gateway = echo("f", "t").await;
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("protocol_version", version);
        assert_eq!(setup.ready().await.stop().await, 0);
        broker.publish_lines("t", &numbered(200), &["-q", "1"]);
        let connector = setup.start();
        gateway.ledger().wait_for("all", |calls| answered(calls).len() == 200).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        assert_eq!(gateway.ledger().calls().len(), 200, "each once");
        connector.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_each_topic_is_kept_under_retries() {
    let broker = Broker::mosquitto(&[]);
    let gateway = echo("f", "t/+").await;
    let bad = Fault::status(503).delay_between(Duration::ZERO, Duration::from_millis(5));
    let slow = Fault::none().delay_between(Duration::ZERO, Duration::from_millis(5));
    gateway.fault("f", Fault::mix([(0.2, bad), (0.8, slow)]).seed(7));
    let setup = Setup::new(&broker.url(), &gateway)
        .with("topic", "t/#")
        .with("max_retry_attempts", "-1")
        .with("initial_retry_wait", "1ms")
        .with("max_retry_wait", "5ms");
    let connector = setup.ready().await;
    let topics: Vec<String> = (0..8).map(|topic| format!("t/{topic}")).collect();
    std::thread::scope(|scope| {
        for topic in &topics {
            scope.spawn(|| broker.publish_lines(topic, &numbered(40), &["-q", "1"]));
        }
    });
    gateway.ledger().wait_for("all", |calls| calls.well().count() == 8 * 40).await;
    gateway.ledger().with(|calls| {
        for topic in &topics {
            let of_topic: Vec<_> = calls.topic(topic).collect();
            assert!(of_topic.windows(2).all(|two| !two[0].overlaps(two[1])), "{topic}");
            let bodies: Vec<_> = of_topic
                .iter()
                .filter(|call| call.answered_well())
                .map(|call| call.text())
                .collect();
            assert_eq!(bodies, numbered(40), "{topic}");
        }
    });
    connector.wait_for_metric("tributary_events_in_flight", 0).await;
    wait_until("PUBACKs", || broker.acknowledged(&setup.id) == 320, || broker.log()).await;
    // MQTT asks for acknowledgements in the order of receipt.
    let log = broker.log();
    let packet_ids = |event: String, before: &str| -> Vec<String> {
        let lines = log.lines().filter(|line| line.contains(&event));
        let number = |line: &str| line.split(before).nth(1)?.split(',').next().map(str::to_owned);
        lines.filter_map(number).collect()
    };
    let sent = packet_ids(format!("Sending PUBLISH to {} ", setup.id), ", m");
    let acknowledged = packet_ids(format!("Received PUBACK from {} ", setup.id), "Mid: ");
    assert_eq!((sent.len(), &sent), (320, &acknowledged));
    connector.check_books();
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_acknowledges_what_was_answered_and_gives_back_what_waited() {
    for version in ["4", "5"] {
        let broker = Broker::mosquitto(&[]);
        let gateway = echo("f", "t").await;
        let gate = Gate::closed();
        gateway.fault("f", Fault::gate(&gate));
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("protocol_version", version);
        let connector = setup.ready().await;
        broker.publish_lines("t", &numbered(3), &["-q", "1"]);
        gate.wait_for_waiting(1).await;
        connector.wait_for_metric("tributary_events_in_flight", 3).await;
        connector.terminate();
        connector.wait_for_log("draining").await;
        broker.publish("t", "3", &["-q", "1"]);
        gate.open();
        assert_eq!(connector.ended().await, 0);
        assert_eq!(gateway.ledger().calls().len(), 1, "nothing was begun while draining");
        assert_eq!(broker.acknowledged(&setup.id), 1);
        let said_goodbye = format!("Received DISCONNECT from {}", setup.id);
        broker.wait_for_log("DISCONNECT", |log| log.contains(&said_goodbye)).await;

        let connector = setup.start();
        gateway.ledger().wait_for("the rest", |calls| answered(calls).len() == 4).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        let texts: Vec<_> = gateway.ledger().calls().iter().map(dev_gateway::Call::text).collect();
        assert_eq!(texts, numbered(4), "each once, in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_sends_more_than_there_is_room_for_loses_nothing() {
    let broker = Broker::mosquitto(&["max_inflight_messages 0"]);
    let gateway = echo("f", "t").await;
    let setup = Setup::new(&broker.url(), &gateway)
        .with("topic", "t")
        .with("buffer_bytes", "100Ki")
        .with("lane_window", "2");
    assert_eq!(setup.ready().await.stop().await, 0);
    let lines: Vec<String> = (0..30).map(|n| format!("{n}:{}", "x".repeat(10_000))).collect();
    broker.publish_lines("t", &lines, &["-q", "1"]);
    // A quick function would make room as fast as the broker sends.
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let connector = setup.start();
    let floods = "sends more than there is room for";
    wait_until("the flood", || connector.log().contains(floods), || connector.log()).await;
    gate.open();
    gateway.ledger().wait_for("all", |calls| answered(calls).len() == 30).await;
    connector.wait_for_metric("tributary_events_in_flight", 0).await;
    let texts: Vec<_> = gateway.ledger().calls().iter().map(dev_gateway::Call::text).collect();
    assert_eq!(texts, lines, "each once, in order");
    assert_eq!(connector.metric("tributary_source_restarts_total"), 0, "of all sessions");
    connector.check_books();
}
