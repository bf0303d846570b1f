//! The service away, credentials refused, the platform down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dev_gateway::{Fault, HealthFault};

use crate::proxy::{Act, Proxy, error};
use crate::support::{Queue, Setup, gateway};

#[tokio::test]
async fn a_service_that_is_away_at_first_is_waited_for() {
    let queue = Queue::standard("away").await;
    let gateway = gateway("f", &queue.name).await;
    // Where nobody listens yet.
    let proxy = Proxy::start(|_| Act::Pass).await;
    let url = proxy.url.clone();
    proxy.stop().await;
    let setup = Setup::new(&gateway).with("endpoint_url", &url).with("topics", &queue.name);
    let connector = setup.start().await;
    connector.wait_until_unready(&format!("queue {}", queue.name)).await;
    queue.send("late").await;
    let _proxy = Proxy::at(url.trim_start_matches("http://"), |_| Act::Pass).await;
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    connector.stop().await;
}

#[tokio::test]
async fn a_service_that_goes_away_costs_no_call() {
    let queue = Queue::standard("gone").await;
    let gateway = gateway("f", &queue.name).await;
    let proxy = Proxy::start(|_| Act::Pass).await;
    let setup = Setup::new(&gateway).with("endpoint_url", &proxy.url);
    let connector = setup.with("topics", &queue.name).ready().await;
    // Deletes and receives fail, as does everything else.
    proxy.script(|asked| if asked.action == "ReceiveMessage" { Act::Pass } else { Act::Close });
    queue.send_all((0..10).map(|n| n.to_string())).await;
    gateway.ledger().wait_for("the calls", |calls| calls.well().count() == 10).await;
    proxy.script(|_| Act::Close);
    connector.wait_until_unready("queue").await;
    proxy.script(|_| Act::Pass);
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(gateway.ledger().calls().len(), 10);
    connector.stop().await;
}

#[tokio::test]
async fn expired_credentials_are_looked_for_again() {
    let queue = Queue::standard("expired").await;
    let gateway = gateway("f", &queue.name).await;
    let directory = std::env::temp_dir().join(crate::support::unique("credentials"));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("aws-sqs-credentials");
    let write = |key: &str| {
        let text =
            format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n");
        std::fs::write(&file, text).unwrap();
    };
    write("expired");
    let proxy = Proxy::start(|asked| match asked.credential.contains("Credential=expired/") {
        true => {
            error("ExpiredTokenException", "The security token included in the request is expired")
        }
        false => Act::Pass,
    })
    .await;
    let connector = Setup::new(&gateway)
        .with("endpoint_url", &proxy.url)
        .with("topics", &queue.name)
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .with("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())
        .start()
        .await;
    connector.wait_until_unready("ExpiredToken").await;
    write("good");
    connector.wait_until_ready().await;
    queue.send("x").await;
    queue.wait_until_empty().await;
    // They expire while a call runs: its delete is made with the next ones.
    proxy.script(|asked| match asked.credential.contains("Credential=good/") {
        true => {
            error("ExpiredTokenException", "The security token included in the request is expired")
        }
        false => Act::Pass,
    });
    connector.wait_until_unready("ExpiredToken").await;
    write("better");
    connector.wait_until_ready().await;
    queue.send("y").await;
    queue.wait_until_empty().await;
    assert_eq!(gateway.ledger().calls().len(), 2);
    connector.stop().await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn missing_credentials_are_named_and_waited_for() {
    let queue = Queue::standard("missing").await;
    let gateway = gateway("f", &queue.name).await;
    let file = std::env::temp_dir().join(crate::support::unique("credentials"));
    let connector = Setup::new(&gateway)
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .with("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())
        .start()
        .await;
    connector.wait_until_unready("no credentials").await;
    std::fs::write(&file, "[default]\naws_access_key_id = a\naws_secret_access_key = b\n").unwrap();
    connector.wait_until_ready().await;
    queue.send("x").await;
    queue.wait_until_empty().await;
    connector.stop().await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn nothing_new_is_received_while_the_platform_is_down() {
    let queue = Queue::standard("platform").await;
    let gateway = gateway("f", &queue.name).await;
    let receives = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&receives);
    let proxy = Proxy::start(move |asked| {
        if asked.action == "ReceiveMessage" {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        Act::Pass
    })
    .await;
    let setup = Setup::new(&gateway).with("endpoint_url", &proxy.url).with("max_messages", "1");
    let connector = setup.with("function_concurrency", "1").ready().await;
    gateway.platform(|platform| {
        platform.calls = Some(Fault::empty_502());
        platform.health = Some(HealthFault::Status(503));
    });
    queue.send_all((0..30).map(|n| n.to_string())).await;
    connector.wait_until_unready("platform").await;
    // What was under way is over, and then there are none.
    gateway.wait_for_health_checks(2).await;
    let before = receives.load(Ordering::SeqCst);
    gateway.wait_for_health_checks(2).await;
    assert!(receives.load(Ordering::SeqCst) <= before + 1);
    gateway.heal();
    queue.wait_until_empty().await;
    // The outage counted no attempts.
    let attempts = gateway
        .ledger()
        .with(|calls| calls.well().map(|call| call.attempt.unwrap()).collect::<Vec<_>>());
    assert_eq!(attempts.len(), 30);
    assert!(attempts.iter().all(|attempt| *attempt == 1), "{attempts:?}");
    connector.stop().await;
}
