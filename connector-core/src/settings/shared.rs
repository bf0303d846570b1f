//! The settings that all connectors share.

use super::{Form, Origin, Setting};

const fn upstream(
    name: &'static str,
    form: Form,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, aliases: &[], default, form, origin: Origin::Upstream, help }
}

const fn ours(
    name: &'static str,
    form: Form,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, aliases: &[], default, form, origin: Origin::Ours, help }
}

/// In the order in which the help shows them: what is consumed, how it is called, what becomes of
/// failures, limits, the process.
pub(super) const SHARED: &[Setting] = &[
    upstream(
        "topics",
        Form::List,
        None,
        "What to consume. Each name is an order: while it is unknown or refused, the connector is not ready and tries \
         again. Unset: what the functions' annotations ask for is consumed, and followed as they change.",
    ),
    upstream(
        "topic_delimiter",
        Form::Text,
        Some(","),
        "What separates the topics within a function's `topic` annotation.",
    ),
    ours(
        "namespaces",
        Form::List,
        None,
        "The namespaces whose functions are called. Unset: all that the gateway lists.",
    ),
    upstream(
        "rebuild_interval",
        Form::Duration,
        Some("30s"),
        "How often the functions are listed anew. Less than 100ms is taken as 100ms.",
    ),
    ours(
        "rebuild_timeout",
        Form::Duration,
        Some("10s"),
        "How long one request of a listing may take.",
    ),
    ours(
        "unmatched",
        Form::Choice(&["hold", "drop", "dead-letter"]),
        Some("hold"),
        "What becomes of events on a topic that no function is mapped to: `hold` leaves them at the broker as far as it \
         can, `drop` acknowledges and counts them, `dead-letter` stores them at the `dead_letter` address.",
    ),
    ours(
        "unmap_after",
        Form::Duration,
        Some("60s"),
        "How long a function must be absent from the listings before its mappings end.",
    ),
    upstream(
        "gateway_url",
        Form::Text,
        Some("http://gateway:8080"),
        "The OpenFaaS gateway. Slashes at the end are ignored.",
    ),
    upstream(
        "basic_auth",
        Form::Flag,
        Some("false"),
        "Authenticates at the gateway with the files `basic-auth-user` and `basic-auth-password` of \
         `secret_mount_path`.",
    ),
    upstream(
        "secret_mount_path",
        Form::Text,
        Some("/run/secrets"),
        "The folder of the gateway's credentials. They are read again when they are refused.",
    ),
    upstream(
        "asynchronous_invocation",
        Form::Flag,
        Some("false"),
        "Calls functions through the gateway's queue. An event then counts as answered well when it is queued: the \
         function's own answer is not seen.",
    ),
    upstream(
        "upstream_timeout",
        Form::Duration,
        None,
        "How long one call may take as a whole. Unset or 0: no limit of ours; the gateway has its own.",
    ),
    upstream(
        "content_type",
        Form::Text,
        None,
        "The Content-Type of every call. Unset, or `message`: the message's own where it has one, else the connector's \
         default.",
    ),
    upstream(
        "print_response",
        Form::Flag,
        Some("false"),
        "Logs one line per call: topic, function, status, duration.",
    ),
    upstream(
        "print_response_body",
        Form::Flag,
        Some("false"),
        "Logs the beginning of each answer's body.",
    ),
    upstream(
        "print_request_body",
        Form::Flag,
        Some("false"),
        "Logs the beginning of each event's payload.",
    ),
    upstream("print_sync", Form::Flag, Some("false"), "Logs each listing of the functions."),
    ours(
        "max_retry_attempts",
        Form::Number(-1, 1_000_000),
        Some("10"),
        "How often a failed call is repeated after the first one. 0: never; -1: for ever.",
    ),
    ours(
        "initial_retry_wait",
        Form::Duration,
        Some("1s"),
        "The wait before the first retry. It doubles with each further one.",
    ),
    ours("max_retry_wait", Form::Duration, Some("120s"), "The longest wait between two calls."),
    ours(
        "retry_http_codes",
        Form::List,
        Some("408,425,429,500,502,503,504"),
        "The statuses after which a call is repeated. Any other failure goes to the dead letter at once.",
    ),
    ours(
        "backoff",
        Form::Choice(&["exponential", "full", "equal"]),
        Some("full"),
        "How a wait is spread: `exponential` not at all, `full` at random between 0 and the wait, `equal` between half \
         of it and the whole.",
    ),
    ours(
        "dead_letter",
        Form::Text,
        Some("drop"),
        "Where an event goes that a function will not answer well: `drop` (counted and logged), `hold` (the topic \
         waits), `function:NAME`, or a place at the connector's own broker.",
    ),
    ours(
        "dead_letter_limit",
        Form::Number(0, 4_294_967_295),
        Some("100"),
        "After so many dead letters in a row for one function its topic is held. 0: never. Without effect while \
         `dead_letter` is `drop`.",
    ),
    ours("max_inflight", Form::Number(1, 100_000), Some("64"), "How many calls may run at a time."),
    ours(
        "function_concurrency",
        Form::Number(1, 100_000),
        Some("10"),
        "How many calls of one function may run at a time, where its annotation `connector.concurrency` says nothing \
         else.",
    ),
    ours(
        "lane_window",
        Form::Number(1, 10_000_000),
        Some("1000"),
        "How many events of one partition, queue or subscription may be received and unfinished.",
    ),
    ours(
        "buffer_bytes",
        Form::Bytes,
        Some("32Mi"),
        "How many bytes of payloads, keys and attributes are held in memory, beside one message for each partition, queue or subscription.",
    ),
    ours(
        "grace_period",
        Form::Duration,
        Some("30s"),
        "How long the host waits between asking the process to stop and killing it.",
    ),
    ours(
        "drain_timeout",
        Form::Duration,
        None,
        "How long running calls may take to end when the process is asked to stop. Unset: `grace_period` less 5s, at \
         least 1s.",
    ),
    ours(
        "admin_port",
        Form::Number(0, 65_535),
        Some("8081"),
        "The port of the status page, `/metrics`, `/healthz`, `/readyz` and `/status`. 0: any free one.",
    ),
    ours(
        "fleet",
        Form::List,
        None,
        "The admin addresses of other connectors, `host:port`, to be seen on this one's status page as well. They are \
         asked only while somebody looks.",
    ),
    upstream("debug", Form::Flag, Some("false"), "Logs more."),
    upstream(
        "log_encoding",
        Form::Choice(&["console", "json"]),
        Some("console"),
        "How a line of the log is written.",
    ),
    ours(
        "settings_file",
        Form::Text,
        None,
        "A TOML file of settings by name. Environment and flags win over it.",
    ),
    upstream(
        "license_file",
        Form::Text,
        None,
        "Accepted for those who come from the upstream connectors, and ignored: no licence is needed.",
    ),
];
