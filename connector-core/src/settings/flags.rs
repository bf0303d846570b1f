//! Flags as Go's `flag` package reads them, because the upstream connectors are written in Go.
//!
//! One dash or two; `-x v`, `-x=v`; a boolean flag is `-x` or `-x=true`, never `-x true`. A flag
//! answers to its setting's name and aliases, with underscores or dashes alike.

use super::completions::{SHELL_WORDS, SHELLS, Shell};
use super::load::Table;
use super::values::{Given, Mistake, Place, Warning};
use super::{Form, Setting};

/// A page to print instead of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Help,
    Version,
    Check,
    Reference,
    Headers,
    Annotations,
    Schema,
    Completions(Shell),
    Metrics,
}

/// The flag that prints what a shell needs, with what it says of itself. It takes the shell's name.
pub(super) const COMPLETIONS: (&str, &str) =
    ("completions", "Prints what a shell needs to complete the flags: bash, zsh or fish.");

/// The flags that print a page, with what they say of themselves.
pub(super) const PAGES: [(&str, Page, &str); 8] = [
    ("help", Page::Help, "Prints this page."),
    ("version", Page::Version, "Prints name and version."),
    ("check", Page::Check, "Prints the effective settings with their origin, and starts nothing."),
    ("config-reference", Page::Reference, "Prints the table of all settings as Markdown."),
    (
        "header-reference",
        Page::Headers,
        "Prints the table of the headers that functions are called with as Markdown.",
    ),
    (
        "annotation-reference",
        Page::Annotations,
        "Prints the table of the annotations that are read as Markdown.",
    ),
    ("schema", Page::Schema, "Prints the JSON schema of the settings file, for editors."),
    ("metric-reference", Page::Metrics, "Prints the table of all metrics as Markdown."),
];

/// What the arguments said.
#[derive(Default)]
pub(super) struct Flags {
    pub(super) page: Option<Page>,
    /// Settings by name, in the order of the arguments: a later one wins.
    pub(super) given: Vec<(&'static str, Given)>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Warning>,
}

impl Flags {
    pub(super) fn parse(table: &Table, args: impl IntoIterator<Item = String>) -> Self {
        let mut flags = Self::default();
        let mut args = args.into_iter().enumerate();
        while let Some((at, arg)) = args.next() {
            if arg == "--" {
                // Go ends the flags here; its connectors then ignore what follows.
                for (at, _) in args.by_ref() {
                    flags.stray(at);
                }
                break;
            }
            let Some(body) = arg.strip_prefix('-').filter(|body| !body.is_empty()) else {
                flags.stray(at);
                continue;
            };
            let body = body.strip_prefix('-').unwrap_or(body);
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            if let Some(page) = page(name) {
                // The first one asked for.
                flags.page.get_or_insert(page);
                continue;
            }
            if same(COMPLETIONS.0, name) {
                flags.completions(value.or_else(|| args.next().map(|(_, word)| word)));
                continue;
            }
            let written = format!("-{name}");
            let Some(setting) = table.rows.iter().find(|setting| answers_to(setting, name)) else {
                flags.unknown(table, name, written);
                continue;
            };
            let text = match value {
                Some(value) => value,
                None if setting.form == Form::Flag => "true".to_owned(),
                None => match args.next() {
                    Some((_, value)) => value,
                    None => {
                        flags.mistakes.push(Mistake {
                            setting: setting.name.to_owned(),
                            origin: format!("flag {written}"),
                            what: "has no value".to_owned(),
                            takes: super::reading::takes(setting.form),
                        });
                        break;
                    }
                },
            };
            flags.given.push((setting.name, Given { text, place: Place::Flag(written) }));
        }
        flags
    }

    fn completions(&mut self, word: Option<String>) {
        let shell = SHELLS.iter().find(|(name, _)| word.as_deref() == Some(*name));
        match shell {
            Some(&(_, shell)) => {
                self.page.get_or_insert(Page::Completions(shell));
            }
            None => self.mistakes.push(Mistake {
                setting: format!("-{}", COMPLETIONS.0),
                origin: "flags".to_owned(),
                what: "names no shell that is known".to_owned(),
                takes: format!("one of {}", SHELL_WORDS.join(", ")),
            }),
        }
    }

    /// A word that belongs to no flag. It is not repeated: it may be a secret gone astray.
    fn stray(&mut self, at: usize) {
        self.warnings.push(Warning {
            setting: format!("argument {}", at + 1),
            origin: "flags".to_owned(),
            what: "belongs to no flag and is ignored; a boolean flag takes its value after `=`"
                .to_owned(),
        });
    }

    fn unknown(&mut self, table: &Table, name: &str, written: String) {
        let nearest = nearest(table, name)
            .map(|name| format!("; the nearest is -{name}"))
            .unwrap_or_default();
        self.mistakes.push(Mistake {
            setting: super::reading::quoted(&written),
            origin: "flags".to_owned(),
            what: format!("there is no such flag{nearest}"),
            takes: String::new(),
        });
    }
}

/// Every form of a setting's flag, without the dash.
pub(super) fn forms(setting: &Setting) -> Vec<String> {
    let mut forms = vec![setting.name.to_owned()];
    let dashed = setting.name.replace('_', "-");
    let aliases = setting.aliases.iter().map(|&alias| alias.to_owned());
    for form in std::iter::once(dashed).chain(aliases) {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

/// A flag that two settings, or a setting and a page, answer to.
pub(super) fn ambiguous(rows: &[Setting]) -> Option<String> {
    rows.iter().enumerate().find_map(|(at, setting)| {
        forms(setting).into_iter().find(|form| {
            is_page(form) || rows[at + 1..].iter().any(|other| answers_to(other, form))
        })
    })
}

fn is_page(name: &str) -> bool {
    page(name).is_some() || same(COMPLETIONS.0, name)
}

fn page(name: &str) -> Option<Page> {
    let name = if name == "h" { "help" } else { name };
    PAGES.iter().find(|(word, ..)| same(word, name)).map(|&(_, page, _)| page)
}

fn answers_to(setting: &Setting, name: &str) -> bool {
    same(setting.name, name) || setting.aliases.iter().any(|alias| same(alias, name))
}

/// Whether two names differ in dashes and underscores only.
fn same(one: &str, other: &str) -> bool {
    let plain = |byte| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

/// The known flag that is fewest edits away, if it is near enough to be meant.
fn nearest(table: &Table, name: &str) -> Option<String> {
    let pages = PAGES.iter().map(|&(word, ..)| word).chain([COMPLETIONS.0]).map(str::to_owned);
    table
        .rows
        .iter()
        .flat_map(forms)
        .chain(pages)
        .map(|form| (edits(&form, name), form))
        .filter(|(edits, form)| *edits <= 2.max(form.len() / 3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, form)| form)
}

/// Levenshtein's distance, dashes and underscores alike.
fn edits(one: &str, other: &str) -> usize {
    // Nothing that long is a slip of the pen, and the time taken is the product of the lengths.
    if other.len() > 64 {
        return usize::MAX;
    }
    let other: Vec<char> = other.replace('_', "-").chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.replace('_', "-").chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
