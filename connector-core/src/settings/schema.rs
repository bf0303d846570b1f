//! The settings file as a JSON schema (draft 7), for editors: they offer the names, show what each
//! means, and mark what the connector would refuse or pass over.
//!
//! It is made from the table, row by row. What holds between two settings, and what only parsing
//! finds, such as a bad address, `-check` alone tells.

use serde_json::{Value, json};

use super::core::DEAD_LETTER;
use super::layers::older_names;
use super::load::Table;
use super::reading::read;
use super::render::{default, taken};
use super::{Form, Origin, Setting};

/// What is checked of a text, by its form. Anchored: a schema's patterns look for a part.
const WHOLE_NUMBER: &str = "^[+-]?[0-9]+$";
const DURATION: &str =
    "^[+]?(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$";
const BYTES: &str = "^0*[1-9][0-9]*(Ki|Mi|Gi)?$";

/// The schema of the settings file of one connector.
pub(super) fn schema(table: &Table) -> String {
    let mut properties = serde_json::Map::new();
    for setting in &table.rows {
        properties.insert(setting.name.to_owned(), property(table, setting));
        for older in older_names(setting) {
            let mut property = property(table, setting);
            property["description"] = format!("Older name of {}.", setting.name).into();
            property["deprecated"] = true.into();
            properties.insert(older.to_owned(), property);
        }
    }
    let program = table.program();
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": format!("Settings of {program}"),
        "description": format!("The file that {program} is given by settings_file."),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    // `{:#}` of a JSON value is its indented form.
    format!("{schema:#}\n")
}

fn property(table: &Table, setting: &Setting) -> Value {
    let mut property = form(setting);
    if setting.name == DEAD_LETTER {
        let broker = table.scheme.map(|scheme| format!("|{scheme}:.+")).unwrap_or_default();
        property["pattern"] = format!("^(drop|hold|function:[^/?#\\s]+{broker})$").into();
    }
    let takes = taken(table, setting);
    property["description"] = format!("{} Takes {takes}.", setting.help.replace('`', "")).into();
    if let Some(default) = default(table, setting) {
        property["default"] = written(setting.form, default);
    }
    property
}

/// What a value may be. The file may write whole numbers, truths and lists as such or as text.
fn form(setting: &Setting) -> Value {
    match setting.form {
        Form::Text | Form::SecretFile | Form::Secret => match setting.origin {
            // Empty is unset there.
            Origin::Upstream => json!({ "type": "string" }),
            Origin::Ours => json!({ "type": "string", "minLength": 1 }),
        },
        Form::List => {
            json!({ "type": ["array", "string"], "items": { "type": ["string", "integer"] } })
        }
        Form::Flag => json!({ "enum": [true, false, "true", "false", "1", "0", 1, 0] }),
        Form::Number(least, most) => json!({
            "type": ["integer", "string"],
            "minimum": least,
            "maximum": most,
            "pattern": WHOLE_NUMBER,
        }),
        Form::Duration => json!({ "type": "string", "pattern": DURATION }),
        Form::Bytes => json!({ "type": ["integer", "string"], "minimum": 1, "pattern": BYTES }),
        Form::Choice(words) => json!({ "enum": words }),
    }
}

/// A default as somebody would write it into the file.
fn written(form: Form, text: &str) -> Value {
    use super::reading::Reading;
    match read(form, text) {
        Ok(Reading::Flag(flag)) => flag.into(),
        Ok(Reading::Number(number)) => number.into(),
        Ok(Reading::List(items)) => items.into(),
        _ => text.into(),
    }
}
