//! Settings, wherever they are given.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use connector_core::Source;
use connector_core::retry::parse_codes;
use connector_core::settings::{
    self, Form, Loaded, Outcome, ShownSetting, Table, format_go_duration, parse_go_duration,
};
use cron_connector::Cron;
use kafka_connector::Kafka;
use mqtt_connector::Mqtt;
use nats_connector::Nats;
use sqs_connector::Sqs;

use crate::halves;

/// The setting that names the settings file.
const FILE: &str = "settings_file";

/// A duration as Go writes them, and a list of statuses, the other text with a grammar of its own.
pub(crate) fn durations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(codes) = parse_codes(text) {
        let written: Vec<_> = codes.iter().map(u16::to_string).collect();
        assert_eq!(parse_codes(&written.join(",")), Ok(codes));
    }
    let Ok(duration) = parse_go_duration(text) else { return };
    let written = format_go_duration(duration);
    assert_eq!(parse_go_duration(&written), Ok(duration), "{text} is written as {written}");
}

/// A command line, one argument on each line; behind an empty line the environment, as `name=value`.
pub(crate) fn flags(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Whoever gives the arguments may name any file; the fuzzer shall not read them all.
    if text.contains("settings") {
        return;
    }
    let (arguments, environment) = text.split_once("\n\n").unwrap_or((text, ""));
    let arguments: Vec<_> = arguments.lines().map(str::to_owned).collect();
    let pairs = environment.lines().filter_map(|line| line.split_once('='));
    let environment: Vec<_> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    checked::<Kafka>(&arguments, &environment);
    checked::<Mqtt>(&arguments, &environment);
}

/// `--check` finds what a start would.
fn checked<S: Source>(arguments: &[String], environment: &[(String, String)]) {
    let load = |first: &[&str]| {
        let first = first.iter().map(|&flag| flag.to_owned());
        settings::load::<S>(first.chain(arguments.iter().cloned()), environment.to_vec())
    };
    let checked = load(&["--check"]).err();
    match load(&[]) {
        Ok(_) => assert!(matches!(checked, Some(Outcome::Print(_))), "{checked:?}"),
        // Another page was asked for, beside which mistakes do not count.
        Err(Outcome::Print(_)) => assert!(checked.is_some()),
        Err(mistakes) => assert_eq!(checked, Some(mistakes)),
    }
}

/// Settings mean the same in the environment, as flags and in a file. Input: the kind of source, and
/// below it settings as lines `name=value`.
pub(crate) fn three_ways(data: &[u8]) {
    let Some((kind, lines)) = halves(data) else { return };
    match kind {
        "kafka" => everywhere::<Kafka>(lines),
        "mqtt" => everywhere::<Mqtt>(lines),
        "nats" => everywhere::<Nats>(lines),
        "sqs" => everywhere::<Sqs>(lines),
        "cron" => everywhere::<Cron>(lines),
        _ => {}
    }
}

fn everywhere<S: Source>(lines: &str) {
    let table = Table::of::<S>();
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let given: BTreeMap<_, _> = pairs.filter(|(name, text)| is_alike(&table, name, text)).collect();

    let environment = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let environment = settings::load::<S>([], environment);
    let flags = given.iter().map(|(name, text)| format!("-{name}={text}"));
    let flags = settings::load::<S>(flags, []);
    let mut file = String::new();
    for (name, text) in &given {
        writeln!(file, "{name} = {}", toml(text)).expect("a string takes everything");
    }
    let file = from_file::<S>(&file);

    let shown = [environment, flags, file].map(shown);
    assert_eq!(shown[0], shown[1], "the environment and flags differ");
    assert_eq!(shown[0], shown[2], "the environment and a file differ");
}

/// Whether it is a setting, with a value that is read alike everywhere: a boolean flag is Go's, and
/// other words of Go's are none in the environment.
fn is_alike(table: &Table, name: &str, text: &str) -> bool {
    let setting = table.settings().iter().find(|setting| setting.name == name && name != FILE);
    setting.is_some_and(|it| it.form != Form::Flag || ["true", "false"].contains(&text))
}

/// The values that hold. `None`: there are mistakes.
fn shown<C>(loaded: Result<Loaded<C>, Outcome>) -> Option<Vec<(&'static str, String, bool)>> {
    let values = |ShownSetting { name, value, chosen, .. }| (name, value, chosen);
    Some(loaded.ok()?.shown.into_iter().filter(|it| it.name != FILE).map(values).collect())
}

/// A text as TOML has it.
fn toml(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A settings file. Whatever is wrong with it, a secret in it is not told.
pub(crate) fn file(data: &[u8]) {
    const SECRET: &str = "correct-horse-battery";
    let Ok(text) = std::str::from_utf8(data) else { return };
    let table = Table::of::<Mqtt>();
    let secret = table.settings().iter().find(|setting| setting.form == Form::Secret);
    let secret = secret.expect("MQTT has a password");
    let told = match from_file::<Mqtt>(&format!("{text}\n{} = \"{SECRET}\"\n", secret.name)) {
        Ok(loaded) => format!("{:?} {:?}", loaded.shown, loaded.source),
        Err(outcome) => outcome.text().to_owned(),
    };
    assert!(!told.contains(SECRET) || text.contains(SECRET), "{told}");
}

fn from_file<S: Source>(text: &str) -> Result<Loaded<S::Config>, Outcome> {
    let path = scratch();
    std::fs::write(&path, text).expect("the folder for scratch files can be written");
    let loaded = settings::load::<S>([format!("-{FILE}={}", path.display())], []);
    std::fs::remove_file(&path).expect("it was written just now");
    loaded
}

/// A file of this thread alone, in memory where there is a place for that.
fn scratch() -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let digits: String = thread.chars().filter(char::is_ascii_digit).collect();
    let folder = Some(PathBuf::from("/dev/shm")).filter(|it| it.is_dir());
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    folder.join(format!("tributary-fuzz-{}-{digits}.toml", std::process::id()))
}
