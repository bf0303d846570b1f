//! The files of a chart that are made from its values: the shared part of `values.yaml`,
//! `values.schema.json` and `README.md`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::described::{self, Described};
use crate::{read, settings};

/// Divides a values file into what is the chart's own and what is copied from the library.
const SHARED: &str = "# What follows is the same in every chart: it is copied from deploy/helm/connector/values by `make bless`.\n\n";

/// The kinds whose broker can tell KEDA how much waits.
const SCALED: [&str; 3] = ["kafka", "nats", "sqs"];

/// A Go duration; empty where it may be left out.
const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))*$";

/// The whole `values.yaml`: its own part as it is, the shared one anew.
#[must_use]
pub fn values(kind: &str) -> String {
    let file = read(&format!("deploy/helm/{kind}-connector/values.yaml"));
    let own = file.split(SHARED).next().unwrap_or(&file).trim_end();
    let mut text = format!("{own}\n\n{SHARED}");
    if SCALED.contains(&kind) {
        text += &read("deploy/helm/connector/values/keda.yaml");
        text.push('\n');
    }
    text + &read("deploy/helm/connector/values/shared.yaml")
}

/// The schema of the values.
///
/// # Panics
/// When a value has no description.
#[must_use]
pub fn schema(kind: &str) -> String {
    let values = described::values(&values(kind));
    let mut schema = object(&values, kind);
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!(format!("Values of {kind}-connector")));
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

/// The schema of an object whose keys are `values`, and nothing else.
fn object(values: &[Described], kind: &str) -> Map<String, Value> {
    let properties: Map<String, Value> =
        values.iter().map(|value| (value.name.clone(), property(value, kind))).collect();
    let Value::Object(schema) = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    }) else {
        unreachable!("an object was written")
    };
    schema
}

fn property(value: &Described, kind: &str) -> Value {
    let mut schema = match &value.default {
        Value::Object(_) if !value.parts.is_empty() => object(&value.parts, kind),
        default => Map::from_iter([("type".to_owned(), json!(type_of(default)))]),
    };
    let mut free = value.schema.contains_key("free");
    for (key, rule) in &value.schema {
        match key.as_str() {
            "free" => {}
            "duration" => _ = schema.insert("pattern".to_owned(), json!(DURATION)),
            "settings" => schema.extend(connector_settings(kind)),
            key => {
                free |= key == "additionalProperties";
                schema.insert(key.to_owned(), rule.clone());
            }
        }
    }
    let closed = free || schema.contains_key("properties");
    assert!(
        closed || !value.default.is_object(),
        "{}: neither its keys are described, nor is it said that they are free",
        value.name
    );
    schema.insert("description".to_owned(), json!(value.meaning));
    if value.parts.is_empty() {
        schema.insert("default".to_owned(), value.default.clone());
    }
    Value::Object(schema)
}

fn type_of(default: &Value) -> &'static str {
    match default {
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) | Value::Null => "string",
    }
}

/// The schema of `settings`: each setting of the connector by its name, and no other.
fn connector_settings(kind: &str) -> Map<String, Value> {
    let mut names = settings::of(kind);
    names.retain(|name, _| !settings::is_of_chart(kind, name));
    let properties: Map<String, Value> = names
        .into_iter()
        .map(|(name, meaning)| {
            let taken = json!(["string", "integer", "boolean", "null"]);
            (name, json!({ "type": taken, "description": meaning }))
        })
        .collect();
    Map::from_iter([
        ("additionalProperties".to_owned(), json!(false)),
        ("properties".to_owned(), Value::Object(properties)),
    ])
}

/// The chart's page.
#[must_use]
pub fn readme(kind: &str) -> String {
    let chart = read(&format!("deploy/helm/{kind}-connector/Chart.yaml"));
    let description =
        chart.lines().find_map(|line| line.strip_prefix("description: ")).unwrap_or_default();
    let mut text = format!(
        "# {kind}-connector\n\n\
         {description}. The [guide](../../../docs/{kind}.md) says how, and \
         [Kubernetes](../../../docs/kubernetes.md) what all charts have in common.\n\n\
         ```console\n\
         $ helm upgrade --install {kind}-connector deploy/helm/{kind}-connector --namespace openfaas\n\
         ```\n\n\
         A values file that was written for the chart of OpenFaaS works unchanged: \
         see [migrating](../../../docs/migrating.md#helm).\n\n\
         ## Values\n\n\
         Generated from `values.yaml`: `make bless` writes it anew.\n\n\
         | Value | Default | Meaning |\n|---|---|---|\n"
    );
    rows(&mut text, "", &described::values(&values(kind)));
    text
}

fn rows(text: &mut String, prefix: &str, values: &[Described]) {
    for value in values {
        let name = format!("{prefix}{}", value.name);
        let default = match &value.default {
            _ if !value.parts.is_empty() => String::new(),
            Value::String(default) if !default.is_empty() => format!("`{default}`"),
            default => format!("`{default}`"),
        };
        let cells = [format!("`{name}`"), default, value.meaning.clone()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes everything");
        rows(text, &format!("{name}."), &value.parts);
    }
}
