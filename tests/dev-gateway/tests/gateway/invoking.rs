//! `/function/` and `/async-function/`.

use dev_gateway::{Cause, Config, Function, Mode, Reply};
use reqwest::Method;

use crate::support::{client, start, start_with};

#[tokio::test]
async fn a_function_answers_with_the_gateways_headers() {
    let gateway = start().await;
    gateway.deploy(Function::named("f").topic("orders"));
    let url = format!("{}/function/f", gateway.url());
    let sent =
        client().post(&url).header("content-type", "text/csv").body("a,b").send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let header =
        |name: &str| sent.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("text/csv"));
    assert_eq!(header("x-call-id").map(|id| id.len()), Some(36));
    assert!(header("x-start-time").unwrap().parse::<u128>().unwrap() > 1_600_000_000_000_000_000);
    assert!(header("x-served-by").unwrap().starts_with("openfaas-ce/"));
    let duration = header("x-duration-seconds").unwrap();
    assert_eq!(duration.split_once('.').unwrap().1.len(), 6, "{duration}");
    assert_eq!(sent.text().await.unwrap(), "a,b");
}

#[tokio::test]
async fn a_callers_own_call_id_is_kept_and_not_returned() {
    let gateway = start().await;
    gateway.deploy(Function::named("f"));
    let sent = client()
        .post(format!("{}/function/f", gateway.url()))
        .header("x-call-id", "mine")
        .send()
        .await
        .unwrap();
    assert!(sent.headers().get("x-call-id").is_none());
    assert_eq!(gateway.ledger().calls()[0].call_id, "mine");
}

#[tokio::test]
async fn names_split_at_the_last_dot() {
    let gateway = start().await;
    gateway.deploy(Function::named("f").namespace("dev").answer(Reply::text("dev")));
    gateway.deploy(Function::named("a.b.dev").answer(Reply::text("dotted")));
    gateway.deploy(Function::named("f").answer(Reply::text("default")));
    for (name, body) in [
        ("f", "default"),
        ("f.openfaas-fn", "default"),
        ("f.dev", "dev"),
        ("a.b.dev", "dotted"),
        ("f/", "default"),
    ] {
        let sent = client().get(format!("{}/function/{name}", gateway.url())).send().await.unwrap();
        assert_eq!(sent.text().await.unwrap(), body, "{name}");
    }
}

#[tokio::test]
async fn functions_see_path_query_and_the_added_headers() {
    let gateway = start().await;
    gateway.deploy(Function::named("f").handler(|request| async move {
        let header =
            |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert!(header("x-call-id").is_some() && header("x-start-time").is_some());
        assert!(header("x-forwarded-host").is_some() && header("x-forwarded-for").is_some());
        assert_eq!(header("connection"), None);
        Reply::text(format!("{} {} {}", request.method, request.path, request.query))
    }));
    let url = format!("{}/function/f/a/b?c=d", gateway.url());
    let sent = client().put(&url).header("connection", "keep-alive").send().await.unwrap();
    assert_eq!(sent.text().await.unwrap(), "PUT /a/b c=d");
    assert_eq!(gateway.ledger().calls()[0].path, "/a/b?c=d");
}

#[tokio::test]
async fn unknown_functions_methods_and_paths_are_refused() {
    let gateway = start().await;
    gateway.deploy(Function::named("f"));
    let url = gateway.url();
    let sent = client().post(format!("{url}/function/gone")).send().await.unwrap();
    assert_eq!(sent.status(), 404);
    assert!(sent.text().await.unwrap().starts_with("error finding function gone.openfaas-fn: "));
    assert_eq!(gateway.ledger().calls()[0].ended.unwrap().cause, Some(Cause::Unknown));

    let request = |method, path| client().request(method, format!("{url}{path}")).send();
    assert_eq!(request(Method::TRACE, "/function/f").await.unwrap().status(), 405);
    assert_eq!(request(Method::GET, "/async-function/f").await.unwrap().status(), 405);
    assert_eq!(request(Method::POST, "/function/f%20g").await.unwrap().status(), 404);
    assert_eq!(request(Method::GET, "/nothing").await.unwrap().status(), 404);
    let home = request(Method::GET, "/").await.unwrap();
    assert_eq!(
        (home.status().as_u16(), home.headers()["location"].to_str().unwrap()),
        (307, "/ui/")
    );
    let twice = request(Method::POST, "//function/f").await.unwrap();
    assert_eq!(
        (twice.status().as_u16(), twice.headers()["location"].to_str().unwrap()),
        (301, "/function/f")
    );
}

#[tokio::test]
async fn queued_requests_are_accepted_then_run_then_reported() {
    let gateway = start().await;
    let callback = start().await;
    callback.deploy(Function::named("done"));
    gateway.deploy(Function::named("f").answer(Reply::status(201).body("made")));
    let sent = client()
        .post(format!("{}/async-function/f", gateway.url()))
        .header("x-callback-url", format!("{}/function/done", callback.url()))
        .body("payload")
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 202);
    let call_id = sent.headers()["x-call-id"].to_str().unwrap().to_owned();
    assert_eq!(sent.text().await.unwrap(), "");

    callback.ledger().wait_for("the callback", |calls| calls.well().count() == 1).await;
    let told = &callback.ledger().calls()[0];
    assert_eq!(told.text(), "made");
    assert_eq!(told.header("x-function-status"), Some("201"));
    assert_eq!(told.header("x-function-name"), Some("f"));
    assert_eq!(told.call_id, call_id);
    let calls = gateway.ledger().calls();
    let seen: Vec<_> = calls.iter().map(|call| (call.mode, call.ended.unwrap().status)).collect();
    assert_eq!(seen, [(Mode::Queued, 202), (Mode::Async, 201)]);
    assert_eq!(calls[1].call_id, call_id);
    assert_eq!(calls[1].text(), "payload");
}

#[tokio::test]
async fn the_queue_takes_unknown_functions_but_no_bad_callbacks_and_can_be_off() {
    let gateway = start().await;
    let url = format!("{}/async-function/gone", gateway.url());
    assert_eq!(client().post(&url).send().await.unwrap().status(), 202);
    let bad = client().post(&url).header("x-callback-url", "http://a b").send().await.unwrap();
    assert_eq!(bad.status(), 400);
    let off = start_with(Config { asynchronous: false, ..Config::default() }).await;
    let url = format!("{}/async-function/gone", off.url());
    assert_eq!(client().post(&url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn bodies_have_a_limit_of_32_mib() {
    let gateway = start().await;
    gateway.deploy(Function::named("f").answer(Reply::default()));
    let url = format!("{}/function/f", gateway.url());
    let mib = 1024 * 1024;
    assert_eq!(client().post(&url).body(vec![7; 32 * mib]).send().await.unwrap().status(), 200);
    let call = &gateway.ledger().calls()[0];
    assert_eq!((call.body_length, &call.body), (32 * mib, &None));
    // The rest may be refused before it has been sent, which a client can see as a broken connection.
    if let Ok(sent) = client().post(&url).body(vec![7; 32 * mib + 1]).send().await {
        assert_eq!(sent.status(), 413);
    }
    assert_eq!(gateway.ledger().calls().len(), 1);
}
