//! What a service mounts. faasd knows files and folders of the host, nothing else.

use super::plain_text;
use crate::Mount;
use crate::report::Report;
use crate::yaml::{Kind, Node, Value};

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Mount> {
    let mount = match &node.value {
        Value::Map(_) => long(node, report)?,
        _ => short(node, report)?,
    };
    if !mount.source.starts_with(['.', '/']) {
        return report.instead(
            node.line,
            format!(
                "faasd mounts nothing but paths of the host: `{}` must begin with `./` or `/`",
                mount.source
            ),
        );
    }
    if !mount.target.starts_with('/') {
        return report.instead(
            node.line,
            format!("`{}` in the container must begin with `/`", mount.target),
        );
    }
    Some(mount)
}

fn short(node: &Node, report: &mut Report) -> Option<Mount> {
    let spec = plain_text(node, report)?;
    let parts: Vec<_> = spec.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => {
            return report
                .instead(node.line, "write a volume as SOURCE:TARGET or SOURCE:TARGET:ro");
        }
    };
    Some(Mount { source: source.to_owned(), target: target.to_owned(), read_only })
}

fn long(node: &Node, report: &mut Report) -> Option<Mount> {
    let Value::Map(entries) = &node.value else { return None };
    let mut mount = Mount { source: String::new(), target: String::new(), read_only: false };
    let mut bind = false;
    for (key, node) in entries {
        match key.name.as_str() {
            "type" => bind = node.scalar() == Some("bind"),
            "source" => mount.source = plain_text(node, report)?,
            "target" => mount.target = plain_text(node, report)?,
            "read_only" if node.kind() == Kind::Boolean => {
                let word = node.scalar().unwrap_or_default().to_ascii_lowercase();
                mount.read_only = matches!(word.as_str(), "y" | "yes" | "true" | "on");
            }
            "read_only" => report.at(node.line, "`read_only` must be true or false"),
            "bind" | "volume" | "tmpfs" | "consistency" => {
                report.at(key.line, format!("faasd ignores `{}` of a volume", key.name))
            }
            name => report.at(
                key.line,
                format!("faasd does not know `{name}` of a volume, and does not start with it"),
            ),
        }
    }
    if !bind {
        return report.instead(
            node.line,
            "a volume must have `type: bind`: faasd does not start with any other",
        );
    }
    if mount.source.is_empty() || mount.target.is_empty() {
        return report.instead(node.line, "a volume needs `source` and `target`");
    }
    Some(mount)
}
