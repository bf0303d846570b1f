//! Runs Helm on a chart.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde::Deserialize as _;
use serde_json::Value;

use crate::root;

/// What `tests/helm.sh` has fetched.
#[derive(Debug)]
struct Tools {
    helm: String,
    /// Python packages that know the schemas of the Kubernetes API.
    schemas: String,
}

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let output = Command::new(root().join("tests/helm.sh"))
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/helm.sh runs");
        assert!(output.status.success(), "tests/helm.sh brings Helm");
        let printed = text(&output.stdout);
        let named = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.expect("tests/helm.sh says where everything is").to_owned()
        };
        Tools {
            // Another Helm can be tried by its path.
            helm: std::env::var("TEST_HELM").unwrap_or_else(|_| named("HELM")),
            schemas: named("SCHEMAS"),
        }
    })
}

/// Where the chart of a kind of connector is.
#[must_use]
pub fn chart(kind: &str) -> PathBuf {
    root().join(format!("deploy/helm/{kind}-connector"))
}

/// Runs Helm with these arguments; `values`, as YAML, are its standard input.
///
/// # Errors
/// What it printed, when it fails.
///
/// # Panics
/// When it cannot be started.
pub fn helm(arguments: &[&str], values: &str) -> Result<String, String> {
    let mut command = Command::new(&tools().helm);
    command.args(arguments);
    let output = feed(&mut command, values);
    // It tells at each run that the library is a link, which is meant to be.
    let said = text(&output.stderr);
    let said: Vec<_> = said.lines().filter(|line| !line.contains("found symbolic link")).collect();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(said.join("\n")) }
}

/// What a chart renders with these values.
///
/// # Errors
/// Why it renders nothing.
pub fn template(kind: &str, values: &str) -> Result<String, String> {
    let chart = chart(kind);
    let chart = chart.to_str().expect("the checkout's path is text");
    let name = format!("{kind}-connector");
    helm(&["template", &name, chart, "--namespace", "openfaas", "--values", "-"], values)
}

/// The manifests of what was rendered.
///
/// # Panics
/// When it is not YAML.
#[must_use]
pub fn manifests(rendered: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(rendered)
        .map(|document| Value::deserialize(document).expect("what is rendered is YAML"))
        .filter(|manifest| !manifest.is_null())
        .collect()
}

/// What the schemas of the Kubernetes API have against manifests, one line each; empty if nothing.
///
/// # Panics
/// When the validator does not run.
#[must_use]
pub fn mistakes(manifests: &[(String, Value)]) -> String {
    let entries: Vec<Value> = manifests
        .iter()
        .map(|(name, manifest)| serde_json::json!({ "name": name, "manifest": manifest }))
        .collect();
    let mut command = Command::new("python3");
    command.arg(root().join("tests/charts/validate.py")).env("PYTHONPATH", &tools().schemas);
    let output = feed(&mut command, &Value::from(entries).to_string());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).trim().to_owned()
}

/// Runs a command with `input` on its standard input.
fn feed(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let input = input.to_owned();
    // Beside the reading: either side may be more than a pipe holds.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    // A program that fails need not have read all of its input.
    let written = writer.join().expect("the writer does not panic");
    assert!(written.is_ok() || !output.status.success(), "{written:?}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
