//! The variables of a service: a list of `NAME=VALUE`, or a map, in which faasd's parser is particular about types.

use std::collections::BTreeMap;

use super::{plain_text, text};
use crate::report::Report;
use crate::yaml::{Kind, Node, Value};

pub(super) fn read(node: &Node, report: &mut Report) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    match &node.value {
        Value::Map(entries) => {
            for (key, node) in entries {
                let value = variable(&key.name, node, report);
                variables.insert(key.name.clone(), value);
            }
        }
        Value::List(list) => {
            for item in list {
                let Some((name, value)) = assignment(item, report) else { continue };
                if variables.contains_key(&name) {
                    report.at(item.line, format!("`{name}` stands twice in `environment`"));
                }
                variables.insert(name, value);
            }
        }
        Value::Scalar { .. } => report.at(node.line, "`environment` must be a list or a map"),
    }
    variables
}

fn assignment(item: &Node, report: &mut Report) -> Option<(String, String)> {
    let text = plain_text(item, report)?;
    let Some((name, value)) = text.split_once('=') else {
        let why = "its value would be two quotes, not nothing";
        return report.instead(item.line, format!("`{text}` has no `=`: {why}"));
    };
    Some((name.to_owned(), value.to_owned()))
}

fn variable(name: &str, node: &Node, report: &mut Report) -> String {
    match node.kind() {
        Kind::Text => text(node, name, report),
        Kind::Whole => node.scalar().unwrap_or_default().to_owned(),
        Kind::Boolean => report.instead(
            node.line,
            format!(
                "faasd refuses booleans in `environment`: put the value of `{name}` into quotes"
            ),
        ),
        Kind::Null => report.instead(
            node.line,
            format!("`{name}` has no value: it would be two quotes, not nothing; write \"\""),
        ),
        Kind::Respelled => report.instead(
            node.line,
            format!("faasd would write the value of `{name}` otherwise: put it into quotes"),
        ),
        Kind::List | Kind::Map => {
            report.instead(node.line, format!("the value of `{name}` must be text"))
        }
    }
}
