use std::path::PathBuf;
use std::time::Duration;

use super::core::CoreConfig;
use super::load::load_table;
use super::*;
use crate::dead_letter::Address;

const fn row(name: &'static str, form: Form, origin: Origin) -> Setting {
    Setting { name, aliases: &[], default: None, form, origin, help: "Something." }
}

/// Something like the Kafka connector's.
const OWN: &[Setting] = &[
    Setting {
        aliases: &["broker_host"],
        default: Some("kafka:9092"),
        ..row("broker_hosts", Form::List, Origin::Upstream)
    },
    Setting { default: Some("true"), ..row("log_sessions", Form::Flag, Origin::Upstream) },
    row("tls", Form::Flag, Origin::Upstream),
    row("password_file", Form::SecretFile, Origin::Upstream),
    row("password", Form::Secret, Origin::Upstream),
    Setting {
        default: Some("1048576"),
        ..row("max_bytes", Form::Number(1, i64::MAX), Origin::Upstream)
    },
    Setting { default: Some("1s"), ..row("commit_interval", Form::Duration, Origin::Ours) },
    Setting {
        default: Some("partition"),
        ..row("ordering", Form::Choice(&["partition", "key", "none"]), Origin::Ours)
    },
];

const DEFAULTS: &[(&str, &str)] = &[("upstream_timeout", "2m"), ("content_type", "text/plain")];

fn table() -> Table {
    Table::new("kafka", Some("topic"), DEFAULTS, OWN)
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Loads, and hands the values on beside the shared settings.
fn load_with(args: &[&str], env: &[(&str, &str)]) -> Result<(CoreConfig, Values), Outcome> {
    let args = args.iter().map(|&arg| arg.to_owned());
    let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    load_table(&table(), args, env, |values| Values {
        scheme: values.scheme,
        entries: values.entries.clone(),
        mistakes: Vec::new(),
        warnings: values.warnings.clone(),
    })
    .map(|loaded| (loaded.core, loaded.source))
}

/// The mistakes, one a line, without the headline.
fn mistakes(args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let outcome = load_with(args, env).unwrap_err();
    assert_eq!(outcome.code(), 64);
    outcome.text().lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

fn warnings(values: &Values) -> Vec<String> {
    values.warnings().iter().map(ToString::to_string).collect()
}

/// A settings file of one test, removed at its end.
struct File(PathBuf);

impl File {
    fn new(content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("settings-{}.toml", uuid::Uuid::new_v4()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[test]
fn nothing_set_is_well() {
    let (core, values) = load_with(&[], &[]).unwrap();
    assert_eq!(core.gateway_url, "http://gateway:8080");
    assert_eq!(core.upstream_timeout, Some(Duration::from_secs(120)), "the source's default");
    assert_eq!(core.content_type.configured, None);
    assert_eq!(core.content_type.fallback.as_deref(), Some("text/plain"));
    assert_eq!(core.drain_timeout, Duration::from_secs(25));
    assert_eq!(core.buffer_bytes, 32 << 20);
    assert_eq!(core.dead_letter, Address::Drop);
    assert_eq!(core.retry.attempts(), Some(10));
    assert_eq!(
        core.retry.codes().iter().copied().collect::<Vec<_>>(),
        [408, 425, 429, 500, 502, 503, 504]
    );
    assert_eq!(core.admin_port, 8081);
    assert!(core.topics.is_empty() && core.namespaces.is_empty());
    assert_eq!(warnings(&values), [""; 0]);
    assert!(!values.is_set("upstream_timeout"));
}

#[test]
fn later_layers_win() {
    let file = File::new(
        "topics = ['a', 'b']\nmax_inflight = 3\nfunction_concurrency = 4\nlane_window = 5",
    );
    let env =
        [("settings_file", file.path()), ("function_concurrency", "40"), ("lane_window", "50")];
    let (core, values) = load_with(&["-lane-window", "500"], &env).unwrap();
    assert_eq!(core.topics, ["a", "b"]);
    assert_eq!((core.max_inflight, core.function_concurrency, core.lane_window), (3, 40, 500));
    assert!(values.is_set("topics") && values.is_set("lane_window"));
}

#[test]
fn every_way_to_write_a_flag_is_read() {
    for args in [
        &["-password-file", "/p"][..],
        &["--password-file", "/p"],
        &["-password-file=/p"],
        &["--password_file=/p"],
        &["-password_file=/other", "-password-file=/p"],
    ] {
        let (_, mut values) = load_with(args, &[]).unwrap();
        assert_eq!(values.secret_file("password_file").unwrap().path().to_str(), Some("/p"));
    }
    for (args, expected) in [
        (&["-tls"][..], true),
        (&["--tls=1"], true),
        (&["-tls=True"], true),
        (&["-tls=false"], false),
        (&["-tls=F"], false),
    ] {
        let (_, mut values) = load_with(args, &[]).unwrap();
        assert_eq!(values.flag("tls"), expected, "{args:?}");
        assert_eq!(warnings(&values), [""; 0]);
    }
    // As in Go, the value of a flag may look like a flag.
    let (core, _) = load_with(&["-gateway_url=http://a", "-topics", "-x"], &[]).unwrap();
    assert_eq!(core.topics, ["-x"]);
}

#[test]
fn a_boolean_flag_takes_no_next_word_and_what_follows_is_read_still() {
    let (core, mut values) =
        load_with(&["-tls", "hunter2", "-topics", "a", "--", "b"], &[]).unwrap();
    assert!(values.flag("tls"));
    assert_eq!(core.topics, ["a"]);
    let warnings = warnings(&values);
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("argument 2 (flags): belongs to no flag"), "{warnings:?}");
    assert!(!warnings.concat().contains("hunter2"));
}

#[test]
fn an_older_name_answers_and_the_newer_one_wins() {
    let (_, mut values) = load_with(&[], &[("broker_host", "old:9092")]).unwrap();
    assert_eq!(values.list("broker_hosts"), ["old:9092"]);
    let env = [("broker_host", "old:9092"), ("broker_hosts", "a:1, b:2")];
    let (_, mut values) = load_with(&[], &env).unwrap();
    assert_eq!(values.list("broker_hosts"), ["a:1", "b:2"]);
    let (_, mut values) = load_with(&["-broker-host=flag:1"], &env).unwrap();
    assert_eq!(values.list("broker_hosts"), ["flag:1"]);
}

#[test]
fn upstream_names_are_read_as_upstream_reads_them() {
    let env = [
        ("tls", "True"),
        ("log_sessions", "yes"),
        ("upstream_timeout", "30"),
        ("rebuild_interval", "-3s"),
        ("max_bytes", "many"),
        ("log_encoding", "xml"),
        ("broker_hosts", ""),
        ("topics", ""),
        ("TOPICS", "upper"),
        ("admin_ports", "unknown names are not ours"),
    ];
    let (core, mut values) = load_with(&[], &env).unwrap();
    assert!(!values.flag("tls"));
    assert!(!values.flag("log_sessions"), "not the default: it was set to something else");
    assert_eq!(core.upstream_timeout, Some(Duration::from_secs(120)));
    assert_eq!(core.rebuild_interval, Duration::from_secs(30));
    assert_eq!(values.number("max_bytes"), 1_048_576);
    assert_eq!(core.log_encoding, LogEncoding::Console);
    assert_eq!(values.list("broker_hosts"), ["kafka:9092"]);
    assert!(!values.is_set("broker_hosts") && core.topics.is_empty());
    let warnings = warnings(&values);
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    assert!(warnings.contains(
        &"upstream_timeout (environment variable upstream_timeout): `30` has no unit; 2m is used; \
          takes a duration such as 300ms, 30s or 2h45m"
            .to_owned()
    ));
}

#[test]
fn our_own_names_are_strict_and_every_mistake_is_told_at_once() {
    let file = File::new("ordering = 'keys'\n[nested]\nx = 1\n");
    let found = mistakes(
        &["-admin_port", "65536", "-topicz=a", "-tls=yes"],
        &[
            ("settings_file", file.path()),
            ("commit_interval", "30"),
            ("max_inflight", ""),
            ("buffer_bytes", "32M"),
            ("dead_letter", "queue:q"),
            ("retry_http_codes", "500,abc"),
            ("gateway_url", "gateway:8080"),
        ],
    );
    let path = file.path();
    let mut expected = [
        "`-topicz` (flags): there is no such flag; the nearest is -topics".to_owned(),
        format!("`nested` (file {path}): there is no such setting"),
        "tls (flag -tls): `yes` is neither true nor false; takes true or false".to_owned(),
        "commit_interval (environment variable commit_interval): `30` has no unit; takes a duration such as 300ms, 30s or 2h45m".to_owned(),
        format!("ordering (file {path}): `keys` is none of its words; takes one of partition, key, none"),
        "max_inflight (environment variable max_inflight): is set, but empty; takes a whole number from 1 to 100000".to_owned(),
        "buffer_bytes (environment variable buffer_bytes): `32M` is no number of bytes; takes a number of bytes such as 1048576, 512Ki or 32Mi".to_owned(),
        "admin_port (flag -admin_port): `65536` is too large; takes a whole number from 0 to 65535".to_owned(),
        "gateway_url (environment variable gateway_url): does not begin with http:// or https://; takes http:// or https:// with a host, such as http://gateway:8080".to_owned(),
        "dead_letter (environment variable dead_letter): `queue:q` is of no kind that this connector can store letters in; takes drop, hold, function:NAME, topic:NAME".to_owned(),
        "retry_http_codes (environment variable retry_http_codes): `abc` is no status of a failed call; takes statuses from 400 to 599, separated by commas".to_owned(),
    ];
    let mut found = found;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn one_mistake_is_told_once() {
    for name in
        ["rebuild_timeout", "max_retry_wait", "initial_retry_wait", "dead_letter", "backoff"]
    {
        assert_eq!(mistakes(&[], &[(name, "")]).len(), 1, "{name}");
    }
    assert_eq!(mistakes(&["-tls=yes"], &[]).len(), 1);
}

#[test]
fn a_settings_file_that_cannot_be_used_is_a_mistake_and_its_lines_are_not_shown() {
    let missing = mistakes(&["-settings-file=/nowhere/x.toml"], &[]);
    assert_eq!(missing.len(), 1);
    assert!(
        missing[0].starts_with("settings_file (flag -settings-file): cannot read /nowhere/x.toml")
    );

    let broken = File::new("topics = 'a'\npassword = \"hunter2\n");
    let found = mistakes(&[], &[("settings_file", broken.path())]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("line 2"), "{found:?}");
    assert!(!found[0].contains("hunter2"), "{found:?}");
}

#[test]
fn types_are_never_guessed() {
    let secrets = ["12345", "true", "[1,2]", "0x10", " x ", "\"q\"", "1.50", "{a=1}", "nan"];
    for secret in secrets {
        let (_, mut values) = load_with(&[], &[("password", secret)]).unwrap();
        assert_eq!(values.secret("password").unwrap().expose(), secret);
    }
    let file = File::new("tls = true\nmax_bytes = 5\npassword = '007'\ntopics = ['a', 1]");
    let (core, mut values) = load_with(&["-settings_file", file.path()], &[]).unwrap();
    assert!(values.flag("tls"));
    assert_eq!(values.number("max_bytes"), 5);
    assert_eq!(values.secret("password").unwrap().expose(), "007");
    assert_eq!(core.topics, ["a", "1"]);
}

#[test]
fn no_output_shows_a_secret() {
    let env = [("password", "hunter2"), ("upstream_timeout", "30")];
    let check = load_with(&["-check"], &env).unwrap_err();
    assert_eq!(check.code(), 0);
    assert!(check.text().contains("(set)  [environment variable password]"), "{}", check.text());
    let wrong = load_with(&["-passwort=hunter2", "-admin-port=x"], &env).unwrap_err();
    let (_, values) = load_with(&[], &env).unwrap();
    for text in [check.text(), wrong.text(), &format!("{values:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn gateway_addresses_are_checked_before_anything_runs() {
    for (url, kept) in [
        ("http://gateway:8080", "http://gateway:8080"),
        ("http://gateway:8080///", "http://gateway:8080"),
        ("https://faas.example.com/base/", "https://faas.example.com/base"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        (" http://10.62.0.1:8080\n", "http://10.62.0.1:8080"),
    ] {
        assert_eq!(load_with(&[], &[("gateway_url", url)]).unwrap().0.gateway_url, kept);
    }
    for url in [
        "gateway",
        "gateway:8080",
        "ftp://gateway",
        "http://",
        "http:///path",
        "http://gateway:port",
        "http://gateway:99999",
        "http://gateway:8080?x=y",
        "http://gateway:8080/#x",
        "http://user:hunter2@gateway:8080",
        "http://gate way",
    ] {
        let found = mistakes(&[], &[("gateway_url", url)]);
        assert_eq!(found.len(), 1, "{url}: {found:?}");
        assert!(!found[0].contains("hunter2"));
    }
}

#[test]
fn content_types_tell_the_users_from_the_sources() {
    let read = |value: &str| load_with(&[], &[("content_type", value)]).unwrap();
    let fallback = Some("text/plain".to_owned());
    let (core, _) = read("application/json");
    assert_eq!(core.content_type.configured.as_deref(), Some("application/json"));
    assert_eq!(core.content_type.fallback, fallback);
    for unset in ["message", "", "a\nb"] {
        let (core, values) = read(unset);
        let expected = ContentType { configured: None, fallback: fallback.clone() };
        assert_eq!(core.content_type, expected, "{unset:?}");
        assert_eq!(values.warnings().len(), usize::from(unset == "a\nb"));
    }
}

#[test]
fn drain_follows_the_grace_period_unless_it_is_set() {
    for (env, seconds, warned) in [
        (&[("grace_period", "3s")][..], 1, 0),
        (&[("grace_period", "2m")], 115, 0),
        (&[("drain_timeout", "7s")], 7, 0),
        (&[("drain_timeout", "30s")], 30, 1),
    ] {
        let (core, values) = load_with(&[], env).unwrap();
        assert_eq!(core.drain_timeout, Duration::from_secs(seconds), "{env:?}");
        assert_eq!(values.warnings().len(), warned, "{env:?}");
    }
}

#[test]
fn retries_keep_their_laws() {
    let env = [("max_retry_attempts", "-1"), ("max_retry_wait", "1s"), ("backoff", "equal")];
    let (core, _) = load_with(&[], &env).unwrap_or_else(|outcome| panic!("{}", outcome.text()));
    assert_eq!(core.retry.attempts(), None);
    let (core, _) = load_with(&[], &[("max_retry_attempts", "0")]).unwrap();
    assert_eq!(core.retry.attempts(), Some(0));
    for (name, value) in [
        ("initial_retry_wait", "3m"),
        ("initial_retry_wait", "0s"),
        ("max_retry_wait", "999ms"),
        ("max_retry_wait", "0"),
    ] {
        let wrong = mistakes(&[], &[(name, value)]);
        assert!(wrong.len() == 1 && wrong[0].starts_with(name), "{wrong:?}");
    }
}

#[test]
fn a_licence_is_accepted_and_ignored() {
    let (_, values) = load_with(&["-license-file=/run/secrets/license"], &[]).unwrap();
    let expected = "license_file (flag -license-file): is ignored: no licence is needed";
    assert_eq!(warnings(&values), [expected]);
}

#[test]
fn too_short_an_interval_is_made_longer() {
    let (core, values) = load_with(&[], &[("rebuild_interval", "1ms")]).unwrap();
    assert_eq!(core.rebuild_interval, Duration::from_millis(100));
    assert_eq!(values.warnings().len(), 1);
}

#[test]
fn a_sources_own_row_replaces_the_shared_one() {
    const GATEWAY: &[Setting] = &[Setting {
        aliases: &["gateway"],
        default: Some("http://gateway:8080"),
        ..row("gateway_url", Form::Text, Origin::Upstream)
    }];
    let table = Table::new("mqtt", None, &[], GATEWAY);
    let named = table.settings().iter().filter(|setting| setting.name == "gateway_url");
    assert_eq!(named.count(), 1);
    let args = strings(["-gateway", "http://other:8080"]);
    let loaded = load_table(&table, args, [], |_| ()).unwrap();
    assert_eq!(loaded.core.gateway_url, "http://other:8080");
    // What is a flag only is not read from the environment, where `gateway` may mean anything.
    let env = [("gateway".to_owned(), "http://other:8080".to_owned())];
    let loaded = load_table(&table, [], env, |_| ()).unwrap();
    assert_eq!(loaded.core.gateway_url, "http://gateway:8080");
}

#[test]
fn help_names_every_setting_within_its_columns() {
    let help = load_with(&["-settings_file=/nowhere", "--help"], &[("admin_port", "x")]);
    let help = help.unwrap_err();
    assert_eq!(help.code(), 0);
    for line in help.text().lines() {
        assert!(line.chars().count() <= 100 && line == line.trim_end(), "{line:?}");
    }
    for setting in table().settings() {
        assert!(help.text().contains(&format!("\n  {}\n", setting.name)), "{}", setting.name);
    }
    assert!(help.text().contains("Flags: -broker_hosts, -broker-hosts, -broker_host"));
    assert!(help.text().contains("Takes a duration such as 300ms, 30s or 2h45m; default `2m`"));
    assert!(help.text().contains("Takes drop, hold, function:NAME, topic:NAME; default `drop`"));
    assert_eq!(load_with(&["-h"], &[]).unwrap_err(), help);
}

#[test]
fn the_reference_is_a_table_with_a_row_for_each_setting() {
    let reference = load_with(&["-config-reference"], &[]).unwrap_err();
    let rows: Vec<&str> = reference.text().lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), table().settings().len());
    assert!(rows.iter().all(|row| row.replace("\\|", "").matches('|').count() == 5));
    assert!(
        rows[0].starts_with("| `broker_hosts`<br>`broker_host` | `kafka:9092` |"),
        "{}",
        rows[0]
    );
}

#[test]
fn check_shows_what_holds_and_where_it_was_written() {
    let env = [("upstream_timeout", "30"), ("topics", "a,b")];
    let check = load_with(&["-check", "-admin-port=0"], &env).unwrap_err();
    let shown = |name: &str| {
        let line = check.text().lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap().split_once(" = ").unwrap().1.to_owned()
    };
    assert_eq!(shown("topics"), "a,b  [environment variable topics]");
    assert_eq!(shown("admin_port"), "0  [flag -admin-port]");
    assert_eq!(shown("upstream_timeout"), "2m  [default of this connector]");
    assert_eq!(shown("gateway_url"), "http://gateway:8080  [default]");
    assert_eq!(shown("drain_timeout"), "(unset)");
    assert!(check.text().contains("Passed over:\n  upstream_timeout"));
    // With a mistake there is nothing effective to show.
    assert_eq!(load_with(&["-check", "-admin-port=x"], &[]).unwrap_err().code(), 64);
}

#[test]
fn version_names_the_program() {
    let version = load_with(&["-version"], &[]).unwrap_err();
    assert!(version.text().starts_with("kafka-connector "));
}

#[test]
#[should_panic(expected = "two settings answer to this flag")]
fn two_settings_cannot_share_a_flag() {
    const OTHER: &[Setting] =
        &[Setting { aliases: &["admin-port"], ..row("port", Form::Text, Origin::Ours) }];
    drop(Table::new("kafka", None, &[], OTHER));
}

#[test]
fn a_source_default_for_no_setting_is_found_by_any_load() {
    let table = Table::new("kafka", None, &[("upstream_timeot", "2m")], OWN);
    let outcome = load_table(&table, [], [], |_| ()).unwrap_err();
    assert!(outcome.text().contains("`upstream_timeot`"), "{}", outcome.text());
}

#[test]
fn completions_are_for_a_shell_that_is_known() {
    assert_eq!(load_with(&["-completions", "fish"], &[]).unwrap_err().code(), 0);
    for args in [&["-completions"][..], &["--completions=tcsh"]] {
        let told = mistakes(args, &[]);
        assert!(told[0].contains("one of bash, zsh, fish"), "{told:?}");
    }
}
