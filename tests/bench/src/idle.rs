//! What a connector takes with nothing to do.

use std::time::Duration;

use integration::{Connector, Gateway, Launch, process};
use tokio::time::sleep;

use crate::figures::{Row, mib};
use crate::run::limited;
use crate::source::{RUNNING, Source};

const IDLE: Duration = Duration::from_secs(60);
const FUNCTIONS: usize = 100;

/// Connected to a broker that has nothing for it.
pub(crate) async fn idle<S: Source>(source: &S) -> Vec<Row> {
    eprintln!("{}: idle", S::TITLE);
    let gateway = Gateway::start(None).await;
    let place = source.place(S::WIDTH, &gateway).await;
    for number in 0..FUNCTIONS {
        gateway.deploy(&format!("f{number}"), &place.asked).await;
    }
    let connector = limited(source.launch(&place), &gateway, RUNNING).ready().await;
    connector.line(S::RECEIVES).await;
    let rows = rest(connector).await;
    gateway.end().await;
    rows
}

/// cron, which has no broker, with schedules of which none fires. How late those are that do, `tests/bench/cron.sh`
/// looks at.
pub(crate) async fn cron() -> Vec<Row> {
    let gateway = Gateway::start(None).await;
    for number in 0..FUNCTIONS {
        gateway.schedule(&format!("f{number}"), "0 0 1 1 *").await;
    }
    let rows = rest(limited(Launch::new("cron"), &gateway, RUNNING).ready().await).await;
    gateway.end().await;
    rows
}

/// Memory after a minute, and processor time meanwhile.
async fn rest(connector: Connector) -> Vec<Row> {
    let used = || process::cpu(connector.pid()).expect("it runs");
    let before = used();
    sleep(IDLE).await;
    let used = used() - before;
    let resident = process::resident(connector.pid()).expect("it runs");
    connector.end().await;
    vec![
        Row::new("idle resident memory, 100 functions, after 60 s", mib(resident as f64)),
        Row::new("idle processor time", format!("{} ms in 60 s", used.as_millis())),
    ]
}
