//! `oha`, a bare HTTP client: what a call costs that does nothing else.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use integration::{Gateway, process, root};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::sleep;

use crate::figures::each;
use crate::source::{PAYLOAD, RUNNING};

/// Processor time of one call with these headers, in microseconds.
pub(crate) async fn cost(gateway: &Gateway, headers: &[String], calls: u64) -> f64 {
    let mut command = command(gateway, headers, calls);
    let mut child = command.stdout(Stdio::null()).spawn().expect("oha can be started");
    let pid = child.id().expect("it has just been started");
    let mut used = Duration::ZERO;
    loop {
        // A process that has ended has no figures any more: the last look counts.
        used = process::cpu(pid).unwrap_or(used);
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            assert!(status.success(), "oha ends with {status}");
            return each(used, calls);
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// How long calls take, there and back, at so many a second: p50, p99 and p99.9, in milliseconds.
pub(crate) async fn latency(
    gateway: &Gateway,
    headers: &[String],
    pace: u64,
    calls: u64,
) -> [f64; 3] {
    let mut command = command(gateway, headers, calls);
    command.args(["-q", &pace.to_string(), "--output-format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("oha can be started");
    let mut said = String::new();
    let mut stdout = child.stdout.take().expect("it was asked for");
    stdout.read_to_string(&mut said).await.expect("oha writes text");
    assert!(child.wait().await.expect("it ends").success(), "{said}");
    let said: Value = serde_json::from_str(&said).expect("oha writes JSON");
    ["p50", "p99", "p99.9"].map(|which| {
        let seconds = said["latencyPercentiles"][which].as_f64();
        seconds.expect("oha tells of percentiles") * 1e3
    })
}

fn command(gateway: &Gateway, headers: &[String], calls: u64) -> Command {
    let program = std::env::var_os("OHA").map(PathBuf::from).expect("OHA says where `oha` is");
    let mut command = Command::new(program);
    command
        .args(["-n", &calls.to_string(), "-c", &RUNNING.to_string(), "-m", "POST", "--no-tui"])
        .args(["-d", &"x".repeat(PAYLOAD)])
        .args(headers.iter().flat_map(|header| ["-H", header]))
        .arg(format!("{}/function/work.openfaas-fn", gateway.url()))
        .current_dir(root())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
