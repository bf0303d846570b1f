//! Filters that come from annotations, and filters that nobody is mapped to.

use dev_gateway::{Call, Function};

use crate::support::{Broker, Setup, gateway, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begin_and_end_with_the_annotations() {
    for (kind, version) in [("mosquitto", "4"), ("mosquitto", "5"), ("hivemq", "5")] {
        let broker = Broker::start(kind, &[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("cron").topic("cron-function"));
        let setup = Setup::new(&broker.url(), &gateway).with("protocol_version", version);
        let connector = setup.ready().await;
        assert_eq!(connector.metric("tributary_mqtt_sessions"), 0);
        gateway.deploy(Function::named("all").topic("sensors/#, sensors/1/temp"));
        gateway.deploy(Function::named("one").topic("sensors/+/temp"));
        connector.wait_for_metric("tributary_mqtt_sessions", 2).await;
        broker.publish("sensors/1/temp", "a", &["-q", "1"]);
        broker.publish("sensors/2/hum", "b", &["-q", "1"]);
        gateway.ledger().wait_for("all", |calls| calls.well().count() == 3).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        gateway.ledger().with(|calls| {
            let texts = |function| calls.of(function).map(Call::text).collect::<Vec<_>>();
            // Two sessions, in no order between them.
            assert_eq!((texts("all").len(), texts("one")), (2, vec!["a".to_owned()]));
        });
        gateway.remove("one");
        connector.wait_for_metric("tributary_mqtt_sessions", 1).await;
        broker.publish("sensors/1/temp", "c", &["-q", "1"]);
        let has_c = |calls: &dev_gateway::Calls| calls.well().any(|call| call.text() == "c");
        gateway.ledger().wait_for("c", has_c).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        gateway.ledger().with(|calls| assert_eq!(calls.of("one").count(), 1));
        assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
        connector.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_queues_for_a_filter_that_nobody_is_mapped_to() {
    for (kind, version) in [("mosquitto", "4"), ("mosquitto", "5"), ("hivemq", "5")] {
        let broker = Broker::start(kind, &[]);
        let gateway = gateway().await;
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topics", "held/#,other")
            .with("protocol_version", version);
        let connector = setup.ready().await;
        assert_eq!(connector.metric("tributary_mqtt_sessions"), 0);
        let lines: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        broker.publish_lines("held/1", &lines, &["-q", "1"]);
        gateway.deploy(Function::named("f").topic("held/1"));
        gateway.ledger().wait_for("all", |calls| calls.well().count() == 50).await;
        let texts: Vec<_> = gateway.ledger().calls().iter().map(Call::text).collect();
        assert_eq!(texts, lines);

        // And again once it is unmapped.
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        gateway.remove("f");
        connector.wait_for_metric("tributary_mqtt_sessions", 0).await;
        broker.publish_lines("held/1", &lines, &["-q", "1"]);
        gateway.deploy(Function::named("g").topic("held/+"));
        gateway.ledger().wait_for("all", |calls| calls.of("g").count() == 50).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
        connector.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_in_a_wildcard_that_nobody_matches_is_acknowledged_and_counted() {
    let broker = Broker::mosquitto(&[]);
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("a/1"));
    let setup = Setup::new(&broker.url(), &gateway).with("topic", "a/#");
    let connector = setup.ready().await;
    broker.publish("a/2", "x", &["-q", "1"]);
    broker.publish("a/1", "y", &["-q", "1"]);
    gateway.ledger().wait_for("the other", |calls| calls.well().count() == 1).await;
    connector.wait_for_metric("tributary_events_total{outcome=\"unmatched\"}", 1).await;
    wait_until("PUBACKs", || broker.acknowledged(&setup.id) == 2, || broker.log()).await;
    connector.check_books();
}
