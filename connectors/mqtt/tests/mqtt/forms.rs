//! Payloads, properties, answers and letters.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Stdio;

use dev_gateway::{Calls, Fault, Function, Reply};

use crate::support::{Broker, Setup, folder, gateway, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn payloads_arrive_byte_for_byte() {
    for (kind, version) in [("mosquitto", "4"), ("mosquitto", "5"), ("hivemq", "5")] {
        let broker = Broker::start(kind, &[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("t"));
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("protocol_version", version)
            .with("max_packet_bytes", "4Mi");
        let connector = setup.ready().await;
        let mut random = vec![0; 2 << 20];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        let payloads = [random, Vec::new(), (0..=255).collect(), vec![b'x'; 20_000]];
        let file = folder().join("payload");
        for payload in &payloads {
            std::fs::write(&file, payload).unwrap();
            broker.publishes(&["-t", "t", "-q", "1", "-f", file.to_str().unwrap()]);
        }
        gateway.ledger().wait_for("all", |calls| calls.well().count() == payloads.len()).await;
        let calls = gateway.ledger().calls();
        for (call, payload) in calls.iter().zip(&payloads) {
            assert!(call.body.as_deref() == Some(payload), "{} bytes", payload.len());
            assert_eq!(call.topic.as_deref(), Some("t"));
            assert_eq!(call.header("content-type"), Some("application/json"));
            assert_eq!(call.header("x-connector"), Some("mqtt-connector"));
            assert_eq!(call.header("x-mqtt-qos"), Some("1"));
            assert_eq!(call.header("x-mqtt-retain"), Some("false"));
            assert_eq!(call.header("x-mqtt-dup"), Some("false"));
            assert!(call.event_id.as_deref().unwrap().starts_with("mqtt:"));
        }
        let ids: BTreeSet<_> = calls.iter().map(|call| call.event_id.clone()).collect();
        assert_eq!(ids.len(), payloads.len());
        connector.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_properties_of_5_are_headers() {
    for kind in ["mosquitto", "hivemq"] {
        let broker = Broker::start(kind, &[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("t"));
        let setup =
            Setup::new(&broker.url(), &gateway).with("topic", "t").with("protocol_version", "5");
        let connector = setup.ready().await;
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        broker.publish(
            "t",
            "x",
            &[
                "-V",
                "5",
                "-q",
                "1",
                "-D",
                "publish",
                "content-type",
                "text/csv",
                "-D",
                "publish",
                "message-expiry-interval",
                "300",
                "-D",
                "publish",
                "user-property",
                "Site",
                "north",
                "-D",
                "publish",
                "user-property",
                "Site",
                "south",
                "-D",
                "publish",
                "user-property",
                "traceparent",
                trace,
                "-D",
                "publish",
                "payload-format-indicator",
                "1",
            ],
        );
        gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
        let call = &gateway.ledger().calls()[0];
        assert_eq!(call.header("content-type"), Some("text/csv"));
        assert_eq!(
            call.headers.get_all("x-mqtt-user-site").collect::<Vec<_>>(),
            ["north", "south"]
        );
        assert_eq!(call.header("traceparent"), Some(trace));
        assert_eq!(call.header("x-mqtt-payload-format"), Some("1"));
        let expiry: u32 = call.header("x-mqtt-message-expiry").unwrap().parse().unwrap();
        assert!(expiry <= 300);
        drop(connector);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_says_so_and_is_not_called_again_at_a_reconnect() {
    let mut broker = Broker::mosquitto(&[]);
    broker.publish("t", "kept", &["-q", "1", "-r"]);
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("t"));
    for version in ["4", "5"] {
        gateway.ledger().forget();
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("protocol_version", version);
        let connector = setup.ready().await;
        gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
        assert_eq!(gateway.ledger().calls()[0].header("x-mqtt-retain"), Some("true"));
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        wait_until("a PUBACK", || broker.acknowledged(&setup.id) == 1, || broker.log()).await;
        broker.down();
        connector.wait_unready("broker").await;
        broker.restart();
        connector.wait_ready().await;
        broker.publish("t", "new", &["-q", "1"]);
        gateway.ledger().wait_for("the new one", |calls| calls.well().count() == 2).await;
        let texts: Vec<_> = gateway.ledger().calls().iter().map(dev_gateway::Call::text).collect();
        assert_eq!(texts, ["kept", "new"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_gets_the_functions_answer() {
    for kind in ["mosquitto", "hivemq"] {
        let broker = Broker::start(kind, &[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("ask").answer(Reply::text("42")));
        let setup =
            Setup::new(&broker.url(), &gateway).with("topic", "ask").with("protocol_version", "5");
        let connector = setup.ready().await;
        for qos in ["0", "1"] {
            let asked = broker
                .client(
                    "mosquitto_rr",
                    &[
                        "-V",
                        "5",
                        "-t",
                        "ask",
                        "-e",
                        "answers/1",
                        "-m",
                        "?",
                        "-q",
                        qos,
                        "-W",
                        "20",
                        "-D",
                        "publish",
                        "correlation-data",
                        "c7",
                        "-F",
                        "%p %D %P",
                    ],
                )
                .output()
                .unwrap();
            let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
            assert_eq!(answer.trim(), "42 c7 X-Status:200", "{asked:?}");
        }
        assert_eq!(connector.metric("tributary_mqtt_replies_total"), 2);
    }
}

/// Subscribes a topic; the lines of what comes are in the file.
fn listen(broker: &Broker, topic: &str) -> (std::process::Child, std::path::PathBuf) {
    let file = folder().join("letters");
    let child = broker
        .client("mosquitto_sub", &["-V", "5", "-q", "1", "-t", topic, "-F", "%p|%P"])
        .stdout(Stdio::from(std::fs::File::create(&file).unwrap()))
        .spawn()
        .unwrap();
    (child, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_stored_only_where_somebody_keeps_it() {
    for kind in ["mosquitto", "hivemq"] {
        let broker = Broker::start(kind, &[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("t/a"));
        gateway.fault("f", Fault::status(400).body("\x1b[31mno\x1b[0m").times(1));
        // The letters' topic lies within the filter: it must not be called.
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "#")
            .with("protocol_version", "5")
            .with("dead_letter", "topic:letters/f");
        // The wildcard itself would be somebody who keeps it, so here it is left out.
        let narrow = Setup::new(&broker.url(), &gateway)
            .with("topic", "t/#")
            .with("protocol_version", "5")
            .with("dead_letter", "topic:letters/f");
        let connector = narrow.ready().await;
        broker.publish(
            "t/a",
            "bad",
            &["-V", "5", "-q", "1", "-D", "publish", "user-property", "k", "v"],
        );
        connector.wait_unready("nobody has subscribed it").await;
        let (mut listener, file) = listen(&broker, "letters/#");
        let letters = || std::fs::read_to_string(&file).unwrap();
        wait_until("the letter", || letters().contains("bad|"), &letters).await;
        connector.wait_ready().await;
        let letter = letters();
        for part in [
            "k:v",
            "X-Topic:t/a",
            "X-Dead-Letter-Reason:refused",
            "X-Dead-Letter-Status:400",
            "X-Dead-Letter-Attempts:1",
            "X-Dead-Letter-Position:mqtt:",
        ] {
            assert!(letter.contains(part), "{part} in {letter}");
        }
        connector.wait_for_metric("tributary_events_total{outcome=\"dead_lettered\"}", 1).await;
        connector.check_books();
        assert_eq!(connector.stop().await, 0);

        let connector = setup.ready().await;
        gateway.fault("f", Fault::status(400).times(1));
        broker.publish("t/a", "worse", &["-q", "1"]);
        wait_until("the letter", || letters().contains("worse|"), &letters).await;
        connector.wait_for_metric("tributary_mqtt_own_letters_total", 1).await;
        broker.publish("t/a", "good", &["-q", "1"]);
        gateway.ledger().wait_for("good", |calls| calls.well().any(|it| it.text() == "good")).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        connector.check_books();
        listener.kill().unwrap();
        listener.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_topic_of_letters_by_its_name_gets_them_beside_a_wildcard() {
    // By order, and by annotations, where the function has no session for that name alone.
    for (topics, of_h) in [("s/#", "s/dead"), ("", "s/dead,s/#")] {
        let broker = Broker::mosquitto(&[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("s/#"));
        gateway.deploy(Function::named("h").topic(of_h));
        gateway.fault("f", Fault::status(400).times(1));
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topics", topics)
            .with("dead_letter", "topic:s/dead");
        let connector = setup.ready().await;
        connector.wait_for_metric("tributary_mqtt_sessions", 1).await;
        broker.publish("s/a", "bad", &["-q", "1"]);
        let has_letter =
            |calls: &Calls| calls.of("h").any(|call| call.topic.as_deref() == Some("s/dead"));
        gateway.ledger().wait_for("the letter", has_letter).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        gateway
            .ledger()
            .with(|calls| assert_eq!(calls.of("f").count(), 1, "not with its own letter"));
        connector.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_buried_and_disturbs_nobody() {
    for version in ["4", "5"] {
        let broker = Broker::mosquitto(&[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("t"));
        let (mut listener, file) = listen(&broker, "letters");
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("protocol_version", version)
            .with("max_packet_bytes", "1000");
        let subscribed = |log: &str| log.contains("Sending SUBACK");
        broker.wait_for_log("the listener", subscribed).await;
        let large = "l".repeat(1000);
        let dropping = setup.ready().await;
        broker.publish("t", &large, &["-q", "1"]);
        broker.publish("t", "small", &["-q", "1"]);
        gateway.ledger().wait_for("the small one", |calls| calls.well().count() == 1).await;
        dropping.wait_for_metric("tributary_events_in_flight", 0).await;
        let reason = "tributary_dropped_total{function=\"f.openfaas-fn\",reason=\"too_large\"}";
        assert_eq!(dropping.metric(reason), 1);
        assert_eq!(dropping.stop().await, 0);

        let setup = setup.with("dead_letter", "topic:letters");
        let storing = setup.ready().await;
        broker.publish("t", &large, &["-q", "1"]);
        let letters = || std::fs::read_to_string(&file).unwrap();
        wait_until("the letter", || letters().contains(&large), &letters).await;
        if version == "5" {
            assert!(letters().contains("X-Dead-Letter-Reason:too_large"));
        }
        storing.wait_for_metric("tributary_events_in_flight", 0).await;
        wait_until("PUBACKs", || broker.acknowledged(&setup.id) == 3, || broker.log()).await;
        assert_eq!(gateway.ledger().calls().len(), 1);
        listener.kill().unwrap();
        listener.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_its_notes_make_too_large_is_stored_with_the_least_of_them() {
    let broker = Broker::mosquitto(&["max_packet_size 1000"]);
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("t").answer(Reply::status(400)));
    let (mut listener, file) = listen(&broker, "letters");
    let subscribed = |log: &str| log.contains("Sending SUBACK");
    broker.wait_for_log("the listener", subscribed).await;
    let setup = Setup::new(&broker.url(), &gateway)
        .with("topic", "t")
        .with("protocol_version", "5")
        .with("dead_letter", "topic:letters");
    let connector = setup.ready().await;
    for size in [700, 10] {
        broker.publish("t", &"l".repeat(size), &["-q", "1"]);
    }
    let letters = || std::fs::read_to_string(&file).unwrap();
    wait_until("two letters", || letters().lines().count() == 2, &letters).await;
    let letters = letters();
    let (brief, whole) = letters.split_once('\n').unwrap();
    assert!(brief.starts_with(&"l".repeat(700)), "{letters}");
    for part in ["X-Topic:t", "Reason:refused", "Function:f.openfaas-fn", "Position:mqtt:"] {
        assert!(brief.contains(part), "{part} in {letters}");
    }
    assert!(whole.contains("X-Dead-Letter-Last:") && !brief.contains("Last:"), "{letters}");
    connector.wait_for_metric("tributary_events_in_flight", 0).await;
    connector.check_books();
    listener.kill().unwrap();
    listener.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_key_is_trimmed() {
    let broker = Broker::mosquitto(&[]);
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("sensors/1"));
    let setup = Setup::new(&broker.url(), &gateway)
        .with("topic", "s3cr3t/sensors/#")
        .with("trim_channel_key", "true");
    let connector = setup.ready().await;
    broker.publish("s3cr3t/sensors/1", "x", &["-q", "1"]);
    gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
    assert_eq!(gateway.ledger().calls()[0].topic.as_deref(), Some("sensors/1"));
    drop(connector);
}
