//! What users copy: the files of `deploy/compose`, and the services that the guides show.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use compose_checker::{Service, check};

const CONNECTORS: [&str; 5] =
    ["cron-connector", "kafka-connector", "mqtt-connector", "nats-connector", "sqs-connector"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn services(what: &str, text: &str) -> Vec<Service> {
    check(text).unwrap_or_else(|mistakes| panic!("{what}:\n{mistakes}\n{text}"))
}

/// A file of faasd with the services that every faasd has, and these.
fn beside_faasd(services: &str) -> String {
    format!(
        "version: \"3.7\"\nservices:\n  nats: {{image: nats}}\n  gateway: {{image: gateway}}\n{services}"
    )
}

/// The services in the fenced blocks of a page, indented as in a file of faasd.
fn shown(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    for block in page.split("```yaml\n").skip(1) {
        let lines: Vec<_> = block.lines().take_while(|line| line.trim() != "```").collect();
        // Kubernetes has images too, and functions have.
        let is_service = lines.iter().any(|line| line.contains("image: tributary/"))
            && !lines.iter().any(|line| line.contains("kind:") || line.starts_with("services:"));
        if is_service {
            let margin = lines[0].len() - lines[0].trim_start().len();
            let indented =
                lines.iter().map(|line| format!("  {}\n", line.get(margin..).unwrap_or("")));
            blocks.push(indented.collect());
        }
    }
    blocks
}

#[test]
fn the_whole_file_has_every_service_to_paste() {
    let whole = read("deploy/compose/docker-compose.yaml");
    let services = services("docker-compose.yaml", &whole);
    for name in CONNECTORS {
        assert!(services.iter().any(|service| service.name == name), "{name} is missing");
        let single = read(format!("deploy/compose/{name}.yaml"));
        let (_remark, service) = single.split_once('\n').unwrap();
        assert!(whole.contains(service), "{name}.yaml and docker-compose.yaml differ");
    }
}

#[test]
fn each_service_can_be_pasted_alone() {
    for name in CONNECTORS {
        let single = read(format!("deploy/compose/{name}.yaml"));
        let services = services(name, &beside_faasd(&single));
        assert_eq!(services[2].command[0], format!("/usr/bin/{name}"));
    }
}

#[test]
fn services_in_the_guides_are_what_faasd_starts() {
    let mut seen = 0;
    let guides = fs::read_dir(root().join("docs")).unwrap().map(|page| page.unwrap().path());
    let pages = guides.filter(|page| page.extension().is_some_and(|extension| extension == "md"));
    for page in pages.chain([root().join("README.md")]) {
        for service in shown(&read(&page)) {
            services(&page.display().to_string(), &beside_faasd(&service));
            seen += 1;
        }
    }
    assert!(seen >= CONNECTORS.len(), "only {seen} services were found in the guides");
}

/// The service as OpenFaaS' own article on the edge has it.
#[test]
fn the_service_that_users_have_stays_as_it_is() {
    let (_, service) = include_str!("article.yaml").split_once("services:\n").unwrap();
    services("article.yaml", &beside_faasd(service));
}
