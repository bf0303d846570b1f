//! The binary: flags, output, signals.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{client, temporary_directory};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dev-gateway"));
    command
        .current_dir(temporary_directory())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn it_serves_prints_each_call_and_ends_on_sigterm() {
    let directory = temporary_directory();
    std::fs::write(
        directory.join("stack.yml"),
        "functions: {f: {annotations: {dev.exec: 'echo one; echo two'}}}",
    )
    .unwrap();
    std::fs::write(directory.join("basic-auth-user"), "admin\n").unwrap();
    std::fs::write(directory.join("basic-auth-password"), "secret\n").unwrap();
    let mut gateway = command()
        .current_dir(&directory)
        .args([
            "--listen=127.0.0.1:0",
            "--ledger",
            "ledger.jsonl",
            "--secret-dir",
            ".",
            "--no-async",
        ])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
    let listening = lines.next_line().await.unwrap().unwrap();
    let url = listening.strip_prefix("listening on ").unwrap();
    let called = client()
        .post(format!("{url}/function/f"))
        .header("x-topic", "orders")
        .send()
        .await
        .unwrap();
    assert_eq!(called.text().await.unwrap(), "one\ntwo\n");
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(
        line.contains(" orders => f.openfaas-fn [200] ") && line.ends_with(" ms one"),
        "{line}"
    );
    let fault = client().put(format!("{url}/_dev/faults/f")).body(r#"{"do":"hang"}"#);
    assert_eq!(fault.send().await.unwrap().status(), 204);
    let hanging = client().post(format!("{url}/function/f"));
    assert!(hanging.timeout(Duration::from_millis(100)).send().await.is_err());
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains(" - => f.openfaas-fn [0 Hang] "), "{line}");
    assert_eq!(client().get(format!("{url}/system/info")).send().await.unwrap().status(), 401);
    let info = client().get(format!("{url}/system/info")).basic_auth("admin", Some("secret"));
    assert_eq!(info.send().await.unwrap().status(), 200);
    assert_eq!(
        client().post(format!("{url}/async-function/f")).send().await.unwrap().status(),
        404
    );
    assert_eq!(std::fs::read_to_string(directory.join("ledger.jsonl")).unwrap().lines().count(), 5);

    let killed =
        Command::new("kill").arg(gateway.id().unwrap().to_string()).status().await.unwrap();
    assert!(killed.success());
    assert_eq!(gateway.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn bad_usage_names_the_flag_and_exits_64() {
    for (arguments, wrong) in [
        (&["--listen", "nowhere"][..], "--listen is"),
        (&["--bogus"], "--bogus"),
        (&["--stack", "missing.yml"], "--stack is"),
        (
            &["--ledger", "missing/ledger", "--listen=127.0.0.1:0"],
            "cannot append to the ledger missing/ledger",
        ),
    ] {
        let output = command().args(arguments).output().await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{told}");
        assert!(told.contains(wrong), "{told}");
    }
    let help = command().arg("--help").output().await.unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--upstream-timeout"));
}
