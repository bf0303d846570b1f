//! The schema of the settings file, judged by a validator that knows nothing of us: it takes what
//! the connector takes, and refuses what the connector refuses or passes over.

use std::fs;
use std::path::Path;
use std::process::Command;

use integration::{Launch, root};
use serde_json::{Map, Value, json};

/// A value that no setting of this kind of schema takes.
fn wrong(property: &Value) -> Option<Value> {
    let kinds = property["type"].to_string();
    if property["enum"].is_array() {
        return Some(json!("sideways"));
    }
    if let Some(most) = property["maximum"].as_i64() {
        return Some(most.checked_add(1).map_or_else(|| json!("ten"), Value::from));
    }
    if property["pattern"].is_string() {
        return Some(json!("soon"));
    }
    // Any text is a text, and a list of it.
    kinds.contains("integer").then(|| json!("soon"))
}

fn schema(kind: &str) -> Value {
    let text = fs::read_to_string(root().join(schema_path(kind))).expect("the schema can be read");
    serde_json::from_str(&text).expect("the schema is JSON")
}

fn schema_path(kind: &str) -> String {
    format!("docs/schema/{kind}-connector.json")
}

/// The settings as a file of TOML. A JSON scalar or a list of them is one of TOML too.
fn toml(settings: &Map<String, Value>) -> String {
    settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}

/// What the validator finds, one line for each place; empty if nothing.
fn validated(folder: &Path, kind: &str, settings: &Map<String, Value>) -> Vec<String> {
    let instance = folder.join(format!("{kind}.json"));
    fs::write(&instance, Value::from(settings.clone()).to_string()).expect("a file can be written");
    let validator = Command::new("jsonschema")
        .args(["--error-format", "! {error.path}: {error.message}\n", "-i"])
        .arg(&instance)
        .arg(root().join(schema_path(kind)))
        .output()
        .expect("jsonschema can be run; it is installed by: apt-get install python3-jsonschema");
    let said = String::from_utf8_lossy(&validator.stderr);
    let found: Vec<_> =
        said.lines().filter(|line| line.starts_with("! ")).map(str::to_owned).collect();
    assert_eq!(validator.status.success(), found.is_empty(), "{said}");
    found
}

/// What the connector says of the file: whether it takes it, and all that it prints.
async fn checked(folder: &Path, kind: &str, settings: &Map<String, Value>) -> (bool, String) {
    let file = folder.join(format!("{kind}.toml"));
    fs::write(&file, toml(settings)).expect("a file can be written");
    let path = file.to_str().expect("the path is text");
    let launch = Launch::new(kind).unset("admin_port").set("settings_file", path);
    let ended = launch.argument("-check").run().await;
    let said = ended.stdout() + &ended.stderr();
    (ended.code == Some(0) && !said.contains("Passed over"), said)
}

#[tokio::test]
async fn the_schema_and_the_connector_agree_on_a_settings_file() {
    let folder = std::env::temp_dir().join(format!("tributary-schema-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    for kind in ["cron", "kafka", "mqtt", "nats", "sqs"] {
        let schema = schema(kind);
        let properties = schema["properties"].as_object().expect("an object").iter();
        let own_names = properties.filter(|(_, property)| property["deprecated"] != true);

        // Every default, written out.
        let defaults: Map<_, _> = own_names
            .clone()
            .filter(|(_, property)| !property["default"].is_null() && property["default"] != "")
            .map(|(name, property)| (name.clone(), property["default"].clone()))
            .collect();
        assert!(defaults.len() > 20, "{kind}: {}", defaults.len());
        assert_eq!(validated(&folder, kind, &defaults), [""; 0], "{kind}");
        let (taken, said) = checked(&folder, kind, &defaults).await;
        assert!(taken, "{kind}: {said}");

        // Something wrong for everything that can be wrong, and one name that there is not.
        let mut mistakes: Map<_, _> = own_names
            .filter_map(|(name, property)| Some((name.clone(), wrong(property)?)))
            .collect();
        mistakes.insert("max_infligth".to_owned(), json!(64));
        assert!(mistakes.len() > 15, "{kind}: {}", mistakes.len());
        let found = validated(&folder, kind, &mistakes).join("\n");
        // What is wrong beside what is only tolerated would hide the latter.
        for (name, value) in mistakes {
            assert!(found.contains(&name), "{kind}: the schema takes {name} = {value}: {found}");
            let one = Map::from_iter([(name.clone(), value.clone())]);
            let (taken, said) = checked(&folder, kind, &one).await;
            assert!(!taken && said.contains(&name), "{kind} takes {name} = {value}: {said}");
        }
    }
    fs::remove_dir_all(&folder).expect("the folder is ours");
}
