//! One service: each key that faasd obeys, and what may stand there.

mod environment;
mod volume;

use std::collections::BTreeMap;

use crate::report::Report;
use crate::yaml::{Key, Kind, Node, Value};
use crate::{Port, Service};

/// Keys that the parser knows and faasd makes nothing of.
const IGNORED: [&str; 42] = [
    "build",
    "cap_drop",
    "cgroup_parent",
    "configs",
    "container_name",
    "credential_spec",
    "deploy",
    "devices",
    "dns",
    "dns_search",
    "domainname",
    "entrypoint",
    "expose",
    "external_links",
    "extra_hosts",
    "healthcheck",
    "hostname",
    "init",
    "ipc",
    "isolation",
    "labels",
    "links",
    "logging",
    "mac_address",
    "network_mode",
    "networks",
    "pid",
    "privileged",
    "read_only",
    "restart",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "userns_mode",
    "working_dir",
];

/// Reads a service. `None`: not even its outline can be told.
pub(crate) fn read(key: Key, node: Node, report: &mut Report) -> Option<Service> {
    let line = key.line;
    let name_is_good =
        |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !name_is_good(&key.name) {
        report.at(
            line,
            format!("`{}` is no name of a service: letters, digits, `.`, `_` and `-`", key.name),
        );
    }
    let Value::Map(entries) = node.value else {
        return report.instead(line, format!("service `{}` must be a map", key.name));
    };
    let mut service = Service {
        name: key.name,
        image: String::new(),
        command: Vec::new(),
        environment: BTreeMap::new(),
        mounts: Vec::new(),
        ports: Vec::new(),
        user: None,
        capabilities: Vec::new(),
        depends_on: Vec::new(),
    };
    let mut command_line = line;
    let mut has_image = false;
    for (key, node) in entries {
        match key.name.as_str() {
            "image" => {
                has_image = true;
                service.image = text(&node, "image", report);
            }
            "command" => {
                command_line = node.line;
                service.command = command(&node, report);
            }
            "environment" => service.environment = environment::read(&node, report),
            // Works, but its variables stand elsewhere.
            "env_file" => {}
            "volumes" => service.mounts = items(&node, "volumes", report, volume::read),
            "ports" => service.ports = items(&node, "ports", report, port),
            "user" => service.user = Some(text(&node, "user", report)),
            "cap_add" => service.capabilities = items(&node, "cap_add", report, capability),
            "depends_on" => service.depends_on = items(&node, "depends_on", report, plain_text),
            name if name.starts_with("x-") => {}
            name if IGNORED.contains(&name) => {
                report.at(key.line, format!("faasd ignores `{name}`"))
            }
            name => report
                .at(key.line, format!("faasd does not know `{name}`, and does not start with it")),
        }
    }
    if !has_image {
        report.at(line, format!("`{}` has no image", service.name));
    }
    begins_with_binary(&service, command_line, report);
    Some(service)
}

/// A command replaces the image's whole entrypoint, so it begins with the path of a binary.
fn begins_with_binary(service: &Service, line: usize, report: &mut Report) {
    let Some(first) = service.command.first() else { return };
    let image = service.image.rsplit('/').next().unwrap_or_default();
    let image = image.split([':', '@']).next().unwrap_or_default();
    // The connectors of this project and those they replace have it at the same place.
    let (good, wanted) = if image == "nats-connector" {
        (
            first == "/usr/bin/connector" || first == "/usr/bin/nats-connector",
            "/usr/bin/nats-connector".to_owned(),
        )
    } else if image.ends_with("-connector") {
        let path = format!("/usr/bin/{image}");
        (*first == path, path)
    } else {
        (
            first.contains('/') && !first.starts_with('-'),
            "the path of the image's binary".to_owned(),
        )
    };
    if !good {
        report.at(line, format!("`command` replaces the image's entrypoint: it must begin with {wanted}, not `{first}`"))
    }
}

fn command(node: &Node, report: &mut Report) -> Vec<String> {
    if node.kind() == Kind::List {
        return items(node, "command", report, plain_text);
    }
    if node.kind() != Kind::Text {
        return report.instead(node.line, "`command` must be a list, or text");
    }
    let line = text(node, "command", report);
    if line.contains(['"', '\'', '\\', '`', '(', ';', '&', '|', '<', '>']) {
        return report
            .instead(node.line, "write a `command` with quotes or signs of a shell as a list");
    }
    line.split_whitespace().map(str::to_owned).collect()
}

fn port(node: &Node, report: &mut Report) -> Option<Port> {
    const FORM: &str = "write a port as \"HOST:CONTAINER\" or \"ADDRESS:HOST:CONTAINER\"; faasd proxies single TCP ports only";
    if node.kind() != Kind::Text {
        return report.instead(node.line, FORM);
    }
    let spec = plain_text(node, report)?;
    let mut parts = spec.strip_suffix("/tcp").unwrap_or(&spec).rsplitn(3, ':');
    let container = parts.next().and_then(|port| port.parse().ok());
    let host = parts.next().and_then(|port| port.parse().ok());
    match (host, container) {
        (Some(host), Some(container)) if host > 0 && container > 0 => {
            Some(Port { address: parts.next().map(str::to_owned), host, container })
        }
        _ => report.instead(node.line, FORM),
    }
}

fn capability(node: &Node, report: &mut Report) -> Option<String> {
    let name = plain_text(node, report)?;
    if name.starts_with("CAP_") {
        return Some(name);
    }
    report.instead(
        node.line,
        format!("`{name}` is no capability to faasd: their names begin with CAP_"),
    )
}

/// The items of a list, none twice.
fn items<T: PartialEq>(
    node: &Node,
    key: &str,
    report: &mut Report,
    read: impl Fn(&Node, &mut Report) -> Option<T>,
) -> Vec<T> {
    let Value::List(list) = &node.value else {
        return report.instead(node.line, format!("`{key}` must be a list"));
    };
    let mut items = Vec::new();
    for node in list {
        let Some(item) = read(node, report) else { continue };
        // Arguments alone may be repeated.
        if key != "command" && items.contains(&item) {
            report.at(node.line, format!("this stands twice in `{key}`"));
        }
        items.push(item);
    }
    items
}

fn text(node: &Node, key: &str, report: &mut Report) -> String {
    if node.kind() != Kind::Text {
        return report.instead(node.line, format!("`{key}` must be text: put it into quotes"));
    }
    plain_text(node, report).unwrap_or_default()
}

/// Text after faasd has put its one variable into it, which is empty on amd64.
fn plain_text(node: &Node, report: &mut Report) -> Option<String> {
    let written = match node.kind() {
        Kind::Text => node.scalar()?,
        _ => return report.instead(node.line, "this must be text: put it into quotes"),
    };
    let mut pieces = written.split("$$").map(|piece| piece.replace("${ARCH_SUFFIX}", ""));
    if pieces.clone().any(|piece| piece.contains('$')) {
        return report.instead(
            node.line,
            "the only variable that faasd knows is ${ARCH_SUFFIX}; write a dollar as $$",
        );
    }
    let first = pieces.next()?;
    Some(pieces.fold(first, |text, piece| text + "$" + &piece))
}
