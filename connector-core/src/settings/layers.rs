//! Which value wins, and where it was written.
//!
//! `figment` keeps the layers and remembers which of them a value came from. It is given strings
//! only: its own providers guess types (a password `12345` would become a number), and its own
//! errors print the value. What a string means is decided afterwards, by the setting's row.

use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::flags::Flags;
use super::load::Table;
use super::reading::{go_bool, read, takes};
use super::values::{Entry, Given, Mistake, Place, Values, Warning};
use super::{Form, Origin, Setting};

/// The setting that names the settings file.
pub(super) const FILE_SETTING: &str = "settings_file";

/// One layer: the text of some settings, and the name each was written by.
struct Layer {
    name: &'static str,
    file: Option<PathBuf>,
    dict: Dict,
}

const DEFAULTS: &str = "defaults";
const SOURCE_DEFAULTS: &str = "source defaults";
const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

impl Layer {
    fn new(name: &'static str) -> Self {
        Self { name, file: None, dict: Dict::new() }
    }

    /// Sets a value. An empty one of an upstream name is as good as none, as upstream has it.
    fn set(&mut self, setting: &Setting, text: &str, written: &str) {
        if text.is_empty() && setting.origin == Origin::Upstream {
            return;
        }
        let value = [("text", text), ("written", written)];
        let value: Dict =
            value.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect();
        self.dict.insert(setting.name.to_owned(), Value::from(value));
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match &self.file {
            Some(path) => Metadata::from(self.name, path.as_path()),
            None => Metadata::named(self.name),
        }
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Lays the layers over each other and reads every setting once.
pub(super) fn resolve(
    table: &Table,
    flags: Flags,
    env: impl IntoIterator<Item = (String, String)>,
) -> Values {
    let Flags { given, mut mistakes, warnings, .. } = flags;
    let defaults =
        Figment::new().merge(table_defaults(table)).merge(source_defaults(table, &mut mistakes));
    let environment = environment(table, env);
    let flags = flag_layer(table, &given);
    let mut figment = defaults.clone();
    let above = Figment::new().merge(&environment).merge(&flags);
    if let Some(path) = find(&above, FILE_SETTING).filter(|given| !given.text.is_empty()) {
        figment = figment.merge(file(table, &path, &mut mistakes));
    }
    let figment = figment.merge(environment).merge(flags);

    let mut values = Values {
        scheme: table.scheme,
        entries: std::collections::BTreeMap::new(),
        mistakes,
        warnings,
    };
    for setting in &table.rows {
        let entry = entry(setting, &figment, &defaults, &mut values);
        values.entries.insert(setting.name, entry);
    }
    values
}

/// Reads the value that won; a bad one of an upstream name gives way to the default.
fn entry(setting: &Setting, figment: &Figment, defaults: &Figment, values: &mut Values) -> Entry {
    let mut entry = Entry {
        setting: *setting,
        given: find(figment, setting.name),
        reading: None,
        default: find(defaults, setting.name).map(|default| default.text),
    };
    let Some(given) = &mut entry.given else {
        return entry;
    };
    let wrong = match read_given(setting, given) {
        Ok(reading) => {
            entry.reading = Some(reading);
            return entry;
        }
        Err(wrong) => wrong,
    };
    // A boolean flag that Go itself refuses has never worked: no user to be tolerant with.
    let refused = setting.form == Form::Flag && matches!(given.place, Place::Flag(_));
    if setting.origin == Origin::Ours || refused || given.place.is_default() {
        values.mistakes.push(Mistake {
            setting: setting.name.to_owned(),
            origin: given.place.to_string(),
            what: wrong,
            takes: takes(setting.form),
        });
        // What is read from here on is never used, but must not look like a second mistake.
        if let Some(mut default) = find(defaults, setting.name) {
            entry.reading = read_given(setting, &mut default).ok();
        }
        return entry;
    }
    let mut warn = |used: &str| {
        values.warnings.push(Warning {
            setting: setting.name.to_owned(),
            origin: given.place.to_string(),
            what: format!("{wrong}; {used}; takes {}", takes(setting.form)),
        });
    };
    if setting.form == Form::Flag {
        warn("read as false");
        "false".clone_into(&mut given.text);
    } else if let Some(default) = find(defaults, setting.name) {
        warn(&format!("{} is used", default.text));
        *given = default;
    } else {
        warn("read as unset");
        entry.given = None;
        return entry;
    }
    entry.reading = read_given(setting, given).ok();
    entry
}

fn read_given(setting: &Setting, given: &mut Given) -> Result<super::reading::Reading, String> {
    if given.text.is_empty() {
        return Err("is set, but empty".to_owned());
    }
    if setting.form == Form::Flag
        && matches!(given.place, Place::Flag(_))
        && let Some(flag) = go_bool(&given.text)
    {
        given.text = flag.to_string();
    }
    read(setting.form, &given.text)
}

fn find(figment: &Figment, name: &str) -> Option<Given> {
    let text_key = format!("{name}.text");
    let text = figment.find_value(&text_key).ok()?.into_string()?;
    let written = figment.find_value(&format!("{name}.written")).ok()?.into_string()?;
    let metadata = figment.find_metadata(&text_key)?;
    let place = match &*metadata.name {
        SOURCE_DEFAULTS => Place::SourceDefault,
        FILE => Place::File(metadata.source.as_ref()?.file_path()?.to_owned()),
        ENVIRONMENT => Place::Environment(written),
        FLAGS => Place::Flag(written),
        _ => Place::Default,
    };
    Some(Given { text, place })
}

fn table_defaults(table: &Table) -> Layer {
    let mut layer = Layer::new(DEFAULTS);
    for setting in &table.rows {
        if let Some(default) = setting.default {
            layer.set(setting, default, setting.name);
        }
    }
    layer
}

fn source_defaults(table: &Table, mistakes: &mut Vec<Mistake>) -> Layer {
    let mut layer = Layer::new(SOURCE_DEFAULTS);
    for &(name, default) in table.defaults {
        match table.rows.iter().find(|setting| setting.name == name) {
            Some(setting) => layer.set(setting, default, name),
            None => mistakes.push(unknown(name, Place::SourceDefault.to_string())),
        }
    }
    layer
}

/// Exact names only, as upstream reads them; everything else in the environment is not for us.
fn environment(table: &Table, env: impl IntoIterator<Item = (String, String)>) -> Layer {
    let env: std::collections::HashMap<String, String> = env.into_iter().collect();
    let mut layer = Layer::new(ENVIRONMENT);
    for setting in &table.rows {
        for name in older_names(setting).chain([setting.name]) {
            if let Some(text) = env.get(name) {
                layer.set(setting, text, name);
            }
        }
    }
    layer
}

fn flag_layer(table: &Table, given: &[(&'static str, Given)]) -> Layer {
    let mut layer = Layer::new(FLAGS);
    for (name, given) in given {
        if let (Some(setting), Place::Flag(written)) = (table.setting(name), &given.place) {
            layer.set(setting, &given.text, written);
        }
    }
    layer
}

fn file(table: &Table, named: &Given, mistakes: &mut Vec<Mistake>) -> Layer {
    let path = Path::new(&named.text);
    let mut layer = Layer::new(FILE);
    layer.file = Some(path.to_owned());
    let mut wrong = |what: String| {
        mistakes.push(Mistake {
            setting: FILE_SETTING.to_owned(),
            origin: named.place.to_string(),
            what,
            takes: "the path of a TOML file".to_owned(),
        });
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            wrong(format!("cannot read {}: {error}", path.display()));
            return layer;
        }
    };
    let dict = match Toml::string(&text).data() {
        Ok(mut profiles) => profiles.remove(&Profile::Default).unwrap_or_default(),
        Err(error) => {
            // The lines that follow the first one quote the file, and so perhaps a secret.
            let error = error.to_string();
            wrong(format!("{}: {}", path.display(), error.lines().next().unwrap_or_default()));
            return layer;
        }
    };
    for name in dict.keys() {
        if !table.rows.iter().any(|setting| known_as(setting, name)) {
            mistakes.push(unknown(name, Place::File(path.to_owned()).to_string()));
        }
    }
    for setting in &table.rows {
        for name in older_names(setting).chain([setting.name]) {
            let Some(value) = dict.get(name) else {
                continue;
            };
            match flat(value) {
                Some(text) => layer.set(setting, &text, name),
                None => mistakes.push(Mistake {
                    setting: setting.name.to_owned(),
                    origin: Place::File(path.to_owned()).to_string(),
                    what: "is a table or a nested list".to_owned(),
                    takes: takes(setting.form),
                }),
            }
        }
    }
    layer
}

/// A TOML value as the environment would have it.
fn flat(value: &Value) -> Option<String> {
    match value {
        Value::Array(_, items) => {
            let items: Option<Vec<String>> = items.iter().map(scalar).collect();
            Some(items?.join(","))
        }
        other => scalar(other),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, char) => Some(char.to_string()),
        Value::Bool(_, bool) => Some(bool.to_string()),
        Value::Num(_, number) => Some(match number {
            Num::F32(number) => number.to_string(),
            Num::F64(number) => number.to_string(),
            whole => whole.to_i128().or_else(|| i128::try_from(whole.to_u128()?).ok())?.to_string(),
        }),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

fn unknown(name: &str, origin: String) -> Mistake {
    Mistake {
        setting: super::reading::quoted(name),
        origin,
        what: "there is no such setting".to_owned(),
        takes: String::new(),
    }
}

fn known_as(setting: &Setting, name: &str) -> bool {
    setting.name == name || older_names(setting).any(|older| older == name)
}

/// The aliases that are no mere flags.
pub(super) fn older_names(setting: &Setting) -> impl Iterator<Item = &'static str> {
    setting.aliases.iter().copied().filter(|alias| alias.contains('_'))
}
