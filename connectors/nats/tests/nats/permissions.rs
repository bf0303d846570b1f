//! What the server does not permit: said with the subject, and used as soon as it is permitted.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use dev_gateway::Function;

use crate::support::{
    Connector, PATIENCE, Server, consumers, directory, gateway, pull_consumer, until_empty,
    until_is, write,
};

/// A user `all` who may do everything, and `u`, who may not publish to some subjects.
fn denied(subjects: &str) -> String {
    format!(
        "authorization {{ users: [ {{ user: all, password: p }}, {{ user: u, password: p, permissions: {{ publish: {{ deny: [{subjects}] }} }} }} ] }}"
    )
}

/// A server where `u` may not publish to `subject`, and the environment to be `u`.
async fn refusing(subject: &str) -> (Server, Vec<(&'static str, String)>) {
    let mut server = Server::with(&denied(&format!("{subject:?}"))).await;
    server.log_in("all", "p").await;
    (server, be_u())
}

/// What makes the connector the user `u`.
fn be_u() -> Vec<(&'static str, String)> {
    let files = directory();
    let files = [("username_file", "u"), ("password_file", "p")]
        .map(|(name, text)| (name, write(&files, name, text)));
    files.into()
}

async fn permit_all(server: &mut Server) {
    server.configure(&denied(""));
    server.reload().await;
}

fn with<'a>(
    files: &'a [(&'a str, String)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let files = files.iter().map(|(name, file)| (*name, &**file));
    files.chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn who_may_not_create_consumers_is_told_so_and_goes_on_when_it_may() {
    let (mut server, files) = refusing("$JS.API.CONSUMER.CREATE.>").await;
    let stream = server.stream("S", &["s"]).await;
    server.publish("s", "x").await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = with(&files, &[("stream", "S"), ("topics", "s")]);
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector
        .until_unready("Permissions Violation for Publish to \"$JS.API.CONSUMER.CREATE.S.")
        .await;
    assert!(consumers(&stream).await.is_empty());
    permit_all(&mut server).await;
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
    connector.until_ready().await;
    assert_eq!(connector.lines_with("$JS.API.CONSUMER.CREATE"), 1, "{:#?}", connector.log());
}

#[tokio::test]
async fn who_may_not_ask_for_messages_is_told_so_and_goes_on_when_it_may() {
    let (mut server, files) = refusing("$JS.API.CONSUMER.MSG.NEXT.S.d").await;
    let stream = server.stream("S", &["s"]).await;
    stream.create_consumer(pull_consumer("d")).await.unwrap();
    server.publish("s", "x").await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = with(&files, &[("stream", "S"), ("durable", "d")]);
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("Violation for Publish to \"$JS.API.CONSUMER.MSG.NEXT.S.d").await;
    permit_all(&mut server).await;
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
    connector.until_ready().await;
    until_empty(&stream, "d").await;
    assert_eq!(connector.lines_with("$JS.API.CONSUMER.MSG.NEXT"), 1, "{:#?}", connector.log());
}

#[tokio::test]
async fn who_may_not_ask_for_messages_that_nobody_wants_any_more_is_ready() {
    let (mut server, files) = refusing("$JS.API.CONSUMER.MSG.NEXT.S.d").await;
    let stream = server.stream("S", &["s"]).await;
    stream.create_consumer(pull_consumer("d")).await.unwrap();
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = with(&files, &[("stream", "S"), ("durable", "d"), ("unmap_after", "1s")]);
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("Violation for Publish to \"$JS.API.CONSUMER.MSG.NEXT.S.d").await;
    gateway.remove("f");
    connector.until_ready().await;
}

#[tokio::test]
async fn who_may_not_acknowledge_is_told_so_and_calls_nothing_twice() {
    let (mut server, files) = refusing("$JS.ACK.>").await;
    let stream = server.stream("S", &["s"]).await;
    let config = pull::Config { ack_wait: Duration::from_secs(1), ..pull_consumer("d") };
    stream.create_consumer(config).await.unwrap();
    for n in 0..5 {
        server.publish("s", n.to_string()).await;
    }
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let env = with(&files, &[("stream", "S"), ("durable", "d")]);
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("Violation for Publish to \"$JS.ACK.S.d.").await;
    // The leases lapse, and what was called comes again.
    until_is("all came again", true, async || connector.came("repeated").await >= 5).await;
    permit_all(&mut server).await;
    until_empty(&stream, "d").await;
    connector.until_ready().await;
    assert_eq!(gateway.ledger().calls().len(), 5, "nothing was called twice");
    let lines = connector.lines_with("$JS.ACK");
    assert!(lines <= 2, "once, not for each message: {:#?}", connector.log());
    connector.balanced().await;
}

#[tokio::test]
async fn who_may_not_store_letters_is_told_so_and_holds_the_message() {
    let (mut server, files) = refusing("letters").await;
    let stream = server.stream("S", &["s"]).await;
    let letters = server.stream("LETTERS", &["letters"]).await;
    stream.create_consumer(pull_consumer("d")).await.unwrap();
    server.publish("s", "x").await;
    let refusing = dev_gateway::Reply::status(400);
    let gateway = gateway([Function::named("f").topic("s").answer(refusing)]).await;
    let more = [("stream", "S"), ("durable", "d"), ("dead_letter", "subject:letters")];
    let connector = Connector::start(&server.address(), &gateway, &with(&files, &more));
    connector.until_unready("Violation for Publish to \"letters\"").await;
    assert_eq!(stream.consumer_info("d").await.unwrap().num_ack_pending, 1, "held");
    permit_all(&mut server).await;
    until_is("letters", 1, async || letters.get_info().await.unwrap().state.messages).await;
    until_empty(&stream, "d").await;
    connector.until_ready().await;
}

#[tokio::test]
async fn who_may_not_receive_answers_is_told_so() {
    let deny = |subjects: &str| {
        format!(
            "authorization {{ users: [ {{ user: all, password: p }}, {{ user: u, password: p, permissions: {{ subscribe: {{ deny: [{subjects}] }} }} }} ] }}"
        )
    };
    let mut server = Server::with(&deny("\"_INBOX.>\"")).await;
    server.log_in("all", "p").await;
    server.stream("S", &["s"]).await;
    server.publish("s", "x").await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let files = be_u();
    let connector =
        Connector::start(&server.address(), &gateway, &with(&files, &[("stream", "S")]));
    connector.until_unready("Permissions Violation for Subscription to \"_INBOX.").await;
    server.configure(&deny(""));
    server.reload().await;
    gateway
        .ledger()
        .wait_for_within(PATIENCE, "the call", |calls| calls.of("f").count() == 1)
        .await;
    connector.until_ready().await;
}

/// A server where `u` may do what is listed and nothing else, and the environment to be `u`.
async fn permitting(publish: &str, subscribe: &str) -> (Server, Vec<(&'static str, String)>) {
    let users = format!(
        "authorization {{ users: [ {{ user: all, password: p }}, {{ user: u, password: p, permissions: {{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }} }} ] }}"
    );
    let mut server = Server::with(&users).await;
    server.log_in("all", "p").await;
    (server, be_u())
}

#[tokio::test]
async fn what_the_guide_lists_for_a_bound_consumer_is_enough() {
    let publish = "\"$JS.API.STREAM.INFO.S\", \"$JS.API.CONSUMER.INFO.S.d\", \"$JS.API.CONSUMER.MSG.NEXT.S.d\", \"$JS.ACK.S.d.>\"";
    let (mut server, files) = permitting(publish, "\"_INBOX.>\"").await;
    let stream = server.stream("S", &["s"]).await;
    stream.create_consumer(pull_consumer("d")).await.unwrap();
    served(&mut server, &with(&files, &[("stream", "S"), ("durable", "d"), ("bind", "true")]))
        .await;
    until_empty(&stream, "d").await;
}

#[tokio::test]
async fn what_the_guide_lists_for_created_consumers_is_enough() {
    let publish = "\"$JS.API.STREAM.INFO.*\", \"$JS.API.STREAM.NAMES\", \"$JS.API.CONSUMER.>\", \"$JS.ACK.>\"";
    let (mut server, files) = permitting(publish, "\"_INBOX.>\"").await;
    let stream = server.stream("S", &["s"]).await;
    served(&mut server, &with(&files, &[("durable", "team")])).await;
    until_empty(&stream, &consumers(&stream).await[0].name).await;
}

#[tokio::test]
async fn what_the_guide_lists_for_core_nats_is_enough() {
    let (mut server, files) = permitting("\"_INBOX.>\"", "s, \"_INBOX.>\"").await;
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &with(&files, &[])).await;
    connector.until_logged("subscribed").await;
    let answer = server.client().await.request("s", "x".into()).await.unwrap();
    assert_eq!(&answer.payload[..], b"x");
    assert_eq!(connector.lines_with("Permissions"), 0, "{:#?}", connector.log());
}

/// A message is called, and nothing is refused.
async fn served(server: &mut Server, env: &[(&str, &str)]) {
    let gateway = gateway([Function::named("f").topic("s").echo()]).await;
    let connector = Connector::ready(server, &gateway, env).await;
    server.publish("s", "x").await;
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
    assert_eq!(connector.lines_with("Permissions"), 0, "{:#?}", connector.log());
    assert_eq!(connector.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_the_others_go_on() {
    let denied = |what: &str| {
        format!(
            "authorization {{ users: [ {{ user: u, password: p, permissions: {{ subscribe: {{ deny: \"{what}\" }} }} }} ] }}"
        )
    };
    let server = Server::with(&denied("secret.>")).await;
    let files = be_u();
    let functions =
        [Function::named("f").topic("t").echo(), Function::named("g").topic("secret.>").echo()];
    let gateway = gateway(functions).await;
    let env = with(&files, &[("topics", "t,secret.>")]);
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("Permissions Violation").await;
    let client = server.client_as("u", "p").await;
    client.publish("t", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the other topic", |calls| calls.of("f").count() == 1).await;

    server.configure(&denied("something.else"));
    server.reload().await;
    connector.until_ready().await;
    connector.until_logged("well again subject=\"subscription to secret.>\"").await;
    assert_eq!(
        connector.lines_with("not well subject=\"subscription"),
        1,
        "told once, not at each listing"
    );
    // The server has closed every connection whose permissions changed.
    let client = server.client_as("u", "p").await;
    client.publish("secret.x", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the topic", |calls| calls.of("g").count() == 1).await;
}
