//! The values that charts are tried with.

use serde_json::{Map, Value};

use crate::read;

/// Each set of values of a chart with its name: none, those of OpenFaaS' chart, and everything on.
///
/// # Panics
/// When a file of them is not what it should be.
#[must_use]
pub fn of(kind: &str) -> [(&'static str, String); 3] {
    let upstream = Value::Object(upstream(kind).into_iter().fold(Map::new(), |mut all, flip| {
        set(&mut all, &flip.key, flip.value);
        all
    }));
    let everything = read("tests/charts/values/shared.yaml")
        + &read(&format!("tests/charts/values/{kind}.yaml"));
    [("defaults", String::new()), ("upstream", upstream.to_string()), ("everything", everything)]
}

/// A value of OpenFaaS' chart.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// Its path.
    pub key: String,
    /// What it is there.
    pub value: Value,
    /// What it could be.
    pub other: Value,
    /// What has to be set beside it.
    #[serde(default)]
    pub with: Map<String, Value>,
    /// Why it cannot be had.
    pub refused: Option<String>,
    /// What makes it count there, and is refused here.
    pub idle: Option<String>,
}

/// The values of OpenFaaS' chart.
///
/// # Panics
/// When they are not YAML.
#[must_use]
pub fn upstream(kind: &str) -> Vec<Flip> {
    let text = read(&format!("tests/charts/upstream/{kind}.yaml"));
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

/// Sets the value at a path such as `logs.format`.
///
/// # Panics
/// When something on the way is no object.
pub fn set(values: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        values.insert(path.to_owned(), value);
        return;
    };
    let inner = values.entry(first).or_insert_with(|| Value::Object(Map::new()));
    set(inner.as_object_mut().expect("a path leads through objects"), rest, value);
}
