//! The status page in a browser, while things happen: from the page alone a newcomer finds why a
//! function is not called.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dev_gateway::{Config, DevGateway, Fault, Function};
use integration::browser::Browser;
use integration::mosquitto::Mosquitto;
use integration::{Connector, Launch, Scripted, unique, until};
use serde_json::{Value, json};

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
    gateway.deploy(Function::named("bystander").topic("failing"));
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
    // A name on the page asks as well.
    browser.run("document.querySelector('#unmapped button').click()", json!([])).await;
    browser.sees("answer", "strange.openfaas-fn is deployed, and no topic of its").await;
    why(&browser, "silent", "No event of its topics has come in").await;

    stage.publish("failing");
    why(&browser, "failing", "1 event waits for its next attempt; last: status 500: no more paper")
        .await;
    browser.sees("wrong", "failing.openfaas-fn").await;
    why(&browser, "bystander", "failing.openfaas-fn is called with failing too, and fails").await;
    stage.publish("held");
    why(&browser, "held", "Events of held are held for it").await;
    browser.sees("state", "not ready").await;
    stage.publish("refusing");
    why(&browser, "refusing", "1 event of it became a dead letter; last: status 422").await;

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
async fn it_tells_of_a_topic_that_the_settings_leave_out() {
    let stage = Stage::set().await;
    stage.gateway.deploy(of_its_own_topic("left-out"));
    let connector = stage.connector().set("topics", "ordered").ready().await;
    let browser = page(&connector).await;
    why(
        &browser,
        "left-out",
        "The setting topics names what is consumed, and left-out is not in it",
    )
    .await;
    browser.sees("topics-table", "left-out is not in it").await;
    browser.close().await;
    connector.end().await;
}

/// The page looks once a second: what `/status` tells is on it two looks later at most.
#[tokio::test]
async fn a_fault_is_seen_within_two_looks() {
    let stage = Stage::set().await;
    let gateway = &stage.gateway;
    gateway.deploy(of_its_own_topic("failing"));
    gateway.deploy(of_its_own_topic("held").annotation("connector.dead-letter", "hold"));
    let refusing = of_its_own_topic("refusing");
    gateway.deploy(refusing.annotation("connector.dead-letter", "function:undertaker"));
    gateway.deploy(Function::named("undertaker"));
    gateway.deploy(of_its_own_topic("leaving"));
    gateway.fault("failing", Fault::status(500));
    gateway.fault("held", Fault::status(400));
    gateway.fault("refusing", Fault::status(422));
    let connector = stage.connector().set("unmap_after", "200ms").ready().await;
    let browser = page(&connector).await;
    browser.sees("state", "ready").await;

    let look = Look { browser: &browser, connector: &connector };
    let began = look.awaits("wrong", "strange.openfaas-fn").await;
    gateway.deploy(Function::named("strange").topic("a/#/b"));
    look.sees("a wrong annotation", began, |status| !list(status, "skipped").is_empty()).await;
    let began = look.awaits("wrong", "waits for its next attempt").await;
    stage.publish("failing");
    let retries = |it: &Value| it["retrying"] == 1;
    look.sees("a retry", began, |status| list(status, "functions").iter().any(retries)).await;
    let began = look.awaits("wrong", "held.openfaas-fn is held").await;
    stage.publish("held");
    look.sees("a hold", began, |status| !list(status, "held").is_empty()).await;
    let began = look.awaits("wrong", "1 dead letter").await;
    stage.publish("refusing");
    let letters = |it: &Value| it["dead_letters"] == 1;
    look.sees("a dead letter", began, |it| list(it, "functions").iter().any(letters)).await;
    browser.type_into("find", "leaving").await;
    let began = look.awaits("answer", "The gateway lists no function leaving").await;
    gateway.remove("leaving");
    let gone = |status: &Value| !status["functions"].to_string().contains("leaving");
    look.sees("a function that is missing", began, gone).await;
    let began = look.awaits("wrong", "broker").await;
    stage.broker.down();
    look.sees("a broker that is down", began, |status| is_unwell(status, "broker")).await;
    let began = look.awaits("wrong", "gateway").await;
    gateway.stop().await;
    look.sees("a gateway that is down", began, |status| is_unwell(status, "gateway")).await;
    browser.close().await;
    connector.kill().await;
}

fn list<'a>(status: &'a Value, name: &str) -> &'a [Value] {
    status[name].as_array().map_or(&[], Vec::as_slice)
}

fn is_unwell(status: &Value, subject: &str) -> bool {
    let unwell = |it: &Value| it["subject"] == subject && it["state"] == "unwell";
    list(status, "conditions").iter().any(unwell)
}

/// Somebody who looks at the page.
struct Look<'a> {
    browser: &'a Browser,
    connector: &'a Connector,
}

impl Look<'_> {
    /// Has the page itself note when `element` first shows `part`, and gives the time.
    async fn awaits(&self, element: &str, part: &str) -> SystemTime {
        let script = "window.shown = null;
            window.observer?.disconnect();
            const [element, part] = arguments;
            const shows = () => at(element).innerText.includes(part);
            const note = () => { if (!window.shown && shows()) window.shown = { turn, at: Date.now() }; };
            window.observer = new MutationObserver(note);
            window.observer.observe(at(element), { childList: true, subtree: true, characterData: true });
            return shows()";
        let shows = self.browser.run(script, json!([element, part])).await;
        assert_eq!(shows, false, "{part} is on the page before it can be");
        SystemTime::now()
    }

    /// Waits until `/status` knows of the fault that was brought about at `began`, and the page
    /// shows it.
    #[expect(clippy::print_stdout, reason = "how long it took is for who reads the test's output")]
    async fn sees(&self, fault: &str, began: SystemTime, knows: impl FnMut(&Value) -> bool) {
        until(fault, async || self.connector.status().await, knows).await;
        let looks = self.browser.run("return turn", json!([])).await.as_u64().expect("a number");
        let look = async || self.browser.run("return window.shown", json!([])).await;
        let shown = until(fault, look, |shown| !shown.is_null()).await;
        let at = UNIX_EPOCH + Duration::from_millis(shown["at"].as_u64().expect("a time"));
        println!("{fault}: on the page {:?} later", at.duration_since(began).unwrap_or_default());
        let turn = shown["turn"].as_u64().expect("a number");
        assert!(turn <= looks + 2, "{fault}: known at look {looks}, shown at look {turn}");
    }
}

#[tokio::test]
async fn a_topic_that_the_broker_refuses_is_seen_within_two_looks() {
    let server = Scripted::start(
        "nats",
        &[
            "no_auth_user: guest",
            "authorization { users: [ { user: guest, password: x, permissions: { subscribe: { deny: \"secret\" } } } ] }",
        ],
    );
    let gateway = gateway().await;
    let connector = Launch::new("nats")
        .set("gateway_url", gateway.url())
        .set("broker_host", &server.address)
        .set("rebuild_interval", "200ms");
    let connector = connector.ready().await;
    let browser = page(&connector).await;
    browser.sees("state", "ready").await;
    let look = Look { browser: &browser, connector: &connector };
    let began = look.awaits("wrong", "subscription to secret").await;
    gateway.deploy(of_its_own_topic("secret"));
    let refused = |status: &Value| is_unwell(status, "subscription to secret");
    look.sees("a topic that is refused", began, refused).await;
    why(&browser, "secret", "Permissions Violation").await;
    browser.close().await;
    connector.end().await;
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
