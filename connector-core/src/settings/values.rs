//! The values of all settings: read once, handed out by type, with the mistakes found on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::reading::{Reading, takes};
use super::{Form, Setting};
use crate::secret::{Secret, SecretFile};

/// The values of all settings, with their origin; handed out by getters that know their type.
///
/// A getter panics when the table has no such setting, or one of another form: that is a mistake
/// in the program, which any test that reads the settings at all finds.
pub struct Values {
    pub(super) scheme: Option<&'static str>,
    pub(super) entries: BTreeMap<&'static str, Entry>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Warning>,
}

/// One setting with the value that won.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) setting: Setting,
    pub(super) given: Option<Given>,
    /// What it means. Where the value is a mistake: what the default means, to go on with.
    pub(super) reading: Option<Reading>,
    /// The default that holds for this source, as it would be written.
    pub(super) default: Option<String>,
}

/// A value as somebody wrote it.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The row of the table.
    Default,
    /// The source's own default for a shared setting.
    SourceDefault,
    /// The settings file.
    File(PathBuf),
    /// The environment, by this name.
    Environment(String),
    /// A flag, as it was written.
    Flag(String),
}

impl Place {
    pub(super) fn is_default(&self) -> bool {
        matches!(self, Self::Default | Self::SourceDefault)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::SourceDefault => f.write_str("default of this connector"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Something about a setting that keeps the process from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting, or what was taken for one.
    pub setting: String,
    /// Where the value came from.
    pub origin: String,
    /// What is wrong. Never the value of a secret.
    pub what: String,
    /// What the setting takes; empty where there is no such setting.
    pub takes: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.setting, self.origin, self.what)?;
        if !self.takes.is_empty() {
            write!(f, "; takes {}", self.takes)?;
        }
        Ok(())
    }
}

/// Something about a setting that was passed over, as the upstream connectors do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The setting.
    pub setting: String,
    /// Where the value came from.
    pub origin: String,
    /// What was found, and what is used instead.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.setting, self.origin, self.what)
    }
}

impl Values {
    /// The text of a setting; `None` when unset, or empty for an upstream name.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.reading(name) {
            Some(Reading::Text(text)) => Some(text.clone()),
            None => None,
            Some(_) => wrong_form(name),
        }
    }

    /// A list setting: trimmed items, empty ones left out. Unset: no items.
    pub fn list(&mut self, name: &'static str) -> Vec<String> {
        match self.reading(name) {
            Some(Reading::List(items)) => items.clone(),
            None => Vec::new(),
            Some(_) => wrong_form(name),
        }
    }

    /// A flag. Unset: false.
    pub fn flag(&mut self, name: &'static str) -> bool {
        match self.reading(name) {
            Some(Reading::Flag(flag)) => *flag,
            None => false,
            Some(_) => wrong_form(name),
        }
    }

    /// A number within its form's bounds. Unset: the bound nearest to 0, or 0 if it lies within.
    pub fn number(&mut self, name: &'static str) -> i64 {
        match (self.reading(name), self.entry(name).setting.form) {
            (Some(Reading::Number(number)), _) => *number,
            (None, Form::Number(least, most)) => 0.clamp(least, most),
            _ => wrong_form(name),
        }
    }

    /// A duration. Unset: zero.
    pub fn duration(&mut self, name: &'static str) -> Duration {
        self.duration_if_set(name).unwrap_or_default()
    }

    /// A duration for which there may be no default. `None`: nobody set it, and it has none.
    pub fn duration_if_set(&mut self, name: &'static str) -> Option<Duration> {
        match self.reading(name) {
            Some(Reading::Duration(duration)) => Some(*duration),
            None => None,
            Some(_) => wrong_form(name),
        }
    }

    /// A number of bytes. Unset: 0.
    pub fn bytes(&mut self, name: &'static str) -> usize {
        match self.reading(name) {
            Some(Reading::Bytes(bytes)) => usize::try_from(*bytes).unwrap_or(usize::MAX),
            None => 0,
            Some(_) => wrong_form(name),
        }
    }

    /// A word of the choice. Unset: the first.
    pub fn choice(&mut self, name: &'static str) -> &'static str {
        match (self.reading(name), self.entry(name).setting.form) {
            (Some(Reading::Choice(word)), _) => word,
            (None, Form::Choice(words)) => words.first().copied().unwrap_or_default(),
            _ => wrong_form(name),
        }
    }

    /// The secret in a setting. `None`: unset.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// The secret file that a setting names. Whether it exists is not looked at. `None`: unset.
    pub fn secret_file(&mut self, name: &'static str) -> Option<SecretFile> {
        self.text(name).map(|path| SecretFile::new(name, path))
    }

    /// Whether somebody set it: the value is none of the defaults.
    #[must_use]
    pub fn is_set(&self, name: &'static str) -> bool {
        self.entry(name).given.as_ref().is_some_and(|given| !given.place.is_default())
    }

    /// Gives a setting another default: one that depends on other settings. Without effect where
    /// somebody set it.
    ///
    /// # Panics
    /// When the setting cannot take the text.
    pub fn set_default(&mut self, name: &'static str, text: &str) {
        if self.is_set(name) {
            return;
        }
        let reading = super::reading::read(self.entry(name).setting.form, text)
            .unwrap_or_else(|wrong| panic!("the default of {name} {wrong}"));
        let entry = self.entries.get_mut(name).expect("the entry was just looked at");
        entry.given = Some(Given { text: text.to_owned(), place: Place::SourceDefault });
        entry.default = Some(text.to_owned());
        entry.reading = Some(reading);
    }

    /// The default of a text setting for this source, whatever somebody set.
    pub(super) fn default_text(&self, name: &'static str) -> Option<String> {
        self.entry(name).default.clone()
    }

    /// The word before the colon of a dead-letter address at this source's broker.
    #[must_use]
    pub fn letter_scheme(&self) -> Option<&'static str> {
        self.scheme
    }

    /// Notes a mistake about `name` found by the caller: what is wrong and what it takes.
    ///
    /// `what` must not contain the value of a secret.
    pub fn mistake(&mut self, name: &'static str, what: impl Into<String>) {
        self.mistake_taking(name, what, None);
    }

    /// Like [`mistake`](Self::mistake), where the setting takes something narrower than its form.
    pub(super) fn mistake_taking(
        &mut self,
        name: &'static str,
        what: impl Into<String>,
        taken: Option<String>,
    ) {
        let entry = self.entry(name);
        let mistake = Mistake {
            setting: name.to_owned(),
            origin: entry.origin(),
            what: what.into(),
            takes: taken.unwrap_or_else(|| takes(entry.setting.form)),
        };
        self.mistakes.push(mistake);
    }

    /// Notes something about `name` that is passed over: what was found, and what is done instead.
    pub fn warning(&mut self, name: &'static str, what: impl Into<String>) {
        let origin = self.entry(name).origin();
        self.warnings.push(Warning { setting: name.to_owned(), origin, what: what.into() });
    }

    /// The mistakes found so far.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The warnings collected so far.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    fn entry(&self, name: &'static str) -> &Entry {
        self.entries.get(name).unwrap_or_else(|| panic!("no setting is named {name}"))
    }

    fn reading(&self, name: &'static str) -> Option<&Reading> {
        self.entry(name).reading.as_ref()
    }
}

/// Without the values: some are secrets.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values")
            .field("settings", &self.entries.len())
            .field("mistakes", &self.mistakes)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl Entry {
    pub(super) fn origin(&self) -> String {
        self.given.as_ref().map_or_else(|| "unset".to_owned(), |given| given.place.to_string())
    }
}

fn wrong_form(name: &str) -> ! {
    panic!("the setting {name} has another form than the program asks for")
}
