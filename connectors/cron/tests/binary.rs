//! The binary against a gateway in this process: what an operator and a function see of it.

use std::process::{Output, Stdio};

use dev_gateway::{Config, DevGateway, Fault, Function, Gate, Mode};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running connector.
struct Connector {
    process: Child,
    log: tokio::sync::mpsc::UnboundedReceiver<String>,
}

fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cron-connector"));
    command.env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    command
}

impl Connector {
    fn start(gateway: &DevGateway, settings: &[(&str, &str)]) -> Self {
        let url = gateway.url();
        let mut all = vec![
            ("gateway_url", url.as_str()),
            ("admin_port", "0"),
            ("rebuild_interval", "100ms"),
            ("unmap_after", "0s"),
        ];
        all.extend(settings);
        let mut process = command(&all).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let (tell, log) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                drop(tell.send(line));
            }
        });
        Self { process, log }
    }

    /// Waits for a line that contains `text`.
    async fn line(&mut self, text: &str) -> String {
        let found = async {
            while let Some(line) = self.log.recv().await {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the log ended without {text:?}");
        };
        tokio::time::timeout(dev_gateway::PATIENCE, found).await.expect(text)
    }

    fn signal(&self) {
        let id = self.process.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.expect("there is kill").success());
    }

    async fn exit(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(dev_gateway::PATIENCE, self.process.wait()).await;
        ended.expect("it ends").expect("it can be waited for").code()
    }
}

async fn print(settings: &[(&str, &str)], flag: &str) -> Output {
    command(settings).arg(flag).output().await.expect("it runs")
}

fn tick(name: &str) -> Function {
    Function::named(name).topic("cron-function").annotation("schedule", "@every 1s")
}

#[tokio::test]
async fn functions_are_called_on_their_schedules() {
    let gateway =
        DevGateway::start(Config { remember_bodies: 64, ..Config::default() }).await.unwrap();
    gateway.deploy(
        tick("body")
            .topic("orders, com.openfaas.cron")
            .annotation("connector.cron.body", "{\"of\": \"tick\"}")
            .annotation("connector.cron.content-type", "application/json"),
    );
    gateway.deploy(tick("queued").annotation("connector.async", "true"));
    gateway.deploy(Function::named("other").topic("orders").annotation("schedule", "@every 1s"));
    gateway.deploy(tick("bad").annotation("schedule", "TZ=X"));
    // What the chart sets is for those who annotate nothing.
    let mut connector = Connector::start(&gateway, &[("content_type", "text/plain")]);
    connector.line("the schedule is refused: time zone \"TZ=X\"").await;
    connector.line("Added: body.openfaas-fn [@every 1s]").await;
    connector.line("[200] cron-function => body.openfaas-fn").await;
    let both =
        |calls: &dev_gateway::Calls| calls.of("body").count() > 1 && calls.of("queued").count() > 1;
    gateway.ledger().wait_for("two ticks of each", both).await;

    gateway.remove("queued");
    connector.line("Removed: queued.openfaas-fn [@every 1s]").await;
    connector.signal();
    assert_eq!(connector.exit().await, Some(0));

    let calls = gateway.ledger().calls();
    let bodies: Vec<_> = calls.iter().filter(|call| call.function.starts_with("body")).collect();
    for call in &bodies {
        let scheduled = call.header("x-cron-scheduled").unwrap();
        assert_eq!(call.event_id, Some(format!("cron:body.openfaas-fn@{scheduled}")));
        for (name, value) in [
            ("x-topic", "cron-function"),
            ("x-connector", "cron-connector"),
            ("content-type", "application/json"),
            ("x-cron-schedule", "@every 1s"),
        ] {
            assert_eq!(call.header(name), Some(value));
        }
        assert!(call.header("x-cron-lateness").unwrap().parse::<f64>().is_ok());
        assert_eq!(call.text(), "{\"of\": \"tick\"}");
    }
    let mut ids: Vec<_> = bodies.iter().map(|call| call.event_id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), bodies.len(), "no tick twice");
    let queued = calls.iter().filter(|call| call.function.starts_with("queued"));
    for call in queued {
        assert_ne!(call.mode, Mode::Sync);
        assert_eq!(call.header("content-type"), Some("text/plain"));
    }
    assert!(calls.iter().all(|call| !call.function.starts_with("other")));
}

#[tokio::test]
async fn an_outage_over_ticks_ends_with_one_call() {
    let gateway = DevGateway::start(Config::default()).await.unwrap();
    gateway.deploy(tick("f"));
    let mut connector = Connector::start(&gateway, &[("debug", "true")]);
    gateway.ledger().wait_for("a tick", |calls| calls.of("f").count() == 1).await;
    let address = gateway.address();
    gateway.stop().await;
    connector.line("not well subject=platform").await;
    for _ in 0..3 {
        connector.line("Missed: f.openfaas-fn").await;
    }
    gateway.restart().await.unwrap();
    assert_eq!(gateway.address(), address);
    connector.line("well again subject=platform").await;
    gateway.ledger().wait_for("ticks", |calls| calls.of("f").count() >= 4).await;
    let calls = gateway.ledger().calls();
    let scheduled: Vec<_> =
        calls.iter().filter_map(|call| call.header("x-cron-scheduled")).collect();
    let mut unique = scheduled.clone();
    unique.dedup();
    assert_eq!(scheduled, unique, "each tick once, in order");
    connector.signal();
    assert_eq!(connector.exit().await, Some(0));
}

#[tokio::test]
async fn a_running_call_is_waited_for_and_a_second_signal_is_not() {
    let gateway = DevGateway::start(Config::default()).await.unwrap();
    for (signals, code) in [(1, 0), (2, 2)] {
        let gate = Gate::closed();
        gateway.deploy(tick("slow").annotation("connector.cron.overlap", "forbid"));
        gateway.fault("slow", Fault::gate(&gate));
        let mut connector = Connector::start(&gateway, &[]);
        gate.wait_for_waiting(1).await;
        connector.signal();
        connector.line("draining").await;
        if signals == 2 {
            connector.signal();
        } else {
            gate.open();
        }
        assert_eq!(connector.exit().await, Some(code), "{signals} signals");
        gate.open();
    }
}

#[tokio::test]
async fn settings_are_checked_before_anything_else() {
    let wrong = [("timezone", "Mars/Base"), ("cron_fold", "thrice"), ("max_inflight", "0")];
    let output = print(&wrong, "--check").await;
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for (setting, _) in wrong {
        assert!(told.contains(setting), "{setting} in {told}");
    }
    let output = print(&[("timezone", "Europe/Berlin")], "--check").await;
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("Europe/Berlin"), "{told}");
    for flag in ["--help", "--config-reference"] {
        let output = print(&[], flag).await;
        assert_eq!(output.status.code(), Some(0), "{flag}");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("cron_fold"), "{flag}: {told}");
    }
}
