//! The settings: one descriptive table per connector, from which parser, help and reference are made.

use std::time::Duration;

/// One setting, as a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name: the environment variable, the key in the settings file, the long flag.
    pub name: &'static str,
    /// Other names it answers to: flags of the upstream connector (`username-file`), older names.
    pub aliases: &'static [&'static str],
    /// The default, as it would be written. `None`: unset.
    pub default: Option<&'static str>,
    /// What it takes.
    pub form: Form,
    /// Whose name it is, which decides how strictly it is read.
    pub origin: Origin,
    /// What it does, what unset means, and its unit. One to three sentences.
    pub help: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// A list, separated by commas.
    List,
    /// `true` or `1`; anything else is false.
    Flag,
    /// A whole number, least and most.
    Number(i64, i64),
    /// A Go duration: `300ms`, `1.5h`, `2h45m`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The path of a file whose content is a secret, or key material.
    SecretFile,
    /// A secret in the setting itself. Never printed.
    Secret,
}

/// Whose name a setting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The upstream connectors have it: read as tolerantly as they do, with a warning.
    Upstream,
    /// Ours: read strictly.
    Ours,
}

/// The values of all settings, as text with their origin; typed by getters that collect mistakes.
#[derive(Debug)]
pub struct Values(());

impl Values {
    /// The text of a setting; `None` when unset, or empty for an upstream name.
    pub fn text(&mut self, name: &'static str) -> Option<String> { None }
    /// A list setting: trimmed items, empty ones left out.
    pub fn list(&mut self, name: &'static str) -> Vec<String> { Vec::new() }
    /// A flag.
    pub fn flag(&mut self, name: &'static str) -> bool { false }
    /// A number within its form's bounds.
    pub fn number(&mut self, name: &'static str) -> i64 { 0 }
    /// A duration.
    pub fn duration(&mut self, name: &'static str) -> Duration { Duration::ZERO }
    /// A word of the choice.
    pub fn choice(&mut self, name: &'static str) -> &'static str { "" }
    /// Notes a mistake about `name` found by the caller: what is wrong and what it takes.
    pub fn mistake(&mut self, name: &'static str, what: impl Into<String>) {}
}

/// The settings that all connectors share, validated.
#[derive(Debug)]
pub struct CoreConfig {}
