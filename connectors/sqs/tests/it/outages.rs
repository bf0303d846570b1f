//! The service away or overloaded, the platform down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dev_gateway::{Fault, HealthFault};

use crate::proxy::{Act, Proxy, error};
use crate::support::{Setup, folder, standard};

#[tokio::test]
async fn it_may_start_long_before_the_service_and_the_gateway() {
    let (queue, gateway) = standard("early").await;
    let directory = folder("hosts");
    let hosts = directory.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    // Where nobody listens yet, by a name that nobody knows yet.
    let proxy = Proxy::start(|_| Act::Pass).await;
    let address = proxy.url.trim_start_matches("http://").to_owned();
    proxy.stop().await;
    gateway.stop().await;
    let connector = Setup::new(&gateway)
        .with("endpoint_url", &format!("http://{}", address.replace("127.0.0.1", "the-service")))
        .with("topics", &queue.name)
        .hosts(&hosts)
        .start()
        .await;
    // Which says: for a minute now.
    connector.wait_for_log_within(Duration::from_secs(120), "still not well").await;
    gateway.restart().await.unwrap();
    connector.wait_until_unready(&format!("queue {}", queue.name)).await;
    // In place: the file is mounted.
    std::fs::write(&hosts, "127.0.0.1 localhost the-service\n").unwrap();
    let _proxy = Proxy::at(&address, |_| Act::Pass).await;
    queue.send("late").await;
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    let log = connector.log();
    let lines_of = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    // The gateway and the queue each went once and came once; a reason may change in between.
    assert!(lines_of("not well") + lines_of("well again") <= 7, "{log}");
    assert!(log.lines().count() <= 16, "{log}");
    connector.stop().await;
}

#[tokio::test]
async fn a_service_that_goes_away_costs_no_call() {
    let (queue, gateway) = standard("gone").await;
    let proxy = Proxy::start(|_| Act::Pass).await;
    let setup = Setup::new(&gateway).through(&proxy);
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
async fn throttling_is_waited_out() {
    let (queue, gateway) = standard("throttled").await;
    let proxy = Proxy::start(|asked| match &*asked.action {
        "ReceiveMessage" => error("RequestThrottled", "Request is throttled."),
        _ => Act::Pass,
    })
    .await;
    let setup = Setup::new(&gateway).through(&proxy).with("topics", &queue.name);
    let connector = setup.start().await;
    connector.wait_until_unready("RequestThrottled: Request is throttled.").await;
    queue.send_all((0..20).map(|n| n.to_string())).await;
    // Everything but receiving now: deletes are delayed, and nothing is called twice.
    proxy.script(|asked| match &*asked.action {
        "DeleteMessageBatch" => error("RequestThrottled", "Request is throttled."),
        _ => Act::Pass,
    });
    gateway.ledger().wait_for("the calls", |calls| calls.well().count() == 20).await;
    connector.wait_until_unready("deletes").await;
    proxy.script(|_| Act::Pass);
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(gateway.ledger().calls().len(), 20);
    connector.stop().await;
}

#[tokio::test]
async fn nothing_new_is_received_while_the_platform_is_down() {
    let (queue, gateway) = standard("platform").await;
    let receives = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&receives);
    let proxy = Proxy::start(move |asked| {
        if asked.action == "ReceiveMessage" {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        Act::Pass
    })
    .await;
    let setup = Setup::new(&gateway).through(&proxy).with("max_messages", "1");
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
