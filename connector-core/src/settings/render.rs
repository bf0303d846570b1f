//! What the table looks like to people: help, check, reference, mistakes.

use std::fmt::Write as _;

use serde::Serialize;

use super::core::DEAD_LETTER;
use super::flags::{self, COMPLETIONS, PAGES};
use super::layers::older_names;
use super::load::Table;
use super::reading::takes;
use super::values::{Mistake, Values};
use super::{Form, Origin, Setting};
use crate::dead_letter::Address;
use crate::metrics::Metrics;

/// The width of the help.
const COLUMNS: usize = 100;

pub(super) fn version(table: &Table) -> String {
    let more =
        if cfg!(feature = "fail-points") { ", with fail points: for tests alone" } else { "" };
    format!("{} {}{more}\n", table.program(), env!("CARGO_PKG_VERSION"))
}

pub(super) fn mistakes(table: &Table, mistakes: &[Mistake]) -> String {
    let count = mistakes.len();
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    let mut text = format!("{}: {count} {noun} in the settings\n", table.program());
    for mistake in mistakes {
        line(&mut text, &format!("  {mistake}"));
    }
    text
}

pub(super) fn help(table: &Table) -> String {
    let program = table.program();
    let mut text = version(table);
    text.push('\n');
    paragraph(&mut text, 0, "Calls the OpenFaaS functions whose annotations ask for its events.");
    line(&mut text, &format!("\nUsage: {program} [flags]\n"));
    paragraph(
        &mut text,
        0,
        "Every setting is an environment variable of exactly its name, a key of the settings file, and a flag: \
         `-name value`, `-name=value`, with one dash or two, underscores or dashes. Flags win over the environment, \
         the environment wins over the file.",
    );
    line(&mut text, "\nInstead of running:\n");
    let pages = PAGES.iter().map(|&(name, _, what)| (name.to_owned(), what));
    let completions = (format!("{} SHELL", COMPLETIONS.0), COMPLETIONS.1);
    for (name, what) in pages.chain([completions]) {
        line(&mut text, &format!("  -{name}"));
        paragraph(&mut text, 6, what);
    }
    for (title, rows) in sections(table) {
        line(&mut text, &format!("\n{title}:\n"));
        for setting in rows {
            let flags: Vec<String> =
                flags::forms(setting).iter().map(|form| format!("-{form}")).collect();
            line(&mut text, &format!("  {}", setting.name));
            paragraph(&mut text, 6, &format!("Flags: {}", flags.join(", ")));
            let default = match default(table, setting) {
                Some(default) => format!("default `{default}`"),
                None => "unset by default".to_owned(),
            };
            paragraph(&mut text, 6, &format!("Takes {}; {default}", taken(table, setting)));
            paragraph(&mut text, 6, setting.help);
        }
    }
    text
}

/// A setting as it may be shown: never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownSetting {
    /// Its name.
    pub name: &'static str,
    /// What holds, as it would be written; `(set)` for a secret, `(unset)` where nothing holds.
    pub value: String,
    /// Where it was written; `None`: nowhere.
    pub origin: Option<String>,
    /// Whether somebody chose it.
    pub chosen: bool,
}

/// Every setting as it may be shown, in the order of the help.
pub(super) fn shown(table: &Table, values: &Values) -> Vec<ShownSetting> {
    let rows = sections(table).flat_map(|(_, rows)| rows);
    rows.filter_map(|setting| {
        let given = values.entries.get(setting.name)?.given.as_ref();
        let value = match given {
            None => "(unset)".to_owned(),
            Some(_) if setting.form == Form::Secret => "(set)".to_owned(),
            Some(given) => given.text.escape_debug().to_string(),
        };
        let origin = given.map(|given| given.place.to_string());
        let chosen = given.is_some_and(|given| !given.place.is_default());
        Some(ShownSetting { name: setting.name, value, origin, chosen })
    })
    .collect()
}

/// The effective settings, one a line, with their origin. Secrets are not shown.
pub(super) fn check(table: &Table, values: &Values) -> String {
    let mut text = String::new();
    let width = table.rows.iter().map(|setting| setting.name.len()).max().unwrap_or_default();
    for ShownSetting { name, value, origin, .. } in shown(table, values) {
        let origin = origin.map(|place| format!("  [{place}]")).unwrap_or_default();
        line(&mut text, &format!("{name:width$} = {value}{origin}"));
    }
    if !values.warnings.is_empty() {
        line(&mut text, "\nPassed over:");
        for warning in &values.warnings {
            line(&mut text, &format!("  {warning}"));
        }
    }
    text
}

/// The reference of all settings, as Markdown.
pub(super) fn reference(table: &Table) -> String {
    let mut text = String::new();
    for (title, rows) in sections(table) {
        line(&mut text, &format!("## {title}\n"));
        line(&mut text, "| Setting | Default | Takes | Meaning |");
        line(&mut text, "|---|---|---|---|");
        for setting in rows {
            let mut names = format!("`{}`", setting.name);
            let older: Vec<&str> = older_names(setting).collect();
            for alias in setting.aliases {
                let dash = if older.contains(alias) { "" } else { "-" };
                write!(names, "<br>`{dash}{alias}`").expect("a string takes everything");
            }
            let default = match default(table, setting) {
                Some(default) => format!("`{default}`"),
                None => "unset".to_owned(),
            };
            let cells = [names, default, taken(table, setting), setting.help.to_owned()];
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            line(&mut text, &format!("| {} |", cells.join(" | ")));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The reference of all metrics, as Markdown.
pub(super) fn metrics(table: &Table) -> String {
    let metrics = Metrics::new(table.kind, env!("CARGO_PKG_VERSION"));
    (table.meters)(&metrics);
    metrics.reference(&table.program())
}

fn sections(table: &Table) -> impl Iterator<Item = (String, &[Setting])> {
    let (own, shared) = table.rows.split_at(table.own);
    [
        (format!("Settings of {}", table.program()), own),
        ("Settings of every connector".to_owned(), shared),
    ]
    .into_iter()
    .filter(|(_, rows)| !rows.is_empty())
}

/// What a setting takes; a dead-letter address is text only to the table.
pub(super) fn taken(table: &Table, setting: &Setting) -> String {
    if setting.name == DEAD_LETTER { Address::forms(table.scheme) } else { takes(setting.form) }
}

/// The default that holds for this source.
pub(super) fn default(table: &Table, setting: &Setting) -> Option<&'static str> {
    let own = table.defaults.iter().find(|(name, _)| *name == setting.name);
    let default = own.map(|&(_, default)| default).or(setting.default)?;
    (!default.is_empty() || setting.origin == Origin::Ours).then_some(default)
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Writes words, indented, in lines that keep to the width.
fn paragraph(text: &mut String, indent: usize, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > COLUMNS {
            text.push('\n');
            width = 0;
        }
        if width == 0 {
            text.push_str(&" ".repeat(indent));
            width = indent + length;
        } else {
            text.push(' ');
            width += 1 + length;
        }
        text.push_str(word);
    }
    text.push('\n');
}
