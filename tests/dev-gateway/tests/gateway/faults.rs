//! Scripted faults, from the library and over `/_dev/`.

use std::time::{Duration, Instant};

use dev_gateway::{Cause, Config, DevGateway, Fault, Function, Gate, Mode, TimeoutAnswer};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{client, start, start_with};

async fn with_function() -> DevGateway {
    let gateway = start().await;
    gateway.deploy(Function::named("f").topic("orders"));
    gateway
}

async fn post(gateway: &DevGateway) -> reqwest::Result<Response> {
    client().post(format!("{}/function/f", gateway.url())).body("b").send().await
}

async fn status(gateway: &DevGateway) -> u16 {
    post(gateway).await.unwrap().status().as_u16()
}

fn causes(gateway: &DevGateway) -> Vec<(u16, Option<Cause>)> {
    let calls = gateway.ledger().calls();
    calls.iter().filter_map(|call| call.ended).map(|end| (end.status, end.cause)).collect()
}

/// The operating system's error beneath reqwest's, if there is one.
fn io_kind(error: &reqwest::Error) -> Option<std::io::ErrorKind> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        source = inner.source();
    }
    None
}

#[tokio::test]
async fn a_scripted_status_comes_with_body_and_headers_then_the_function_answers() {
    let gateway = with_function().await;
    gateway.fault(
        "f",
        Fault::status(429)
            .body("slow down")
            .header("Retry-After", "2")
            .header("X-OpenFaaS-Internal", "x")
            .times(2),
    );
    for _ in 0..2 {
        let sent = post(&gateway).await.unwrap();
        assert_eq!(
            (sent.status().as_u16(), &sent.headers()["retry-after"]),
            (429, &"2".parse().unwrap())
        );
        assert!(sent.headers().contains_key("x-openfaas-internal"));
        assert_eq!(sent.text().await.unwrap(), "slow down");
    }
    assert_eq!(status(&gateway).await, 200);
    assert_eq!(
        causes(&gateway),
        [(429, Some(Cause::Scripted)), (429, Some(Cause::Scripted)), (200, None)]
    );
}

#[tokio::test]
async fn reset_is_a_reset_and_close_is_not() {
    let gateway = with_function().await;
    gateway.fault("f", Fault::reset().times(1).then(Fault::close().times(1)));
    let reset = post(&gateway).await.unwrap_err();
    assert_eq!(io_kind(&reset), Some(std::io::ErrorKind::ConnectionReset), "{reset:?}");
    let closed = post(&gateway).await.unwrap_err();
    assert_ne!(io_kind(&closed), Some(std::io::ErrorKind::ConnectionReset), "{closed:?}");
    assert_eq!(causes(&gateway), [(0, Some(Cause::Reset)), (0, Some(Cause::Close))]);
}

#[tokio::test]
async fn a_hang_lasts_until_the_caller_gives_up() {
    let gateway = with_function().await;
    gateway.fault("f", Fault::hang());
    let call = client()
        .post(format!("{}/function/f", gateway.url()))
        .timeout(Duration::from_millis(100))
        .send();
    assert!(call.await.unwrap_err().is_timeout());
    gateway.ledger().wait_for("the end of the hang", |calls| calls.ended() == 1).await;
    assert_eq!(causes(&gateway), [(0, Some(Cause::Hang))]);
}

#[tokio::test]
async fn a_function_is_cut_when_its_caller_goes() {
    let gateway = with_function().await;
    gateway.fault("f", Fault::slow(Duration::from_secs(3_600)));
    let call = client()
        .post(format!("{}/function/f", gateway.url()))
        .timeout(Duration::from_millis(100))
        .send();
    assert!(call.await.is_err());
    gateway.ledger().wait_for("the cut", |calls| calls.ended() == 1).await;
    assert_eq!(causes(&gateway), [(0, Some(Cause::CallerGone))]);
}

#[tokio::test]
async fn a_gate_holds_calls_until_they_are_released() {
    let gateway = with_function().await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let url = format!("{}/function/f", gateway.url());
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(client().post(&url).send())).collect();
    gate.wait_for_waiting(3).await;
    assert_eq!((gateway.ledger().running(), gate.waiting()), (3, 3));
    gate.release(1);
    gateway.ledger().wait_for("one answer", |calls| calls.ended() == 1).await;
    assert_eq!(gateway.ledger().running(), 2);
    gate.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!((gateway.ledger().running(), gate.waiting()), (0, 0));
}

#[tokio::test]
async fn delays_are_waited() {
    let gateway = with_function().await;
    gateway.fault(
        "f",
        Fault::status(503)
            .delay_between(Duration::from_millis(60), Duration::from_millis(90))
            .seed(3),
    );
    let began = Instant::now();
    assert_eq!(status(&gateway).await, 503);
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn the_gateways_timeout_answers_while_the_function_runs_on() {
    for (answer, seen) in [(TimeoutAnswer::Empty502, Some(502)), (TimeoutAnswer::Close, None)] {
        let gateway = with_function().await;
        let gate = Gate::closed();
        gateway.fault("f", Fault::gate(&gate));
        gateway.platform(|platform| {
            platform.upstream_timeout_ms = Some(50);
            platform.timeout_answer = answer;
        });
        let sent = post(&gateway).await.ok();
        assert_eq!(sent.as_ref().map(|sent| sent.status().as_u16()), seen);
        if let Some(sent) = sent {
            assert_eq!(sent.text().await.unwrap(), "");
        }
        assert_eq!(gateway.ledger().running(), 1);
        gate.open();
        gateway.ledger().wait_for("the late end", |calls| calls.running() == 0).await;
        assert_eq!(causes(&gateway), [(200, Some(Cause::TooLate))]);
        assert_eq!(gateway.ledger().with(|calls| calls.well().count()), 0);
    }
}

#[tokio::test]
async fn a_fault_of_the_platform_comes_before_those_of_functions() {
    let gateway = with_function().await;
    gateway.fault("f", Fault::status(500));
    gateway.platform(|platform| platform.calls = Some(Fault::empty_502()));
    assert_eq!(status(&gateway).await, 502);
    let unknown = client().post(format!("{}/function/gone", gateway.url())).send().await.unwrap();
    assert_eq!(unknown.status(), 502);
    gateway.heal();
    assert_eq!(status(&gateway).await, 200);
}

#[tokio::test]
async fn queueing_and_the_queued_run_fail_apart() {
    let gateway = with_function().await;
    let url = format!("{}/async-function/f", gateway.url());
    gateway
        .fault_queueing("f", Fault::status(500).body("Error queuing request: no queue").times(1));
    gateway.fault("f", Fault::status(503).times(1));
    assert_eq!(client().post(&url).send().await.unwrap().status(), 500);
    assert_eq!(client().post(&url).send().await.unwrap().status(), 202);
    gateway.ledger().wait_for("the run", |calls| calls.ended() == 3).await;
    let calls = gateway.ledger().calls();
    assert_eq!((calls[2].mode, calls[2].ended.unwrap().status), (Mode::Async, 503));
}

#[tokio::test]
async fn a_stopped_gateway_refuses_and_comes_back_on_its_port() {
    let gateway = with_function().await;
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate).times(1));
    let running = tokio::spawn(client().post(format!("{}/function/f", gateway.url())).send());
    gate.wait_for_waiting(1).await;
    gateway.stop().await;
    assert!(running.await.unwrap().is_err(), "its connection was dropped");
    assert_eq!(causes(&gateway), [(0, Some(Cause::Stopped))]);
    assert!(post(&gateway).await.is_err_and(|error| error.is_connect()));
    assert_eq!(gateway.connections(), 0);
    gateway.restart().await.unwrap();
    assert_eq!(status(&gateway).await, 200);
    gateway.restart().await.unwrap();
    assert_eq!(status(&gateway).await, 200);
}

#[tokio::test]
async fn a_dropped_gateway_is_gone() {
    let gateway = with_function().await;
    let url = gateway.url();
    drop(gateway);
    // The listener closes when its task is polled next.
    while client().get(format!("{url}/healthz")).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn everything_can_be_scripted_over_http() {
    let gateway = start_with(Config::default()).await;
    let url = gateway.url();
    let send = |method: &str, path: &str, body: Value| {
        let method = method.parse().unwrap();
        client().request(method, format!("{url}/_dev/{path}")).body(body.to_string()).send()
    };
    let declared = json!({"annotations": {"topic": "orders"}, "environment": {"debug": true}});
    assert_eq!(send("PUT", "functions/f", declared).await.unwrap().status(), 204);
    assert_eq!(status(&gateway).await, 200);
    let command = json!({"annotations": {"dev.exec": "id"}});
    assert_eq!(
        send("PUT", "functions/g", command).await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );

    let fault = json!({"status": 503, "times": 1, "then": {"do": "reset", "times": 1}});
    assert_eq!(send("PUT", "faults/f", fault).await.unwrap().status(), 204);
    assert_eq!(status(&gateway).await, 503);
    assert!(post(&gateway).await.is_err());
    assert_eq!(status(&gateway).await, 200);
    for wrong in [
        json!({"status": 42}),
        json!({"statuss": 500}),
        json!({"mix": [{"share": 2, "fault": {}}]}),
    ] {
        let refused = send("PUT", "faults/f", wrong.clone()).await.unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
    let fault = json!({"mix": [{"share": 1, "fault": {"status": 500}}]});
    send("PUT", "faults/f.openfaas-fn", fault).await.unwrap();
    assert_eq!(status(&gateway).await, 500);
    send("DELETE", "faults/f", Value::Null).await.unwrap();
    assert_eq!(status(&gateway).await, 200);
    send("PUT", "queue-faults/f", json!({"status": 500})).await.unwrap();
    let queued = client().post(format!("{url}/async-function/f")).send().await.unwrap();
    assert_eq!(queued.status(), 500);

    let patched = send("PATCH", "platform", json!({"health": {"status": 502}, "listing": "html"}))
        .await
        .unwrap();
    let patched: Value = patched.json().await.unwrap();
    assert_eq!(
        (&patched["health"]["status"], &patched["upstream_timeout_ms"]),
        (&json!(502), &json!(60_000))
    );
    assert_eq!(client().get(format!("{url}/healthz")).send().await.unwrap().status(), 502);
    assert_eq!(
        send("PATCH", "platform", json!({"helth": null})).await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    send("DELETE", "faults", Value::Null).await.unwrap();
    assert_eq!(client().get(format!("{url}/healthz")).send().await.unwrap().status(), 200);

    send("PUT", "credentials", json!({"user": "admin", "password": "secret"})).await.unwrap();
    let listing = || client().get(format!("{url}/system/functions"));
    assert_eq!(listing().send().await.unwrap().status(), 401);
    assert_eq!(listing().basic_auth("admin", Some("secret")).send().await.unwrap().status(), 200);
    send("DELETE", "credentials", Value::Null).await.unwrap();
    assert_eq!(listing().send().await.unwrap().status(), 200);

    let state: Value = send("GET", "state", Value::Null).await.unwrap().json().await.unwrap();
    assert_eq!((&state["functions"], &state["running"]), (&json!(["f.openfaas-fn"]), &json!(0)));
    let calls: Value =
        send("GET", "calls?from=1", Value::Null).await.unwrap().json().await.unwrap();
    assert_eq!(
        (&calls[0]["n"], &calls[0]["status"], &calls[0]["body"]),
        (&json!(1), &json!(503), &json!("Yg=="))
    );

    assert_eq!(send("DELETE", "functions/f", Value::Null).await.unwrap().status(), 204);
    assert_eq!(send("DELETE", "functions/f", Value::Null).await.unwrap().status(), 404);
    assert_eq!(send("GET", "nothing", Value::Null).await.unwrap().status(), 404);

    send("PUT", "functions/f", json!({})).await.unwrap();
    send("PUT", "faults/f", json!({"do": "hang"})).await.unwrap();
    let hanging = tokio::spawn(client().post(format!("{url}/function/f")).send());
    gateway.ledger().wait_for("the hang", |calls| calls.running() == 1).await;
    assert_eq!(send("POST", "stop", json!({"for_ms": 1})).await.unwrap().status(), 202);
    assert!(hanging.await.unwrap().is_err(), "cut by the stop");
    while client().get(format!("{url}/healthz")).send().await.is_err() {
        tokio::task::yield_now().await;
    }
}
