//! Functions of a `stack.yml`, and the ways in which they run.

use std::path::PathBuf;

use dev_gateway::{Config, DevGateway, Function, Reply};
use serde_json::{Value, json};

use crate::support::{client, start, start_with, temporary_directory};

const STACK: &str = r#"
version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
functions:
  shout:
    lang: dockerfile
    handler: ./shout
    image: example.org/shout:latest
    build_args: {ANY: thing}
    limits: {memory: 40Mi}
    annotations:
      topic: orders,refunds
      dev.exec: tr a-z A-Z
    labels: {retries: 3}
    environment: {write_debug: true, content_type: text/plain}
  show:
    namespace: dev
    lang: dockerfile
    handler: ./show
    image: example.org/show:latest
    environment: {colour: green}
    annotations:
      dev.exec: 'echo "$Http_Method $Http_X_Topic $Http_Path $Http_Query $colour $(ls stack.yml)"'
  fail:
    lang: dockerfile
    handler: ./fail
    image: example.org/fail:latest
    annotations: {dev.exec: "echo half an answer; echo broken >&2; exit 3"}
  plain:
    lang: dockerfile
    handler: ./plain
    image: example.org/plain:latest
"#;

async fn gateway(stack: &str) -> (DevGateway, PathBuf) {
    let path = temporary_directory().join("stack.yml");
    std::fs::write(&path, stack).unwrap();
    (start_with(Config { stack: Some(path.clone()), ..Config::default() }).await, path)
}

#[tokio::test]
async fn commands_run_as_under_the_classic_watchdog() {
    let (gateway, _) = gateway(STACK).await;
    let url = gateway.url();
    let shout = client().post(format!("{url}/function/shout")).body("loud").send().await.unwrap();
    assert_eq!(shout.headers()["content-type"], "text/plain");
    assert_eq!(shout.text().await.unwrap(), "LOUD");
    let show =
        client().post(format!("{url}/function/show.dev/a?b=c")).header("X-Topic", "orders").send();
    assert_eq!(show.await.unwrap().text().await.unwrap(), "POST orders /a b=c green stack.yml\n");
    let fail = client().post(format!("{url}/function/fail")).body("x").send().await.unwrap();
    assert_eq!((fail.status().as_u16(), fail.text().await.unwrap().as_str()), (500, "broken\n"));
    let plain = client().post(format!("{url}/function/plain")).body("echo").send().await.unwrap();
    assert_eq!(plain.text().await.unwrap(), "echo");
    // More than a pipe holds, in both directions at once.
    let large = client()
        .post(format!("{url}/function/shout"))
        .body("x".repeat(1 << 20))
        .send()
        .await
        .unwrap();
    assert_eq!(large.text().await.unwrap().len(), 1 << 20);

    let listed: Value = client()
        .get(format!("{url}/system/function/shout"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(listed["annotations"]["topic"], "orders,refunds");
    assert_eq!(
        (&listed["labels"], &listed["image"]),
        (&json!({"retries": "3"}), &json!("example.org/shout:latest"))
    );
    assert_eq!(listed["envVars"]["write_debug"], "true");
}

#[tokio::test]
async fn calls_are_passed_on_to_an_upstream() {
    let upstream = start().await;
    upstream.deploy(Function::named("real").handler(|request| async move {
        Reply::status(201).header("x-seen", &request.path).body(request.body)
    }));
    let stack = format!(
        "functions:\n  far: {{annotations: {{dev.upstream: '{0}/function/real'}}}}\n  gone: {{annotations: {{dev.upstream: 'http://127.0.0.1:1'}}}}\n",
        upstream.url()
    );
    let (gateway, _) = gateway(&stack).await;
    let url = format!("{}/function", gateway.url());
    let far = client().post(format!("{url}/far/a/b")).body("through").send().await.unwrap();
    assert_eq!((far.status().as_u16(), &far.headers()["x-seen"]), (201, &"/a/b".parse().unwrap()));
    assert_eq!(far.text().await.unwrap(), "through");
    let gone = client().post(format!("{url}/gone")).send().await.unwrap();
    assert_eq!(
        (gone.status().as_u16(), &gone.headers()["x-openfaas-internal"]),
        (500, &"proxy".parse().unwrap())
    );
    assert_eq!(gone.text().await.unwrap(), "Can't reach service for: gone.");
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let (gateway, path) = gateway("functions: {a: {}}\n").await;
    gateway.deploy(Function::named("mine"));
    let names = async || {
        let listed =
            client().get(format!("{}/system/functions", gateway.url())).send().await.unwrap();
        let listed: Vec<Value> = listed.json().await.unwrap();
        listed
            .iter()
            .map(|function| function["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["a", "mine"]);
    std::fs::write(&path, "functions: {b: {}, cc: {}}\n").unwrap();
    assert_eq!(names().await, ["b", "cc", "mine"]);
    std::fs::write(&path, "functions: [broken").unwrap();
    assert_eq!(names().await, ["b", "cc", "mine"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(names().await, ["b", "cc", "mine"]);
    std::fs::write(&path, "functions:\n").unwrap();
    assert_eq!(names().await, ["mine"]);
}

#[tokio::test]
async fn mistakes_are_named() {
    for (stack, wrong) in [
        ("functions: [", "is not a stack file"),
        ("functions: {'a b': {}}", "function a b: a name has"),
        ("functions: {a: {annotations: {dev.upstream: 'ftp://x'}}}", "has to begin with http://"),
        (
            "functions: {a: {annotations: {dev.upstream: 'http://x', dev.exec: y}}}",
            "both dev.exec and dev.upstream",
        ),
        ("functions: {a: {annotations: {topic: [x]}}}", "annotation topic is not a plain value"),
    ] {
        let path = temporary_directory().join("stack.yml");
        std::fs::write(&path, stack).unwrap();
        let started = DevGateway::start(Config { stack: Some(path), ..Config::default() }).await;
        let error = started.err().expect("refused").to_string();
        assert!(error.contains(wrong), "{error}");
    }
}
