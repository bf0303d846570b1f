//! From arguments and environment to validated settings, or to what is printed instead.

use super::core::CoreConfig;
use super::flags::{self, Flags, Page};
use super::render::ShownSetting;
use super::shared::SHARED;
use super::values::{Values, Warning};
use super::{Setting, completions, layers, render, schema};
use crate::metrics::Metrics;
use crate::source::{Source, SourceConfig};
use crate::{annotations, headers};

/// The table of one connector: the shared settings and its own.
pub struct Table {
    pub(super) kind: &'static str,
    pub(super) scheme: Option<&'static str>,
    pub(super) defaults: &'static [(&'static str, &'static str)],
    /// The source's own first, as that is what a reader looks for.
    pub(super) rows: Vec<Setting>,
    /// How many of the rows are the source's own.
    pub(super) own: usize,
    /// What else the connector tells its users about.
    references: References,
    /// Enters the source's own metrics.
    pub(super) meters: fn(&Metrics),
}

/// The references that are made from other tables than this one.
struct References {
    headers: fn() -> String,
    annotations: fn() -> String,
}

/// The validated settings of a process.
#[derive(Debug)]
pub struct Loaded<C> {
    /// What all connectors share.
    pub core: CoreConfig,
    /// The source's own.
    pub source: C,
    /// What was passed over, to be logged once the log is set up.
    pub warnings: Vec<Warning>,
    /// Every setting as it may be shown.
    pub shown: Vec<ShownSetting>,
}

/// Why the process is not to run: print the text, exit with the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A page that was asked for, for the standard output.
    Print(String),
    /// Every mistake there is, for the standard error.
    Mistakes(String),
}

impl Outcome {
    /// The exit code: 0, or 64 (`EX_USAGE`) for mistakes.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Print(_) => 0,
            Self::Mistakes(_) => 64,
        }
    }

    /// What to print, with a newline at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Print(text) | Self::Mistakes(text) => text,
        }
    }
}

impl Table {
    /// The table of a source.
    #[must_use]
    pub fn of<S: Source>() -> Self {
        Self {
            references: References {
                headers: headers::reference::<S>,
                annotations: annotations::reference::<S>,
            },
            meters: S::meters,
            ..Self::new(S::KIND, S::LETTER_SCHEME, S::DEFAULTS, S::Config::SETTINGS)
        }
    }

    /// The shared rows with a source's own. An own row replaces the shared one of the same name:
    /// that is how a source gives a shared setting one more flag.
    ///
    /// # Panics
    /// In debug builds, when two rows answer to the same flag.
    #[must_use]
    pub fn new(
        kind: &'static str,
        scheme: Option<&'static str>,
        defaults: &'static [(&'static str, &'static str)],
        own: &[Setting],
    ) -> Self {
        let mut rows = own.to_vec();
        let shared = SHARED.iter().filter(|row| own.iter().all(|own| own.name != row.name));
        rows.extend(shared.copied());
        let references = References { headers: String::new, annotations: String::new };
        debug_assert_eq!(flags::ambiguous(&rows), None, "two settings answer to this flag");
        Self { kind, scheme, defaults, rows, own: own.len(), references, meters: |_| {} }
    }

    /// Every setting, the source's own first.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.rows
    }

    pub(super) fn setting(&self, name: &str) -> Option<&Setting> {
        self.rows.iter().find(|setting| setting.name == name)
    }

    /// The binary's name.
    pub(super) fn program(&self) -> String {
        format!("{}-connector", self.kind)
    }
}

/// Reads and validates all settings of the source `S`. Touches nothing but the settings file.
///
/// `args` are the arguments without the program's name.
///
/// # Errors
/// What to print instead of running: a page that was asked for, or all mistakes.
pub fn load<S: Source>(
    args: impl IntoIterator<Item = String>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded<S::Config>, Outcome> {
    let table = Table::of::<S>();
    let mut loaded = load_with(&table, args, env, S::Config::defaults, S::Config::read)?;
    if let Some((user, password)) = loaded.source.gateway_credentials() {
        loaded.core.gateway_user = Some(user);
        loaded.core.gateway_password = Some(password);
    }
    Ok(loaded)
}

/// The arguments of this process, without its name.
#[must_use]
pub fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// The environment of this process. What is not Unicode is no name of ours, and loses what cannot
/// be shown where it is a value.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        })
        .collect()
}

/// [`load`] for a table and a reader of the source's settings.
#[cfg(any(test, feature = "testing"))]
pub(super) fn load_table<C>(
    table: &Table,
    args: impl IntoIterator<Item = String>,
    env: impl IntoIterator<Item = (String, String)>,
    read: impl FnOnce(&mut Values) -> C,
) -> Result<Loaded<C>, Outcome> {
    load_with(table, args, env, |_| (), read)
}

fn load_with<C>(
    table: &Table,
    args: impl IntoIterator<Item = String>,
    env: impl IntoIterator<Item = (String, String)>,
    defaults: impl FnOnce(&mut Values),
    read: impl FnOnce(&mut Values) -> C,
) -> Result<Loaded<C>, Outcome> {
    let flags = Flags::parse(table, args);
    let page = flags.page;
    match page {
        Some(Page::Help) => return Err(Outcome::Print(render::help(table))),
        Some(Page::Version) => return Err(Outcome::Print(render::version(table))),
        Some(Page::Reference) => return Err(Outcome::Print(render::reference(table))),
        Some(Page::Headers) => return Err(Outcome::Print((table.references.headers)())),
        Some(Page::Annotations) => return Err(Outcome::Print((table.references.annotations)())),
        Some(Page::Schema) => return Err(Outcome::Print(schema::schema(table))),
        Some(Page::Completions(shell)) => {
            return Err(Outcome::Print(completions::script(table, shell)));
        }
        Some(Page::Metrics) => return Err(Outcome::Print(render::metrics(table))),
        Some(Page::Check) | None => {}
    }
    let mut values = layers::resolve(table, flags, env);
    defaults(&mut values);
    let core = CoreConfig::read(&mut values);
    let source = read(&mut values);
    if !values.mistakes.is_empty() {
        return Err(Outcome::Mistakes(render::mistakes(table, &values.mistakes)));
    }
    if page == Some(Page::Check) {
        return Err(Outcome::Print(render::check(table, &values)));
    }
    let shown = render::shown(table, &values);
    Ok(Loaded { core, source, warnings: values.warnings, shown })
}

impl<C> Loaded<C> {
    /// Logs every warning, once.
    pub fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!(
                setting = %warning.setting, origin = %warning.origin, "setting passed over: {}", warning.what
            );
        }
    }
}
