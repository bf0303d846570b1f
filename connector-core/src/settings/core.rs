//! The settings that all connectors share, validated.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;

use super::Values;
use super::duration::format_go_duration;
use crate::dead_letter::Address;
use crate::retry::{Backoff, RetryPolicy};
use crate::secret::Secret;

/// A gateway is not asked more often than this.
const LEAST_REBUILD_INTERVAL: Duration = Duration::from_millis(100);

/// The setting that takes a dead-letter address.
pub(super) const DEAD_LETTER: &str = "dead_letter";

/// What remains of the host's patience for everything but the calls that still run.
const DRAIN_RESERVE: Duration = Duration::from_secs(5);

const LEAST_DRAIN: Duration = Duration::from_secs(1);

/// The settings that all connectors share, validated.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// The gateway: `http://` or `https://` with a host, without a slash at its end.
    pub gateway_url: String,
    /// What to consume. Empty: what the annotations ask for.
    pub topics: Vec<String>,
    /// What separates topics within an annotation. Never empty.
    pub topic_delimiter: String,
    /// Whether the gateway's credentials are read from [`secret_mount_path`](Self::secret_mount_path).
    pub basic_auth: bool,
    /// The folder of `basic-auth-user` and `basic-auth-password`.
    pub secret_mount_path: PathBuf,
    /// A user name for the gateway that stands in the settings themselves. The source sets it.
    pub gateway_user: Option<String>,
    /// A password for the gateway that stands in the settings themselves; it wins over the files.
    pub gateway_password: Option<Secret>,
    /// Whether functions are called through the gateway's queue.
    pub asynchronous: bool,
    /// The limit of one call as a whole. `None`: there is none.
    pub upstream_timeout: Option<Duration>,
    /// How often functions are listed, at least 100 ms.
    pub rebuild_interval: Duration,
    /// The limit of one request of a listing.
    pub rebuild_timeout: Duration,
    /// The `Content-Type` of calls.
    pub content_type: ContentType,
    /// One log line per call.
    pub print_response: bool,
    /// Whether answers are logged.
    pub print_response_body: bool,
    /// Whether payloads are logged.
    pub print_request_body: bool,
    /// Whether each listing is logged.
    pub print_sync: bool,
    /// Whether our own crates log at debug level.
    pub debug: bool,
    /// How a line of the log is written.
    pub log_encoding: LogEncoding,
    /// The namespaces whose functions are called. Empty: all.
    pub namespaces: Vec<String>,
    /// What becomes of events that nobody is mapped to.
    pub unmatched: UnmatchedPolicy,
    /// How long a function must be absent before its mappings end.
    pub unmap_after: Duration,
    /// How many calls run at a time, at least 1.
    pub max_inflight: usize,
    /// How many calls of one function run at a time, at least 1.
    pub function_concurrency: usize,
    /// How many events of a lane are received and unfinished, at least 1.
    pub lane_window: usize,
    /// How many bytes of events are held, at least 1.
    pub buffer_bytes: usize,
    /// Where dead letters go, where an annotation does not say.
    pub dead_letter: Address,
    /// After how many dead letters in a row for one function its topic is held. 0: never.
    pub dead_letter_limit: u32,
    /// How failed calls are repeated, where annotations do not say.
    pub retry: RetryPolicy,
    /// How long the host waits before it kills the process.
    pub grace_period: Duration,
    /// How long running calls have when the process is asked to stop.
    pub drain_timeout: Duration,
    /// The port of the admin server. 0: any free one.
    pub admin_port: u16,
    /// The admin addresses of other connectors, `host:port`, that the status page shows as well.
    pub fleet: Vec<Authority>,
}

/// The `Content-Type` of calls: what is configured, else the message's own, else the fallback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentType {
    /// What the user set; it wins over the message's own.
    pub configured: Option<String>,
    /// The source's default, for messages that have none of their own.
    pub fallback: Option<String>,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEncoding {
    /// For people.
    Console,
    /// One JSON object a line.
    Json,
}

/// What becomes of events that no function is mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnmatchedPolicy {
    /// They stay at the broker, as far as it can keep them.
    Hold,
    /// Acknowledged, and counted.
    Drop,
    /// Stored at the dead-letter address.
    DeadLetter,
}

impl CoreConfig {
    /// The settings of a test: the defaults, changed as the environment would.
    ///
    /// # Panics
    /// When there is a mistake in them.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn of(env: &[(&str, &str)]) -> Self {
        let table = super::Table::new("test", Some("topic"), &[], &[]);
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        super::load::load_table(&table, [], env, |_| ())
            .unwrap_or_else(|outcome| panic!("{}", outcome.text()))
            .core
    }

    /// Reads and validates. Mistakes are noted in `values`; what is returned is used only if there
    /// are none.
    pub fn read(values: &mut Values) -> Self {
        if values.is_set("license_file") {
            values.warning("license_file", "is ignored: no licence is needed");
        }
        let grace_period = values.duration("grace_period");
        Self {
            gateway_url: gateway_url(values),
            topics: values.list("topics"),
            topic_delimiter: values.text("topic_delimiter").unwrap_or_else(|| ",".to_owned()),
            basic_auth: values.flag("basic_auth"),
            secret_mount_path: values.text("secret_mount_path").unwrap_or_default().into(),
            gateway_user: None,
            gateway_password: None,
            asynchronous: values.flag("asynchronous_invocation"),
            upstream_timeout: values
                .duration_if_set("upstream_timeout")
                .filter(|timeout| !timeout.is_zero()),
            rebuild_interval: rebuild_interval(values),
            rebuild_timeout: above_zero(values, "rebuild_timeout"),
            content_type: content_type(values),
            print_response: values.flag("print_response"),
            print_response_body: values.flag("print_response_body"),
            print_request_body: values.flag("print_request_body"),
            print_sync: values.flag("print_sync"),
            debug: values.flag("debug"),
            log_encoding: match values.choice("log_encoding") {
                "json" => LogEncoding::Json,
                _ => LogEncoding::Console,
            },
            namespaces: values.list("namespaces"),
            unmatched: match values.choice("unmatched") {
                "drop" => UnmatchedPolicy::Drop,
                "dead-letter" => UnmatchedPolicy::DeadLetter,
                _ => UnmatchedPolicy::Hold,
            },
            unmap_after: values.duration("unmap_after"),
            max_inflight: count(values, "max_inflight"),
            function_concurrency: count(values, "function_concurrency"),
            lane_window: count(values, "lane_window"),
            buffer_bytes: values.bytes("buffer_bytes"),
            dead_letter: dead_letter(values),
            dead_letter_limit: u32::try_from(values.number("dead_letter_limit"))
                .unwrap_or(u32::MAX),
            retry: retry(values),
            grace_period,
            drain_timeout: drain_timeout(values, grace_period),
            admin_port: u16::try_from(values.number("admin_port")).unwrap_or_default(),
            fleet: fleet(values),
        }
    }
}

/// Without a usable gateway nothing could run, so a bad address is a mistake although the name is
/// upstream's. The address is not repeated where it carries credentials.
fn gateway_url(values: &mut Values) -> String {
    let url = values.text("gateway_url").unwrap_or_default();
    let url = url.trim().trim_end_matches('/');
    if let Err(wrong) = check_gateway_url(url) {
        let taken = "http:// or https:// with a host, such as http://gateway:8080".to_owned();
        values.mistake_taking("gateway_url", wrong, Some(taken));
    }
    url.to_owned()
}

fn check_gateway_url(url: &str) -> Result<(), &'static str> {
    if url.contains(['?', '#']) {
        return Err("has a query or a fragment");
    }
    let uri: http::Uri = url.parse().map_err(|_| "is no address")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("does not begin with http:// or https://");
    }
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("carries credentials: set basic_auth, and put them into files");
    }
    check_port(authority)
}

fn check_port(authority: &Authority) -> Result<(), &'static str> {
    if authority.host().is_empty() {
        return Err("has no host");
    }
    if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
        return Err("has no valid port");
    }
    Ok(())
}

fn fleet(values: &mut Values) -> Vec<Authority> {
    let mut addresses = Vec::new();
    for item in values.list("fleet") {
        let address = item.parse::<Authority>().ok();
        let address = address.filter(|it| !it.as_str().contains('@') && it.port_u16().is_some());
        match address.filter(|it| check_port(it).is_ok()) {
            Some(address) => addresses.push(address),
            None => values.mistake_taking(
                "fleet",
                format!("{} is no address", super::reading::quoted(&item)),
                Some("host:port of other connectors, separated by commas".to_owned()),
            ),
        }
    }
    addresses
}

fn rebuild_interval(values: &mut Values) -> Duration {
    let interval = values.duration("rebuild_interval");
    if interval < LEAST_REBUILD_INTERVAL {
        let least = format_go_duration(LEAST_REBUILD_INTERVAL);
        values.warning("rebuild_interval", format!("is too short; {least} is used"));
    }
    interval.max(LEAST_REBUILD_INTERVAL)
}

fn above_zero(values: &mut Values, name: &'static str) -> Duration {
    let duration = values.duration(name);
    if duration.is_zero() {
        values.mistake_taking(name, "is 0", Some("a duration above 0".to_owned()));
    }
    duration
}

fn content_type(values: &mut Values) -> ContentType {
    let text = values.text("content_type");
    let fallback = values.default_text("content_type");
    if text.as_deref().is_some_and(|text| http::HeaderValue::from_str(text).is_err()) {
        values.warning("content_type", "cannot stand in a header; read as unset");
        return ContentType { configured: None, fallback };
    }
    let is_set = values.is_set("content_type");
    ContentType { configured: text.filter(|text| is_set && text != "message"), fallback }
}

fn count(values: &mut Values, name: &'static str) -> usize {
    usize::try_from(values.number(name)).unwrap_or(1)
}

fn dead_letter(values: &mut Values) -> Address {
    let scheme = values.letter_scheme();
    let text = values.text(DEAD_LETTER).unwrap_or_else(|| "drop".to_owned());
    Address::parse(&text, scheme).unwrap_or_else(|wrong| {
        let wrong = format!("{} {wrong}", super::reading::quoted(&text));
        values.mistake_taking(DEAD_LETTER, wrong, Some(Address::forms(scheme)));
        Address::Drop
    })
}

fn retry(values: &mut Values) -> RetryPolicy {
    // Below 0 there is only -1: for ever.
    let attempts = u32::try_from(values.number("max_retry_attempts")).ok();
    let least = above_zero(values, "initial_retry_wait");
    let most = values.duration("max_retry_wait");
    let mut codes = BTreeSet::new();
    for item in values.list("retry_http_codes") {
        match item.parse::<u16>() {
            Ok(code @ 400..=599) => {
                codes.insert(code);
            }
            _ => values.mistake_taking(
                "retry_http_codes",
                format!("{} is no status of a failed call", super::reading::quoted(&item)),
                Some("statuses from 400 to 599, separated by commas".to_owned()),
            ),
        }
    }
    let backoff = match values.choice("backoff") {
        "exponential" => Backoff::Exponential,
        "equal" => Backoff::Equal,
        _ => Backoff::Full,
    };
    RetryPolicy::try_new(attempts, least, most, codes, backoff).unwrap_or_else(|wrong| {
        // That the first wait is zero has been said.
        if !least.is_zero() {
            let only_first = !values.is_set("max_retry_wait");
            values.mistake(if only_first { "initial_retry_wait" } else { "max_retry_wait" }, wrong);
        }
        RetryPolicy::never()
    })
}

fn drain_timeout(values: &mut Values, grace_period: Duration) -> Duration {
    let usual = grace_period.saturating_sub(DRAIN_RESERVE).max(LEAST_DRAIN);
    let Some(timeout) = values.duration_if_set("drain_timeout") else {
        return usual;
    };
    if timeout >= grace_period && values.is_set("drain_timeout") {
        let grace = format_go_duration(grace_period);
        values.warning(
            "drain_timeout",
            format!("is not below the grace_period of {grace}: the host may kill first"),
        );
    }
    timeout
}
