//! Connectors that are started a minute before everything they need, as when a host starts: they recover, and say little
//! meanwhile. Minutes long, so run by `make prove-edge` only.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dev_gateway::{Config, DevGateway, Function, HeldPort};
use integration::{Connector, Launch, Mosquitto, unique};
use tokio::time::sleep;

/// How long each thing is away. Long enough for a summary, and for a changed reason to be told.
const OUTAGE: Duration = Duration::from_secs(65);

/// A hosts file that a connector sees in place of the system's. Names are added in place: the file is mounted.
struct Names(PathBuf);

impl Names {
    fn new() -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("hosts"));
        fs::write(&file, "127.0.0.1 localhost\n").expect("the folder is ours");
        Self(file)
    }

    fn launch(&self, kind: &str) -> Launch {
        let file = self.0.to_str().expect("the folder's name is ASCII");
        let mount = "mount --bind $0 /etc/hosts && exec \"$@\"";
        Launch::new(kind).through(["unshare", "-rm", "sh", "-c", mount, file])
    }

    /// From now on the name resolves; nothing answers there yet.
    async fn resolve(&self, name: &str, connector: &Connector, subject: &str) {
        let names = fs::read_to_string(&self.0).expect("it was written");
        fs::write(&self.0, format!("{names}127.0.0.1 {name}\n")).expect("the folder is ours");
        connector.not_ready(&format!("{subject}: ")).await;
    }
}

/// Starts the gateway at this port, with one function.
async fn gateway(port: &HeldPort, function: Function) -> DevGateway {
    let config = Config { listen: port.address(), ..Config::default() };
    let gateway = DevGateway::start(config).await.expect("the port is held for it");
    gateway.deploy(function);
    gateway
}

/// One line for each change of state, one summary a minute, and no line twice.
fn judge(lines: &[String], lasted: Duration) {
    let text = lines.join("\n");
    let (summaries, others): (Vec<&str>, Vec<&str>) = lines
        .iter()
        .filter_map(|line| line.split_once('Z').map(|(_, text)| text))
        .partition(|line| line.contains("still not well"));
    assert!(summaries.len() as u64 <= lasted.as_secs() / 60, "{text}");
    assert!(!summaries.is_empty(), "a minute passes without a summary: {text}");
    assert_eq!(others.iter().collect::<HashSet<_>>().len(), others.len(), "twice: {text}");
    let is_change = |line: &&str| line.contains("not well subject=");
    assert!(others.into_iter().filter(is_change).count() <= 4, "{text}");
}

#[tokio::test]
#[ignore = "minutes"]
async fn cron_waits_for_its_gateway() {
    let (names, port, began) = (Names::new(), HeldPort::free(), Instant::now());
    let launch =
        names.launch("cron").set("gateway_url", format!("http://the-gateway:{}", port.port()));
    let connector = launch.start().await;
    connector.not_ready("gateway").await;
    sleep(OUTAGE).await;
    names.resolve("the-gateway", &connector, "gateway").await;
    let ticking = Function::named("f").topic("cron-function").annotation("schedule", "@every 1s");
    let gateway = gateway(&port, ticking).await;
    connector.ready().await;
    judge(&connector.lines(), began.elapsed());
    gateway.ledger().wait_for("a tick", |calls| calls.well().count() > 0).await;
    connector.end().await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn mqtt_waits_for_its_gateway_and_its_broker() {
    let (names, port, began) = (Names::new(), HeldPort::free(), Instant::now());
    let broker = Mosquitto::start(&[]);
    broker.down();
    let launch = names
        .launch("mqtt")
        .set("gateway_url", format!("http://the-gateway:{}", port.port()))
        .set("broker", format!("tcp://the-broker:{}", broker.port()))
        .set("id", "late")
        .set("topics", "t")
        .set("qos", "1");
    let connector = launch.start().await;
    connector.not_ready("gateway").await;
    sleep(OUTAGE).await;
    names.resolve("the-gateway", &connector, "gateway").await;
    let gateway = gateway(&port, Function::named("f").topic("t")).await;
    connector.not_ready("broker").await;
    sleep(OUTAGE).await;
    names.resolve("the-broker", &connector, "broker").await;
    broker.up();
    connector.ready().await;
    judge(&connector.lines(), began.elapsed());
    broker.publish("t", "x\n");
    gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
    connector.end().await;
}
