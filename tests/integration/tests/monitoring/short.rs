//! A few alerts and panels in half a minute, for every run of the tests.

use dev_gateway::{Config, DevGateway, Fault, Function};
use integration::{Launch, Prometheus, until};

use crate::alerts;
use crate::dashboard::{ROWS, sent};

/// A function of this name that is called each second.
fn ticking(name: &str) -> Function {
    Function::named(name).topic("cron-function").annotation("schedule", "@every 1s")
}

#[tokio::test]
async fn alerts_fire_in_their_faults_and_not_in_calm() {
    let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
    gateway.deploy(ticking("work"));
    let launch =
        Launch::new("cron").set("gateway_url", gateway.url()).set("rebuild_interval", "1s");
    let connector = launch.ready().await;
    let targets = [("cron", connector.admin_address().await)];
    let prometheus = Prometheus::start(&targets, &alerts::sixty_times_as_fast()).await;

    let scraped = async || prometheus.query("sum(count_over_time(tributary_ready[1m]))").await;
    until("twelve scrapes", scraped, |count| count.iter().any(|it| it.value >= 12.0)).await;
    assert!(prometheus.alerts(true).await.is_empty(), "{:?}", prometheus.alerts(true).await);
    let first = async |query: &str| prometheus.query(&sent(query)).await;
    for (title, value) in [("Ready", 1.0), ("Brokers reached", 1.0), ("Gateway down", 0.0)] {
        let panel = ROWS[0].panels.iter().find(|panel| panel.title == title).expect("it is there");
        let shown = first(panel.queries[0].0).await;
        assert!(shown.len() == 1 && shown[0].value == value, "{title}: {shown:?}");
    }

    gateway.fault("work", Fault::status(500));
    gateway.deploy(ticking("strange").annotation("schedule", "now and then"));
    let firing = async || prometheus.alerts(false).await;
    for alert in ["TributaryDropped", "TributaryFunctionFails", "TributaryCronBadSchedule"] {
        until(alert, firing, |firing| firing.contains(alert)).await;
    }
    gateway.stop().await;
    for alert in ["TributaryGatewayDown", "TributaryCronMissed", "TributaryNotReady"] {
        until(alert, firing, |firing| firing.contains(alert)).await;
    }
    connector.end().await;
    until("TributaryGone", firing, |firing| firing.contains("TributaryGone")).await;
}
