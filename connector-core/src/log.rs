//! The log: one short line per event on the standard output, for people or as JSON.
//!
//! The hosts this runs on read the output through a collector that stops reading for good at a
//! line of 64 KiB, and an outage of the log must not become an outage of the connector. So every
//! line is cut well below that, nothing in a line can begin another one, and an output that is
//! gone is not an error. Spans are not rendered: a line carries its own fields.

#[cfg(test)]
pub(crate) mod capture;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::settings::LogEncoding;

/// How long a line may get, its newline included.
const MOST: usize = 8 * 1024;

/// What of a line is not its message and fields: time, level, target, braces, the mark of a cut.
const FRAME: usize = 512;

/// Sets up the log of this process. `kind` is the source's: its crate is one of ours.
///
/// A log that is set up already (by a test) stays.
pub fn init(kind: &str, quiet: &[&'static str], debug: bool, encoding: LogEncoding) {
    let lines = Lines::new(encoding, io::stdout());
    let subscriber =
        tracing_subscriber::registry().with(lines.with_filter(levels(kind, quiet, debug)));
    tracing::subscriber::set_global_default(subscriber).ok();
}

/// An error with its whole chain of sources: `a: b: c`.
///
/// A source whose text the error above it ends with already, as those of many libraries do, is not
/// said twice.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
                last = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

/// Info from everybody; debug from our own crates when asked for. Nothing from those that are
/// `quiet`, unless debug is asked for.
fn levels(kind: &str, quiet: &[&'static str], debug: bool) -> Targets {
    let ours = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let theirs = if debug { LevelFilter::INFO } else { LevelFilter::OFF };
    Targets::new()
        .with_targets(quiet.iter().map(|target| (*target, theirs)))
        .with_default(LevelFilter::INFO)
        .with_target("connector_core", ours)
        .with_target(format!("{kind}_connector"), ours)
}

/// Renders each event as one line and writes it with one call.
struct Lines<W> {
    encoding: LogEncoding,
    output: Mutex<W>,
}

impl<W: io::Write> Lines<W> {
    fn new(encoding: LogEncoding, output: W) -> Self {
        Self { encoding, output: Mutex::new(output) }
    }
}

impl<S: Subscriber, W: io::Write + 'static> Layer<S> for Lines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut parts = Parts::new(self.encoding);
        event.record(&mut parts);
        let line = parts.line(event.metadata().level(), event.metadata().target());
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // A log whose reader is gone has nobody left to tell.
        output.write_all(line.as_bytes()).and_then(|()| output.flush()).ok();
    }
}

/// The message and the fields of one event, escaped, within what a line may hold.
struct Parts {
    encoding: LogEncoding,
    message: String,
    fields: String,
    left: usize,
    cut: bool,
}

impl Parts {
    fn new(encoding: LogEncoding) -> Self {
        Self {
            encoding,
            message: String::new(),
            fields: String::new(),
            left: MOST - FRAME,
            cut: false,
        }
    }

    fn line(self, level: &Level, target: &str) -> String {
        let Self { encoding, message, fields, cut, .. } = self;
        let mut time = String::new();
        // It fails only if the string did.
        SystemTime.format_time(&mut Writer::new(&mut time)).ok();
        match encoding {
            LogEncoding::Console => {
                let mark = if cut { " [cut]" } else { "" };
                format!("{time} {level:>5} {message}{fields}{mark}\n")
            }
            LogEncoding::Json => {
                let level = level.as_str().to_ascii_lowercase();
                let mark = if cut { ",\"cut\":true" } else { "" };
                format!(
                    "{{\"time\":\"{time}\",\"level\":\"{level}\",\"target\":\"{target}\",\"message\":\"{message}\"{fields}{mark}}}\n"
                )
            }
        }
    }

    /// Takes one field. `bare` values (numbers, booleans) need no quotes in JSON.
    fn take(&mut self, field: &Field, value: &str, bare: bool) {
        if field.name() == "message" {
            let mut message = std::mem::take(&mut self.message);
            self.escape(&mut message, value);
            self.message = message;
            return;
        }
        // Name, quotes, colon, comma.
        let overhead = field.name().len() + 6;
        // A number is taken whole or not at all: half of one would be another one.
        if self.left < overhead + if bare { value.len() } else { 1 } {
            self.cut = true;
            return;
        }
        self.left -= overhead;
        let mut text = String::new();
        self.escape(&mut text, value);
        let name = field.name();
        match self.encoding {
            LogEncoding::Json if bare => write!(self.fields, ",\"{name}\":{text}"),
            LogEncoding::Json => write!(self.fields, ",\"{name}\":\"{text}\""),
            LogEncoding::Console if text.is_empty() || text.contains([' ', '=', '"']) => {
                write!(self.fields, " {name}=\"{text}\"")
            }
            LogEncoding::Console => write!(self.fields, " {name}={text}"),
        }
        .expect("a string takes everything");
    }

    /// Appends `value` so that it stays within its line, as far as there is room.
    fn escape(&mut self, text: &mut String, value: &str) {
        for char in value.chars() {
            let before = text.len();
            match char {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                // The line and paragraph separators end a line for some readers too.
                _ if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                    write!(text, "\\u{:04x}", u32::from(char)).expect("a string takes everything");
                }
                '"' | '\\' if self.encoding == LogEncoding::Json => text.extend(['\\', char]),
                _ => text.push(char),
            }
            let taken = text.len() - before;
            if taken > self.left {
                text.truncate(before);
                self.left = 0;
                self.cut = true;
                return;
            }
            self.left -= taken;
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value, false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, if value { "true" } else { "false" }, true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, &value.to_string(), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, &value.to_string(), true);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity.
        self.take(field, &value.to_string(), value.is_finite());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.take(field, &Chain(value).to_string(), false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, &format!("{value:?}"), false);
    }
}
