//! The command line of the binary, and what it prints.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dev_gateway::{Call, Config, Credentials};
use thiserror::Error;

const HELP: &str = "\
dev-gateway: a local stand-in for the OpenFaaS gateway

Serves the functions of a stack.yml: listing, invoking, queueing, health.
A function runs by its annotation dev.exec (a command, body on stdin) or
dev.upstream (an HTTP server); without either it echoes.

Usage: dev-gateway [options]

  --listen ADDRESS          where to listen               [127.0.0.1:8080]
  --stack FILE              functions; read again when it changes
                                        [stack.yml, if there is one]
  --ledger FILE             append a record of every call, as JSON lines
  --ledger-bodies BYTES     write payloads up to this size to it       [0]
  --user USER               ask for these credentials on /system/
  --password PASSWORD
  --secret-dir DIR          the same, from the files basic-auth-user and
                            basic-auth-password
  --no-async                no queue: /async-function/ is 404
  --upstream-timeout TIME   give calls up after this long, e.g. 500ms, 60s,
                            2m; 0 never                            [60s]
  --quiet                   no line for each call
  -h, --help                this text
  -V, --version

Faults are scripted over HTTP: see /_dev/ in the README.
";

/// What the command line asks for.
pub(crate) enum Request {
    Serve(Box<Options>),
    Print(String),
}

pub(crate) struct Options {
    pub(crate) config: Config,
}

#[derive(Debug, Error)]
pub(crate) enum UsageError {
    #[error("unknown argument {0:?}")]
    Unknown(String),
    #[error("{0} needs a value")]
    Missing(&'static str),
    #[error("{0} takes no value")]
    Superfluous(&'static str),
    #[error("{flag} is {value:?}: {reason}")]
    Invalid { flag: &'static str, value: String, reason: String },
    #[error("--user and --password go together")]
    HalfCredentials,
    #[error("--secret-dir cannot be combined with --user and --password")]
    TwoCredentials,
}

/// Flags with a value, and those without.
const VALUED: [&str; 8] = [
    "--listen",
    "--stack",
    "--ledger",
    "--ledger-bodies",
    "--user",
    "--password",
    "--secret-dir",
    "--upstream-timeout",
];
const BARE: [&str; 4] = ["--no-async", "--quiet", "--help", "--version"];

pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Request, UsageError> {
    let mut config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
        // For `/_dev/calls`; the file has them all.
        remember_calls: 10_000,
        ..Config::default()
    };
    let (mut user, mut password, mut secret_dir, mut quiet) = (None, None, None, false);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy().into_owned();
        let (given, attached) = match argument.split_once('=') {
            Some((given, value)) => (given, Some(OsString::from(value))),
            None => (argument.as_str(), None),
        };
        let given = match given {
            "-h" => "--help",
            "-V" => "--version",
            given => given,
        };
        if let Some(flag) = BARE.into_iter().find(|flag| *flag == given) {
            if attached.is_some() {
                return Err(UsageError::Superfluous(flag));
            }
            match flag {
                "--no-async" => config.asynchronous = false,
                "--quiet" => quiet = true,
                "--help" => return Ok(Request::Print(HELP.to_owned())),
                _ => {
                    return Ok(Request::Print(
                        concat!("dev-gateway ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
                    ));
                }
            }
            continue;
        }
        let Some(flag) = VALUED.into_iter().find(|flag| *flag == given) else {
            return Err(UsageError::Unknown(argument));
        };
        let value = attached.or_else(|| arguments.next()).ok_or(UsageError::Missing(flag))?;
        let text = value.to_string_lossy().into_owned();
        match flag {
            "--listen" => {
                config.listen = text.parse().map_err(|error| invalid(flag, &text, error))?
            }
            "--stack" => config.stack = Some(PathBuf::from(value)),
            "--ledger" => config.ledger = Some(PathBuf::from(value)),
            "--ledger-bodies" => {
                config.ledger_bodies = text.parse().map_err(|error| invalid(flag, &text, error))?;
            }
            "--user" => user = Some(text),
            "--password" => password = Some(text),
            "--secret-dir" => secret_dir = Some(PathBuf::from(value)),
            _ => {
                config.upstream_timeout =
                    duration(&text).map_err(|reason| invalid(flag, &text, reason))?
            }
        }
    }
    config.credentials = match (user, password, secret_dir) {
        (None, None, None) => None,
        (Some(user), Some(password), None) => Some(Credentials { user, password }),
        (None, None, Some(directory)) => Some(read_secrets(&directory)?),
        (_, _, None) => return Err(UsageError::HalfCredentials),
        (_, _, Some(_)) => return Err(UsageError::TwoCredentials),
    };
    if config.stack.is_none() && Path::new("stack.yml").exists() {
        config.stack = Some(PathBuf::from("stack.yml"));
    }
    if let Some(stack) = &config.stack
        && let Err(error) = std::fs::metadata(stack)
    {
        return Err(invalid("--stack", &stack.to_string_lossy(), error));
    }
    config.remember_bodies = config.remember_bodies.max(config.ledger_bodies);
    if !quiet {
        config.on_call = Some(Arc::new(print_call));
    }
    Ok(Request::Serve(Box::new(Options { config })))
}

fn read_secrets(directory: &Path) -> Result<Credentials, UsageError> {
    let read = |name| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(|error| {
            invalid("--secret-dir", &directory.to_string_lossy(), format!("{name}: {error}"))
        })
    };
    Ok(Credentials { user: read("basic-auth-user")?, password: read("basic-auth-password")? })
}

/// A whole number with a unit (`ms`, `s`, `m`, `h`); `0` is no duration at all.
fn duration(text: &str) -> Result<Option<Duration>, String> {
    const WANTED: &str = "wanted is a number with a unit, such as 500ms, 60s or 2m, or 0";
    if text == "0" {
        return Ok(None);
    }
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| WANTED.to_owned())?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(WANTED.to_owned()),
    };
    let millis = number.checked_mul(unit).ok_or_else(|| WANTED.to_owned())?;
    Ok(Some(Duration::from_millis(millis)).filter(|duration| !duration.is_zero()))
}

fn invalid(flag: &'static str, value: &str, reason: impl Display) -> UsageError {
    UsageError::Invalid { flag, value: value.to_owned(), reason: reason.to_string() }
}

fn print_call(call: &Call, first_line: &str) {
    let Some(end) = call.ended else { return };
    let time = i64::try_from(end.at.wall_ns / 1_000_000)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.map(|time| format!("{time:.3}")).unwrap_or_default();
    let topic = call.topic.as_deref().unwrap_or("-");
    let status = match end.cause {
        Some(cause) => format!("{} {cause:?}", end.status),
        None => end.status.to_string(),
    };
    let milliseconds = call.duration().unwrap_or_default().as_secs_f64() * 1_000.0;
    const SHOWN: usize = 200;
    let first_line: String =
        first_line.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    // A closed stdout is no reason to stop serving.
    _ = writeln!(
        io::stdout().lock(),
        "{time} {topic} => {} [{status}] {milliseconds:.1} ms {first_line}",
        call.function
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: &[&str]) -> String {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(_) => panic!("{arguments:?} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn mistakes_name_their_flag() {
        assert_eq!(error(&["--lisen", "x"]), r#"unknown argument "--lisen""#);
        assert_eq!(error(&["--listen"]), "--listen needs a value");
        assert!(error(&["--listen", "8080"]).starts_with(r#"--listen is "8080": "#));
        assert!(
            error(&["--upstream-timeout=60"])
                .starts_with(r#"--upstream-timeout is "60": wanted is"#)
        );
        assert!(error(&["--stack", "/nowhere/stack.yml"]).starts_with("--stack is"));
        assert!(error(&["--secret-dir", "/nowhere"]).contains("basic-auth-user"));
        assert_eq!(error(&["--user", "admin"]), "--user and --password go together");
        assert_eq!(error(&["--quiet=1"]), "--quiet takes no value");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(duration("2m"), Ok(Some(Duration::from_secs(120))));
        assert_eq!(duration("0"), Ok(None));
        assert!(duration("s").is_err());
    }
}
