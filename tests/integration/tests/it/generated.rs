//! What the binaries say of themselves, kept as files.

use std::fs;

use golden::golden;
use integration::{Launch, root};

/// Every kind of connector that is a binary.
fn kinds() -> Vec<String> {
    let folders = fs::read_dir(root().join("connectors")).expect("there are connectors");
    let mut kinds: Vec<_> = folders
        .map(|folder| folder.expect("a folder can be read"))
        .filter(|folder| folder.path().join("src/main.rs").exists())
        .map(|folder| folder.file_name().into_string().expect("a connector's name is text"))
        .collect();
    kinds.sort();
    kinds
}

async fn page(kind: &str, argument: &str) -> String {
    let ended = Launch::new(kind).unset("admin_port").argument(argument).run().await;
    assert_eq!((ended.code, ended.stderr()), (Some(0), String::new()));
    ended.stdout()
}

#[tokio::test]
async fn golden_help() {
    for kind in kinds() {
        let help = page(&kind, "--help").await;
        golden(&format!("tests/integration/tests/golden/{kind}-help.txt"), &help);
    }
}

#[tokio::test]
async fn golden_configuration() {
    let mut text = "# Configuration\n\n\
        Generated from the connectors: `make bless` writes it anew.\n\n\
        Every setting is an environment variable of exactly its name, a key of the settings file, and a flag.\n"
        .to_owned();
    for kind in kinds() {
        let reference = page(&kind, "--config-reference").await;
        // One title for each connector, and its sections below that.
        let reference = reference.replace("\n## ", "\n### ").trim_end().to_owned();
        let reference = reference.strip_prefix("## ").unwrap_or(&reference);
        text += &format!("\n## {kind}-connector\n\n### {reference}\n");
    }
    golden("docs/configuration.md", &text);
}
