//! Core NATS.

use std::time::Duration;

use async_nats::{HeaderMap, Request};
use dev_gateway::{Fault, Function, Gate, Mode, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::{Connector, Server, gateway, until, until_is};

#[tokio::test]
async fn upstreams_settings_call_a_function_through_the_queue() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("resize").topic("nats-test").echo()]).await;
    let mut connector = Connector::ready(
        &server,
        &gateway,
        &[
            ("topics", "nats-test,"),
            ("asynchronous_invocation", ""),
            ("print_response", "false"),
            ("print_response_body", "false"),
            ("topic_delimiter", ","),
        ],
    )
    .await;
    connector.until_logged("subscribed").await;
    server.client().await.publish("nats-test", "hello".into()).await.unwrap();
    gateway.ledger().wait_for("the call", |calls| calls.of("resize").count() >= 1).await;
    let call = gateway.ledger().calls().remove(0);
    assert_eq!(call.mode, Mode::Queued);
    assert_eq!(call.header("x-topic"), Some("nats-test"));
    assert_eq!(call.header("x-connector"), Some("nats-connector"));
    assert_eq!(call.header("content-type"), None);
    until_is("delivered", 1, async || connector.came("delivered").await).await;
    connector.balanced().await;
    connector.terminate();
    assert_eq!(connector.ended().await.code(), Some(0));
    assert_eq!(connector.lines_with("not well"), 0, "{:#?}", connector.log());
}

/// A way to the server on which a client's first subscription waits until it is let through.
async fn hesitant(server: &Server) -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = server.address();
    let (let_through, mut through) = oneshot::channel();
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = listener.accept().await.unwrap().0.into_split();
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let has_subscribed = |sent: &[u8]| sent.windows(4).any(|word| word == b"SUB ");
        let (mut sent, mut passed) = (Vec::new(), 0);
        while !has_subscribed(&sent[..passed]) {
            from_client.read_buf(&mut sent).await.unwrap();
            if has_subscribed(&sent) {
                (&mut through).await.unwrap();
            }
            to_server.write_all(&sent[passed..]).await.unwrap();
            passed = sent.len();
        }
        tokio::io::copy(&mut from_client, &mut to_server).await
    });
    (address, let_through)
}

/// What is published to nobody is lost.
#[tokio::test]
async fn it_is_ready_only_once_it_has_subscribed() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let (address, let_through) = hesitant(&server).await;
    let connector = Connector::start(&address, &gateway, &[]);
    connector.until_unready("subscriptions").await;
    let_through.send(()).unwrap();
    connector.until_ready().await;
    server.client().await.publish("t", "at once".into()).await.unwrap();
    until_is("delivered", 1, async || connector.came("delivered").await).await;
}

#[tokio::test]
async fn bodies_and_headers_arrive_as_they_were_sent() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("f").topic("bytes.*").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[]).await;
    connector.until_logged("subscribed").await;
    let client = server.client().await;
    let large: Vec<u8> = (0..900_000_u32).map(|n| n as u8).collect();
    client.publish("bytes.empty", "".into()).await.unwrap();
    client.publish("bytes.binary", bytes::Bytes::from_static(b"\0\r\n\xff")).await.unwrap();
    client.publish("bytes.large", large.clone().into()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.append("Trace", "b");
    headers.append("Trace", "a");
    headers.insert("Stream", "posing");
    headers.insert("Place", "Größe");
    headers.insert("Content-Type", "text/csv");
    client.publish_with_headers("bytes.headers", headers, "h".into()).await.unwrap();
    gateway.ledger().wait_for("four calls", |calls| calls.of("f").count() == 4).await;
    let calls = gateway.ledger().calls();
    let of = |topic: &str| calls.iter().find(|call| call.topic.as_deref() == Some(topic)).unwrap();
    assert_eq!(of("bytes.empty").body_length, 0);
    assert_eq!(of("bytes.binary").body.as_deref(), Some(&b"\0\r\n\xff"[..]));
    assert_eq!(of("bytes.large").body_length, large.len());
    let headers = of("bytes.headers");
    let trace: Vec<_> = headers.headers.get_all("x-nats-trace").collect();
    assert_eq!(trace, ["b", "a"]);
    assert_eq!(headers.header("x-nats-header-stream"), Some("posing"));
    assert_eq!(headers.header("x-nats-stream"), None);
    assert_eq!(headers.header("x-nats-place-enc"), Some("b64"));
    assert_eq!(headers.header("content-type"), Some("text/csv"));
}

#[tokio::test]
async fn overlapping_subscriptions_deliver_once() {
    let mut server = Server::start().await;
    let functions = [
        Function::named("wide").topic("a.*").echo(),
        Function::named("narrow").topic("a.b").echo(),
        Function::named("left").topic("x.*.z").echo(),
        Function::named("right").topic("x.y.*").echo(),
    ];
    let gateway = gateway(functions).await;
    let connector = Connector::ready(&server, &gateway, &[]).await;
    until_is("subscriptions", 3, async || connector.lines_with("subscribed subject")).await;
    let client = server.client().await;
    for subject in ["a.b", "a.c", "x.y.z", "x.y.w", "x.v.z", "end.x"] {
        client.publish(subject, subject.into()).await.unwrap();
    }
    gateway.ledger().wait_for("every call", |calls| calls.iter().count() >= 7).await;
    until_is("received", 5, async || connector.metric("tributary_events_received_total").await)
        .await;
    let mut seen: Vec<_> = gateway
        .ledger()
        .calls()
        .into_iter()
        .map(|call| format!("{} {}", call.text(), call.function.split('.').next().unwrap()))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "a.b narrow",
            "a.b wide",
            "a.c wide",
            "x.v.z left",
            "x.y.w right",
            "x.y.z left",
            "x.y.z right"
        ]
    );
    // To the server the two are one queue group, of which either may get the message.
    for _ in 0..20 {
        client.publish("x.y.z", "again".into()).await.unwrap();
    }
    gateway.ledger().wait_for("all of them", |calls| calls.iter().count() >= 47).await;
    until_is("delivered", 25, async || connector.came("delivered").await).await;
    connector.balanced().await;
}

#[tokio::test]
async fn what_is_subscribed_to_follows_the_annotations() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("first").topic("a").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[("unmap_after", "1s")]).await;
    connector.until_logged("subscribed subject=a").await;
    gateway.deploy(Function::named("later").topic("b.*").echo());
    connector.until_logged("subscribed subject=b.*").await;
    let client = server.client().await;
    client.publish("b.1", "b".into()).await.unwrap();
    gateway.ledger().wait_for("the new function", |calls| calls.of("later").count() == 1).await;
    gateway.remove("later");
    connector.until_logged("no longer subscribed subject=b.*").await;
    client.publish("b.2", "nobody".into()).await.unwrap();
    client.publish("a", "a".into()).await.unwrap();
    gateway.ledger().wait_for("the other", |calls| calls.of("first").count() == 1).await;
    assert_eq!(connector.metric("tributary_events_received_total").await, 2);
}

#[tokio::test]
async fn an_order_that_nobody_is_mapped_to_is_not_subscribed_to() {
    let mut server = Server::start().await;
    let gateway = gateway([]).await;
    let connector = Connector::ready(&server, &gateway, &[("topics", "orders.*")]).await;
    let client = server.client().await;
    // No one listens: a request is told so at once.
    let refused = client.request("orders.1", "x".into()).await.unwrap_err();
    assert_eq!(refused.kind(), async_nats::RequestErrorKind::NoResponders);
    gateway.deploy(Function::named("f").topic("orders.1,orders.2").echo());
    connector.until_logged("subscribed subject=orders.*").await;
    client.publish("orders.1", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
}

/// Also where nobody else is mapped to its subject: its publisher waits for the stream's answer.
#[tokio::test]
async fn a_letter_calls_who_asked_for_it_by_name() {
    for topic in ["s.>", "s.x"] {
        let mut server = Server::start().await;
        let letters = server.stream("LETTERS", &["s.dead"]).await;
        let functions = [
            Function::named("f").topic(topic).answer(Reply::status(400)),
            Function::named("h").topic("s.dead").echo(),
        ];
        let gateway = gateway(functions).await;
        let env = [("topics", "s.>"), ("dead_letter", "subject:s.dead")];
        let connector = Connector::ready(&server, &gateway, &env).await;
        connector.until_logged("subscribed").await;
        server.client().await.publish("s.x", "x".into()).await.unwrap();
        gateway.ledger().wait_for("the letter", |calls| calls.of("h").count() == 1).await;
        until_is("dead-lettered", 1, async || connector.came("dead_lettered").await).await;
        assert_eq!(gateway.ledger().calls().len(), 2, "the pattern does not bring it");
        assert_eq!(letters.get_info().await.unwrap().state.messages, 1);
        connector.balanced().await;
    }
}

#[tokio::test]
async fn a_request_gets_the_functions_answer_even_where_calls_are_queued() {
    let mut server = Server::start().await;
    let functions = [
        Function::named("double")
            .topic("math.double")
            .answer(Reply::text("84").header("Content-Type", "text/x-number")),
        Function::named("fail").topic("math.fail").answer(Reply::status(400).body("no number")),
        Function::named("busy").topic("math.busy").answer(Reply::status(503)),
        // With its content type it is larger than the server's limit.
        Function::named("huge")
            .topic("math.huge")
            .answer(Reply::text(vec![b'x'; 1_048_570]).header("Content-Type", "text/x-number")),
    ];
    let gateway = gateway(functions).await;
    let connector =
        Connector::ready(&server, &gateway, &[("asynchronous_invocation", "true")]).await;
    until_is("subscriptions", 4, async || connector.lines_with("subscribed subject")).await;
    let client = server.client().await;

    let answer = client.request("math.double", "42".into()).await.unwrap();
    assert_eq!(&answer.payload[..], b"84");
    assert_eq!(answer.headers.unwrap().get("Content-Type").unwrap().as_str(), "text/x-number");

    let answer = client.request("math.fail", "x".into()).await.unwrap();
    assert_eq!(&answer.payload[..], b"no number");
    let headers = answer.headers.unwrap();
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "400");
    assert!(headers.get("Nats-Service-Error").is_some());

    let answer = client.request("math.busy", "x".into()).await.unwrap();
    assert_eq!(answer.headers.unwrap().get("Nats-Service-Error-Code").unwrap().as_str(), "503");
    let answer = client.request("math.huge", "x".into()).await.unwrap();
    assert!(answer.payload.is_empty());
    assert_eq!(answer.headers.unwrap().get("Nats-Service-Error-Code").unwrap().as_str(), "500");
    let modes: Vec<_> = gateway.ledger().calls().iter().map(|call| call.mode).collect();
    assert_eq!(modes, [Mode::Sync; 4]);
    connector.balanced().await;
}

#[tokio::test]
async fn a_full_window_drops_the_newest_and_counts_it() {
    let mut server = Server::start().await;
    let gate = Gate::closed();
    let gateway = gateway([Function::named("slow").topic("flood").echo()]).await;
    gateway.fault("slow", Fault::gate(&gate));
    let env = [("lane_window", "5"), ("function_concurrency", "2")];
    let connector = Connector::ready(&server, &gateway, &env).await;
    connector.until_logged("subscribed").await;
    let client = server.client().await;
    for n in 0..30 {
        client.publish("flood", n.to_string().into()).await.unwrap();
    }
    let lost = async || connector.metric("tributary_nats_lost_total{why=\"full\"}").await;
    until_is("lost", 25, lost).await;
    let refused = client.request("flood", "asks".into()).await.unwrap().headers.unwrap();
    assert_eq!(refused.get("Nats-Service-Error-Code").unwrap().as_str(), "503");
    until_is("lost", 26, lost).await;
    assert_eq!(connector.lines_with("no room for more messages"), 1);
    gate.open();
    gateway.ledger().wait_for("the others", |calls| calls.of("slow").count() == 5).await;
    let mut called: Vec<_> = gateway.ledger().calls().iter().map(|call| call.text()).collect();
    called.sort();
    assert_eq!(called, ["0", "1", "2", "3", "4"]);
    until_is("delivered", 5, async || connector.came("delivered").await).await;
    connector.balanced().await;
}

#[tokio::test]
async fn draining_ends_what_runs_and_answers_what_was_asked() {
    let mut server = Server::start().await;
    let gate = Gate::closed();
    let gateway = gateway([Function::named("f").topic("ask").echo()]).await;
    gateway.fault("f", Fault::gate(&gate));
    let env = [("function_concurrency", "1")];
    let mut connector = Connector::ready(&server, &gateway, &env).await;
    connector.until_logged("subscribed").await;
    let client = server.client().await;
    let ask = |text: &'static str| {
        let request = Request::new().payload(text.into()).timeout(Some(Duration::from_secs(30)));
        let client = client.clone();
        tokio::spawn(async move { client.send_request("ask", request).await.unwrap() })
    };
    let runs = ask("runs");
    gate.wait_for_waiting(1).await;
    let waits = ask("waits");
    until_is("in flight", 2, async || connector.metric("tributary_events_in_flight").await).await;
    connector.terminate();
    // What waits is let go at once, and whoever asked is told.
    let told = waits.await.unwrap().headers.unwrap();
    assert_eq!(told.get("Nats-Service-Error-Code").unwrap().as_str(), "503");
    let late = client.request("ask", "late".into()).await.unwrap_err();
    assert_eq!(late.kind(), async_nats::RequestErrorKind::NoResponders);
    gate.open();
    assert_eq!(&runs.await.unwrap().payload[..], b"runs");
    assert_eq!(connector.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_server_that_dies_is_come_back_to_and_the_log_stays_quiet() {
    let mut server = Server::start().await;
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[]).await;
    connector.until_logged("subscribed").await;
    server.kill().await;
    connector.until_unready("broker").await;
    let before = connector.log().len();
    // Through several attempts of the library.
    let mut connections = 0;
    let listener = TcpListener::bind(server.address()).await.unwrap();
    while connections < 6 {
        drop(listener.accept().await.unwrap());
        connections += 1;
    }
    drop(listener);
    assert!(connector.log().len() - before <= 8, "{:#?}", &connector.log()[before..]);
    server.up().await;
    connector.until_ready().await;
    let client = server.client().await;
    until("a message that arrives", async || {
        client.publish("t", "back".into()).await.unwrap();
        (connector.came("delivered").await > 0).then_some(())
    })
    .await;
    assert_eq!(connector.metric("tributary_source_restarts_total").await, 0);
}
