//! The status page in a browser, while things happen: from the page alone a newcomer finds why a
//! function is not called.

use dev_gateway::{Config, DevGateway, Fault, Function};
use integration::browser::Browser;
use integration::mosquitto::Mosquitto;
use integration::{Connector, Launch, unique};
use serde_json::json;

use super::kafka::scene::Scene;

/// A broker of its own, a gateway, and the connector between them.
struct Stage {
    broker: Mosquitto,
    gateway: DevGateway,
}

impl Stage {
    async fn set() -> Self {
        Self { broker: Mosquitto::start(&[]), gateway: gateway().await }
    }

    fn connector(&self) -> Launch {
        Launch::new("mqtt")
            .set("gateway_url", self.gateway.url())
            .set("broker", format!("tcp://127.0.0.1:{}", self.broker.port()))
            .set("qos", "1")
            .set("rebuild_interval", "200ms")
            .set("max_retry_attempts", "1000")
            .set("initial_retry_wait", "200ms")
            .set("max_retry_wait", "200ms")
    }

    fn publish(&self, topic: &str) {
        self.broker.publish(topic, "x");
    }
}

/// A function that is called with the messages of the topic that has its name.
fn of_its_own_topic(name: &str) -> Function {
    Function::named(name).topic(name)
}

async fn gateway() -> DevGateway {
    DevGateway::start(Config::default()).await.expect("a port is free")
}

/// A browser that shows the page of this connector.
async fn page(connector: &Connector) -> Browser {
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", connector.admin_address().await)).await;
    browser
}

/// Asks the page why a function is not called, and waits until it says so.
async fn why(browser: &Browser, function: &str, because: &str) {
    browser.type_into("find", function).await;
    browser.sees("answer", because).await;
}

#[tokio::test]
async fn it_tells_why_a_function_is_not_called() {
    let stage = Stage::set().await;
    let gateway = &stage.gateway;
    gateway.deploy(Function::named("typo").annotation("topics", "lost"));
    gateway.deploy(Function::named("strange").topic("a/#/b"));
    gateway.deploy(of_its_own_topic("silent"));
    gateway.deploy(of_its_own_topic("failing"));
    gateway.deploy(of_its_own_topic("held").annotation("connector.dead-letter", "hold"));
    gateway.deploy(
        of_its_own_topic("refusing").annotation("connector.dead-letter", "function:silent"),
    );
    gateway.fault("failing", Fault::status(500).body("no more paper"));
    gateway.fault("held", Fault::status(400));
    gateway.fault("refusing", Fault::status(422));
    let connector = stage.connector().ready().await;
    let browser = page(&connector).await;
    browser.sees("state", "ready").await;

    why(&browser, "typo", "typo.openfaas-fn is deployed, but has no annotation topic").await;
    why(&browser, "strange", "\"a/#/b\" is not used").await;
    why(&browser, "nobody", "The gateway lists no function nobody").await;
    why(&browser, "silent", "No event of its topics has come in").await;

    stage.publish("failing");
    why(&browser, "failing", "wait for their next attempt; last: status 500: no more paper").await;
    browser.sees("wrong", "failing.openfaas-fn").await;
    stage.publish("held");
    why(&browser, "held", "Events of held are held for it").await;
    browser.sees("state", "not ready").await;
    stage.publish("refusing");
    why(&browser, "refusing", "1 events of it became dead letters; last: status 422").await;

    gateway.stop().await;
    why(&browser, "failing", "The gateway is not well").await;
    gateway.restart().await.expect("its port is still free");
    stage.broker.down();
    why(&browser, "silent", "The broker is not well").await;
    stage.broker.up();
    browser.close().await;
    connector.kill().await;
}

#[tokio::test]
async fn it_tells_of_a_topic_that_the_broker_does_not_serve() {
    let scene = Scene::new().await;
    let topic = unique("nowhere");
    scene.deploy("waiting", &topic);
    let connector = scene.connector(&[]).start().await;
    let browser = page(&connector).await;
    why(&browser, "waiting", &format!("topic {topic}: ")).await;
    browser.close().await;
    connector.kill().await;
}

#[tokio::test]
async fn what_strangers_name_is_shown_and_not_run() {
    let stage = Stage::set().await;
    let script = "<img src=x onerror=document.title='taken'>";
    stage.gateway.deploy(Function::named("victim").topic(script));
    let connector = stage.connector().ready().await;
    stage.publish(script);
    let browser = page(&connector).await;
    browser.sees("received-table", script).await;
    browser.sees("topics-table", script).await;
    let title = browser.run("return document.title", json!([])).await;
    assert_eq!(title, "mqtt-connector");
    browser.close().await;
    connector.end().await;
}

#[tokio::test]
async fn it_shows_the_fleet() {
    let gateway = gateway().await;
    let cron = Launch::new("cron").set("gateway_url", gateway.url());
    let (one, other) = (cron.ready().await, cron.ready().await);
    let addresses = [one.admin_address().await, other.admin_address().await].join(",");
    let host = cron.set("fleet", addresses).ready().await;
    let browser = page(&host).await;
    let shown = browser.sees("fleet", "ready").await;
    assert_eq!(shown.matches("cron-connector").count(), 2, "{shown}");
    let gone = other.admin_address().await;
    other.end().await;
    let shown = browser.sees("fleet", "no answer").await;
    assert!(shown.contains(&gone) && shown.contains("cron-connector"), "{shown}");

    // A phone: nothing is wider than the screen.
    let fits =
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    browser.resize(360, 740).await;
    assert_eq!(browser.run(fits, json!([])).await, true);
    browser.close().await;
    one.end().await;
    host.end().await;
}
