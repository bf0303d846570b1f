//! Tells what faasd would refuse, ignore or take otherwise in a compose file.
//!
//! faasd reads `docker-compose.yaml` with a parser of its own age and obeys nine of the fifty keys of a service. One key
//! that it does not know keeps the whole of faasd from starting; most of the others do nothing, and nobody says so.
//! [`check`] accepts a file only if faasd starts with it and does all that it says. It is stricter than faasd, never laxer:
//! `tests/faasd.rs` compares it with what faasd itself made of the same files.
//!
//! It looks at the file alone: not whether an image exists, nor whether a mounted file does, nor into an `env_file`.

mod report;
mod service;
mod yaml;

use std::collections::BTreeMap;

use report::Report;
pub use report::{Mistake, Mistakes};
use yaml::{Key, Kind, Node, Value};

/// Keys beside `version` and `services` that the parser knows and faasd makes nothing of.
const IGNORED: [&str; 4] = ["configs", "networks", "secrets", "volumes"];
const VERSIONS: [&str; 11] =
    ["3", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9"];

/// A service as faasd runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, by which the other services find it.
    pub name: String,
    /// The image, as written.
    pub image: String,
    /// What the process is started with. Empty: what the image says.
    pub command: Vec<String>,
    /// Variables, beside those of the image.
    pub environment: BTreeMap<String, String>,
    /// Files and folders of the host.
    pub mounts: Vec<Mount>,
    /// Ports of the host that lead into it.
    pub ports: Vec<Port>,
    /// `uid`, `uid:gid` or names. `None`: what the image says.
    pub user: Option<String>,
    /// All the capabilities that it has.
    pub capabilities: Vec<String>,
    /// The services that are started before it.
    pub depends_on: Vec<String>,
}

/// A file or folder of the host within a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On the host; a relative one counts from `/var/lib/faasd`.
    pub source: String,
    /// In the container.
    pub target: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// A TCP port of the host that leads to one of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The host's address that listens. `None`: all of them.
    pub address: Option<String>,
    /// The host's port.
    pub host: u16,
    /// The service's port.
    pub container: u16,
}

/// Reads a compose file as faasd does.
///
/// # Errors
/// Everything that faasd would refuse, ignore or take otherwise than it reads; of mistakes in the YAML itself only the first.
pub fn check(text: &str) -> Result<Vec<Service>, Mistakes> {
    let mut report = Report::default();
    let services = match Node::parse(text) {
        Ok(Node { value: Value::Map(sections), .. }) => top_level(sections, &mut report),
        Ok(node) => report.instead(node.line, "the file must be a map"),
        Err(mistake) => {
            report.add(mistake);
            None
        }
    };
    report.finish(services)
}

fn top_level(sections: Vec<(Key, Node)>, report: &mut Report) -> Option<Vec<Service>> {
    let mut services = None;
    let mut versioned = false;
    for (key, node) in sections {
        match key.name.as_str() {
            "version" => {
                versioned = true;
                let known = node.scalar().is_some_and(|version| VERSIONS.contains(&version));
                if node.kind() != Kind::Text || !known {
                    report.at(node.line, "`version` must be \"3\" to \"3.9\", in quotes");
                }
            }
            "services" => match node.value {
                Value::Map(entries) => services = Some(read_services(entries, report)),
                _ => report.at(node.line, "`services` must be a map"),
            },
            name if name.starts_with("x-") => {}
            name if IGNORED.contains(&name) => {
                report.at(key.line, format!("faasd ignores `{name}`"))
            }
            name => report.at(key.line, format!("faasd refuses a file with `{name}` at its top")),
        }
    }
    if !versioned {
        report
            .at(1, "`version` is missing: faasd refuses a file without it; write version: \"3.7\"");
    }
    if services.is_none() {
        report.at(1, "there are no `services`");
    }
    services
}

fn read_services(entries: Vec<(Key, Node)>, report: &mut Report) -> Vec<Service> {
    let lines: BTreeMap<String, usize> =
        entries.iter().map(|(key, _)| (key.name.clone(), key.line)).collect();
    let services: Vec<_> =
        entries.into_iter().filter_map(|(key, node)| service::read(key, node, report)).collect();
    let mut ports = BTreeMap::new();
    for service in &services {
        let line = lines[&service.name];
        for wanted in service.depends_on.iter().filter(|wanted| !lines.contains_key(*wanted)) {
            report.at(
                line,
                format!(
                    "`{}` depends on `{wanted}`, which is no service: faasd crashes",
                    service.name
                ),
            );
        }
        if waits_for_itself(service, &services) {
            report.at(
                line,
                format!("`{}` depends on itself in the end: faasd crashes", service.name),
            );
        }
        for port in &service.ports {
            // Even on different addresses.
            if let Some(other) = ports.insert(port.host, &service.name) {
                report.at(
                    line,
                    format!(
                        "port {} of the host is already that of `{other}`: faasd does not start",
                        port.host
                    ),
                );
            }
        }
    }
    services
}

fn waits_for_itself(service: &Service, services: &[Service]) -> bool {
    let mut reached: Vec<&str> = Vec::new();
    let mut ahead: Vec<&str> = service.depends_on.iter().map(String::as_str).collect();
    while let Some(name) = ahead.pop() {
        if name == service.name {
            return true;
        }
        if !reached.contains(&name) {
            reached.push(name);
            let found = services.iter().find(|other| other.name == name);
            ahead
                .extend(found.iter().flat_map(|other| other.depends_on.iter().map(String::as_str)));
        }
    }
    false
}
