//! The connectors' binaries, judged from outside: exit codes, signals, settings, what the log says
//! and what it must not say. On Kafka, because a broker is at hand; the core decides all of it.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use dev_gateway::{Cause, Credentials, Fault, Gate, ListingFault};
use integration::process::Signal;
use integration::{Launch, Record, unique};

use super::kafka::scene::Scene;

#[tokio::test]
async fn every_mistake_is_told_at_once_and_no_socket_opened() {
    let (gateway, broker) = (listener(), listener());
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let launch = Launch::new("kafka")
        .set("gateway_url", format!("http://{}", address(&gateway)))
        .set("broker_hosts", address(&broker))
        .set("topics", "orders,not a topic")
        .set("ordering", "sideways")
        .set("max_inflight", "0")
        .set("drain_timeout", "soon")
        .set("retry_http_codes", "500,sometimes")
        .set("dead_letter", "queue:letters")
        .set("password_file", "/nowhere");
    let ended = launch.argument("--no-such-flag").run().await;
    assert_eq!(ended.code, Some(64));
    let said = ended.stderr();
    for name in [
        "topics",
        "ordering",
        "max_inflight",
        "drain_timeout",
        "retry_http_codes",
        "dead_letter",
        "username_file",
        "no-such-flag",
    ] {
        assert_eq!(said.matches(name).count().min(1), 1, "{name} is not told:\n{said}");
    }
    assert!(said.contains("8 mistakes"), "{said}");
    for listener in [gateway, broker] {
        let accepted = listener.accept().map_err(|error| error.kind());
        assert!(matches!(accepted, Err(ErrorKind::WouldBlock)), "{accepted:?}");
    }
}

fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("a socket can be asked without waiting");
    listener
}

#[tokio::test]
async fn what_upstream_tolerates_is_warned_of() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("tolerance", 1).await;
    scene.deploy("tolerant", &topic);
    let connector = scene
        .connector(&[&topic])
        .set("print_response", "True")
        .set("upstream_timeout", "30")
        .set("content_type", "")
        .ready()
        .await;
    for name in ["print_response", "upstream_timeout"] {
        let warnings: Vec<_> = connector
            .lines()
            .into_iter()
            .filter(|line| line.contains(" WARN ") && line.contains(name))
            .collect();
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
    }
    // `True` reads as false: nothing is printed for the call.
    scene.broker.produce(&topic, Record::of("x")).await;
    scene.gateway.ledger().wait_for("a call", |calls| calls.well().count() == 1).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    assert_eq!(connector.count("[200]"), 0);
    connector.end().await;
}

#[tokio::test]
async fn it_is_not_ready_before_it_can_call() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("ready", 1).await;
    scene.deploy("ready", &topic);
    scene.gateway.platform(|platform| platform.listing = Some(ListingFault::Status(500)));
    let connector = scene.connector(&[&topic]).start().await;
    let why = connector.not_ready("500").await;
    assert!(why.contains("gateway: ") && why.contains("broker: not yet"), "{why}");
    assert_eq!(connector.page("/healthz").await.0, 200, "alive, though not ready");
    scene.gateway.heal();
    connector.ready().await;
    connector.end().await;
}

#[tokio::test]
async fn sigterm_waits_for_running_calls() {
    let (scene, gate, topic) = with_running_calls("drain").await;
    let connector = scene.connector(&[&topic]).ready().await;
    gate.wait_for_waiting(1).await;
    connector.signal(Signal::Terminate);
    connector.not_ready("drained: not yet").await;
    // Published after the signal: not received any more.
    scene.broker.produce(&topic, Record::of("late")).await;
    gate.open();
    let ended = connector.exited().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.lines);
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    assert_eq!(scene.gateway.ledger().calls().len(), 1);
}

#[tokio::test]
async fn the_drain_deadline_cuts_what_runs() {
    let (scene, gate, topic) = with_running_calls("cut").await;
    let connector = scene.connector(&[&topic]).set("drain_timeout", "300ms").ready().await;
    gate.wait_for_waiting(1).await;
    connector.signal(Signal::Terminate);
    let ended = connector.exited().await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.lines);
    scene.gateway.ledger().wait_for("the cut", |calls| calls.running() == 0).await;
    let cut = scene.gateway.ledger().calls()[0].ended.expect("it has ended");
    assert_eq!(cut.cause, Some(Cause::CallerGone));

    // Cut is released: it comes again.
    gate.open();
    let connector = scene.connector(&[&topic]).ready().await;
    scene.gateway.ledger().wait_for("the redelivery", |calls| calls.well().count() == 1).await;
    connector.end().await;
}

#[tokio::test]
async fn a_second_signal_aborts() {
    let (scene, gate, topic) = with_running_calls("abort").await;
    let connector = scene.connector(&[&topic]).ready().await;
    gate.wait_for_waiting(1).await;
    connector.signal(Signal::Terminate);
    connector.line("draining").await;
    connector.signal(Signal::Interrupt);
    let ended = connector.exited().await;
    assert_eq!(ended.code, Some(2), "{:#?}", ended.lines);
}

/// A topic with one record, whose function does not answer before the gate opens.
async fn with_running_calls(purpose: &str) -> (Scene, Gate, String) {
    let scene = Scene::new().await;
    let topic = scene.broker.topic(purpose, 1).await;
    scene.deploy(purpose, &topic);
    let gate = Gate::closed();
    scene.gateway.fault(purpose, Fault::gate(&gate));
    scene.broker.produce(&topic, Record::of("first")).await;
    (scene, gate, topic)
}

#[tokio::test]
async fn secrets_are_never_told() {
    const SECRET: &str = "hunter2-gateway";
    const BROKER_SECRET: &str = "hunter2-broker";
    let folder = std::env::temp_dir().join(unique("secrets"));
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("basic-auth-user", "admin\n");
    write("basic-auth-password", &format!("{SECRET}\r\n"));
    let (user, password) =
        (write("user", "client\n"), write("password", &format!("{BROKER_SECRET}\n")));

    let scene = Scene::new().await;
    let topic = scene.broker.topic("secrets", 1).await;
    scene.deploy("secretive", &topic);
    scene.gateway.set_credentials(Some(Credentials::new("admin", SECRET)));
    let launch = scene
        .connector(&[&topic])
        .set("basic_auth", "true")
        .set("secret_mount_path", folder.display().to_string())
        .set("debug", "true")
        .set("print_sync", "true")
        .set("print_response_body", "true");
    let mut told = Vec::new();

    // Right ones, with the newline that editors add: used trimmed.
    let connector = launch.ready().await;
    told.push(connector.page("/status").await.1);
    told.push(connector.page("/metrics").await.1);
    // Refused ones.
    scene.gateway.set_credentials(Some(Credentials::new("admin", "another")));
    connector.line("refuses the credentials").await;
    told.push(connector.page("/readyz").await.1);
    told.extend(connector.end().await.lines);
    scene.gateway.set_credentials(Some(Credentials::new("admin", SECRET)));

    // A broker that does not know what to do with them.
    let launch = launch.set("username_file", &*user).set("password_file", &*password);
    let connector = launch.start().await;
    connector.line("not well subject=broker").await;
    told.push(connector.page("/readyz").await.1);
    told.extend(connector.end().await.lines);
    told.extend(launch.argument("--check").run().await.lines);

    fs::remove_dir_all(&folder).unwrap();
    for line in told {
        assert!(!line.contains(SECRET) && !line.contains(BROKER_SECRET), "a secret in: {line}");
    }
}
