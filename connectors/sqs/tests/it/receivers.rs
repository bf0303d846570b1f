//! How many receives wait at a queue.

use std::time::Duration;

use dev_gateway::Fault;

use crate::support::{Setup, standard};

#[tokio::test]
async fn receivers_follow_the_backlog() {
    let (queue, gateway) = standard("backlog").await;
    gateway.fault("f", Fault::slow(Duration::from_millis(20)));
    let setup = Setup::new(&gateway).with("function_concurrency", "32").with("wait_time", "1s");
    let connector = setup.ready().await;
    let now = format!("tributary_sqs_receivers{{queue=\"{}\"}}", queue.name);
    connector.wait_for("one to wait", async || connector.metric(&now).await == 1).await;
    queue.send_all((0..2_000).map(|n| n.to_string())).await;
    connector.wait_for("more of them", async || connector.metric(&now).await >= 4).await;
    queue.wait_until_empty().await;
    connector.wait_for("one again", async || connector.metric(&now).await == 1).await;
    assert_eq!(gateway.ledger().calls().len(), 2_000);
    connector.stop().await;
}
