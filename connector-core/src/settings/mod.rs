//! The settings: one descriptive table per connector, from which parser, help and reference are
//! made.
//!
//! Five layers, later ones win: the table's defaults, the source's own defaults, an optional file,
//! the environment, the flags. Every value travels as the text somebody wrote, together with where
//! it was written, and is read once, by the form that its row of the table names. All mistakes are
//! collected, so that an operator sees every one of them at the first start.
//!
//! What this module does not do: open a socket, or look into a secret file. What a file contains
//! is never a mistake of the settings; the process waits for it to be right.

mod address;
mod completions;
mod core;
mod duration;
mod flags;
mod layers;
mod load;
mod reading;
mod render;
mod schema;
mod shared;
#[cfg(test)]
mod tests;
mod values;

pub use self::core::{ContentType, CoreConfig, LogEncoding, UnmatchedPolicy};
pub use self::duration::{format_go_duration, parse_go_duration};
pub use self::load::{Loaded, Outcome, Table, arguments, environment, load};
pub use self::render::ShownSetting;
pub use self::values::{Mistake, Values, Warning};

/// One setting, as a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name: the environment variable, the key in the settings file, the long flag.
    pub name: &'static str,
    /// Other names it answers to. All of them are flags (`username-file`); one with an underscore
    /// is an older name (`broker_host`) and so answers in the environment and the file as well.
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
    /// `true` or `1`, `false` or `0`. Of an upstream name anything else is false, with a warning.
    /// On the command line what Go takes: `-x`, `-x=T`, `-x=False`.
    Flag,
    /// A whole number, least and most.
    Number(i64, i64),
    /// A Go duration: `300ms`, `1.5h`, `2h45m`.
    Duration,
    /// A number of bytes, at least one: `1048576`, `512Ki`, `32Mi`, `1Gi`.
    Bytes,
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
    /// Ours: read strictly. Set but empty is a mistake.
    Ours,
}
