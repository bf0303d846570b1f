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
async fn golden_headers() {
    let text = "# Headers\n\n\
        What functions are called with. Generated from the connectors: `make bless` writes it anew.\n\n\
        Names are shown as Go's server shows them; HTTP gives them no case. \
        A value that no header can carry is sent in base64, with `<header>-Enc: b64` beside it. \
        A message's own header never replaces one of the connector's: it is moved to `<prefix>Header-<name>`. \
        A name that no header can have becomes `<prefix>Hex-<the name's bytes in hexadecimal>`, \
        and an absent value is empty, with `<header>-Null: true` beside it.\n";
    golden("docs/headers.md", &collected(text, "-header-reference").await);
}

#[tokio::test]
async fn golden_annotations() {
    let text = "# Annotations\n\n\
        What connectors read of a function's annotations. Generated from the connectors: `make bless` writes it anew.\n\n\
        An annotation that cannot be read is passed over: it is logged, and shown on the [status page](status.md) with \
        the reason.\n";
    golden("docs/annotations.md", &collected(text, "-annotation-reference").await);
}

/// The sections of a page of every connector; those that all of them have, once.
async fn collected(head: &str, argument: &str) -> String {
    let mut text = head.to_owned();
    for kind in kinds() {
        let page = page(&kind, argument).await;
        let sections = page.split("## ").filter(|section| !section.is_empty());
        for section in sections.map(|section| format!("\n## {}\n", section.trim_end())) {
            if !text.contains(&section) {
                text += &section;
            }
        }
    }
    text
}

#[tokio::test]
async fn golden_schema() {
    for kind in kinds() {
        golden(&format!("docs/schema/{kind}-connector.json"), &page(&kind, "-schema").await);
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
