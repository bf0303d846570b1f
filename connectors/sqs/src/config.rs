//! The settings of the SQS connector.
//!
//! Credentials are no settings: they come by the chain of the AWS tools (environment, profile
//! files, web identity, container, instance), are asked for when they are needed, and the process
//! waits for them to be right.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use connector_core::settings::{
    Form, Origin, Setting, Values, format_go_duration, parse_go_duration,
};
use connector_core::source::SourceConfig;
use tokio::sync::OnceCell;

use crate::account::Account;
use crate::lease::LONGEST;
use crate::queue::QueueRef;
use crate::trouble::Trouble;

/// The longest that SQS waits for a message before it answers that there is none.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// A lease of none would lend nothing.
pub(crate) const SHORTEST_LEASE: Duration = Duration::from_secs(1);
/// What `topic_attribute` takes for: whatever the message says, its queue is its topic.
const NO_ATTRIBUTE: &str = "none";

/// The settings of the SQS connector, validated.
#[derive(Debug)]
pub struct SqsConfig {
    /// What is consumed whatever the annotations say; with the reason where it cannot be a queue.
    pub(crate) orders: Vec<(String, Result<QueueRef, String>)>,
    /// How long a received message is lent. `None`: as long as the queue says.
    pub(crate) lease: Option<Duration>,
    pub(crate) wait: Duration,
    /// The most messages of one receive, at most 10.
    pub(crate) batch: NonZeroUsize,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    /// The attribute by which a message names the topic it is matched on.
    pub(crate) topic_attribute: Option<Arc<str>>,
    /// The window of each queue, where somebody set it.
    pub(crate) window: Option<NonZeroUsize>,
    /// Somebody set where dead letters go: a queue's own redrive policy does not.
    pub(crate) letters_set: bool,
    /// The way to AWS, made when it is first needed.
    account: OnceCell<Arc<Account>>,
}

impl SqsConfig {
    /// The way to AWS, shared by all queues and letterboxes.
    pub(crate) async fn account(&self) -> Result<&Arc<Account>, Trouble> {
        self.account.get_or_try_init(|| Account::load(self)).await
    }
}

impl SourceConfig for SqsConfig {
    const SETTINGS: &'static [Setting] = SETTINGS;

    fn defaults(values: &mut Values) {
        if let Some(text) = values.text("topic_refresh_interval") {
            match seconds(&text) {
                Some(every) => values.set_default("rebuild_interval", &format_go_duration(every)),
                None => values.warning("topic_refresh_interval", "is no duration; it is ignored"),
            }
        }
        if matches!(values.text("log_level").as_deref(), Some("debug" | "trace")) {
            values.set_default("debug", "true");
        }
        // The community's connector does not start without it, and that of OpenFaaS has no such
        // setting: whose messages these are can be told by it.
        if values.is_set("region") {
            values.set_default("topic_attribute", "Topic");
        }
    }

    fn read(values: &mut Values) -> Self {
        let mut orders = Vec::new();
        for name in ["queue_url", "topics"] {
            for text in values.list(name) {
                let queue: Result<QueueRef, String> = text.parse();
                if let Err(why) = &queue {
                    values.warning(name, format!("has an item that is {why}"));
                }
                orders.push((text, queue));
            }
        }
        let window = values.number("lane_window");
        let window = values.is_set("lane_window").then(|| usize::try_from(window).ok()).flatten();
        Self {
            orders,
            lease: lease(values),
            wait: wait(values),
            batch: usize::try_from(values.number("max_messages"))
                .ok()
                .and_then(NonZeroUsize::new)
                .unwrap_or(NonZeroUsize::MIN),
            endpoint: endpoint(values),
            region: values.text("region"),
            topic_attribute: values
                .text("topic_attribute")
                .filter(|name| name != NO_ATTRIBUTE)
                .map(Into::into),
            window: window.and_then(NonZeroUsize::new),
            letters_set: values.is_set("dead_letter"),
            account: OnceCell::new(),
        }
    }
}

/// `queue`, or a duration. SQS counts whole seconds.
fn lease(values: &mut Values) -> Option<Duration> {
    let name = "visibility_timeout";
    let text = values.text(name).unwrap_or_default();
    if text == "queue" {
        return None;
    }
    let Some(lease) = seconds(&text) else {
        values.warning(name, "is neither a duration nor `queue`; 30s is used");
        return Some(DEFAULT_LEASE);
    };
    let used =
        Duration::from_secs(lease.as_secs_f64().ceil() as u64).clamp(SHORTEST_LEASE, LONGEST);
    if used != lease {
        values.warning(
            name,
            format!("is no number of whole seconds from 1s to 12h; {used:?} is used"),
        );
    }
    Some(used)
}

fn wait(values: &mut Values) -> Duration {
    let name = "wait_time";
    let text = values.text(name).unwrap_or_default();
    let Some(wait) = seconds(&text) else {
        values.warning(name, "is no duration; 20s is used");
        return LONGEST_WAIT;
    };
    // Not to wait would ask an empty queue again and again, and pay for each answer.
    let used = Duration::from_secs(wait.as_secs()).clamp(Duration::from_secs(1), LONGEST_WAIT);
    if used != wait {
        values.warning(
            name,
            format!("is no number of whole seconds from 1s to 20s; {used:?} is used"),
        );
    }
    used
}

/// A Go duration; a bare number is seconds, as the community's connector has it.
fn seconds(text: &str) -> Option<Duration> {
    let bare = text.parse::<u32>().ok().map(|n| Duration::from_secs(n.into()));
    bare.or_else(|| parse_go_duration(text).ok())
}

fn endpoint(values: &mut Values) -> Option<String> {
    let url = values.text("endpoint_url")?;
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if host.is_none_or(|host| host.trim_matches('/').is_empty()) {
        values.mistake("endpoint_url", "is not http:// or https:// with a host");
    }
    Some(url)
}

const fn upstream(
    name: &'static str,
    aliases: &'static [&'static str],
    form: Form,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, aliases, default, form, origin: Origin::Upstream, help }
}

const SETTINGS: &[Setting] = &[
    upstream(
        "queue_url",
        &[],
        Form::List,
        None,
        "The queues to consume, each by URL, name or ARN. Each is an order, as those of `topics` are: while it is \
         unknown or refused, the connector is not ready and tries again. Neither set: the queues that the functions' \
         annotations ask for.",
    ),
    upstream(
        "visibility_timeout",
        &[],
        Form::Text,
        Some("30s"),
        "How long a received message stays hidden from others; it is extended while the message is worked on, so this \
         is how long a message waits after a crash. `queue`: what the queue itself says.",
    ),
    upstream(
        "wait_time",
        &["max-wait-time"],
        Form::Text,
        Some("20s"),
        "How long one receive waits at the queue for a message to come, 1s to 20s.",
    ),
    upstream(
        "max_messages",
        &["max-number-of-messages"],
        Form::Number(1, 10),
        Some("10"),
        "The most messages of one receive. Fewer are asked for when there is room for fewer.",
    ),
    upstream(
        "region",
        &[],
        Form::Text,
        None,
        "The region of queues whose URL or ARN does not tell it. Unset: AWS_REGION, AWS_DEFAULT_REGION, the profile.",
    ),
    Setting {
        name: "endpoint_url",
        aliases: &["endpoint"],
        default: None,
        form: Form::Text,
        origin: Origin::Ours,
        help: "The endpoint that serves SQS, for ElasticMQ, LocalStack or a VPC endpoint. Unset: AWS_ENDPOINT_URL_SQS, \
               AWS_ENDPOINT_URL, the queue's URL, or the region's own.",
    },
    upstream(
        "gateway_url",
        &["openfaas-gateway-url"],
        Form::Text,
        Some("http://gateway:8080"),
        "The OpenFaaS gateway. Slashes at the end are ignored.",
    ),
    upstream(
        "topic_refresh_interval",
        &[],
        Form::Text,
        None,
        "`rebuild_interval` by the name that the community's connector has for it; a bare number is seconds.",
    ),
    upstream(
        "log_level",
        &[],
        Form::Text,
        None,
        "`debug` and `trace` are `debug=true`; any other level is the usual one.",
    ),
    Setting {
        name: "topic_attribute",
        aliases: &[],
        default: None,
        form: Form::Text,
        origin: Origin::Ours,
        help: "The message attribute that names the topic a message is matched on, in place of its queue. `none`: \
               there is none. Unset: `Topic` where `region` is set, as the community's connector has it, else none.",
    },
];

#[cfg(test)]
mod tests {
    use connector_core::settings::{Loaded, load};

    use super::*;
    use crate::Sqs;

    fn read(args: &[&str], env: &[(&str, &str)]) -> Loaded<SqsConfig> {
        let args = args.iter().map(|&arg| arg.to_owned());
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        load::<Sqs>(args, env).unwrap_or_else(|outcome| panic!("{}", outcome.text()))
    }

    #[test]
    fn the_settings_of_the_pro_connector_work() {
        let read = read(
            &[
                "-license-file=/run/secrets/license",
                "--queue-url=https://sqs.eu-west-1.amazonaws.com/1/a,https://sqs.eu-west-1.amazonaws.com/1/b",
                "--visibility-timeout=45s",
                "--wait-time=5s",
                "--max-messages=1",
            ],
            // As its chart sets them.
            &[
                ("gateway_url", "http://gateway.openfaas:8080"),
                ("topics", ""),
                ("print_response", "true"),
                ("print_response_body", "false"),
                ("print_request_body", "true"),
                ("asynchronous_invocation", "true"),
                ("basic_auth", "true"),
                ("secret_mount_path", "/var/secrets/gateway"),
                ("upstream_timeout", "2m"),
                ("rebuild_interval", "45s"),
                ("content_type", "application/json"),
                ("debug", "true"),
                ("log_encoding", "json"),
                ("AWS_SHARED_CREDENTIALS_FILE", "/var/secrets/aws-credentials/aws-sqs-credentials"),
                ("AWS_DEFAULT_REGION", "eu-west-1"),
            ],
        );
        assert!(read.warnings.iter().all(|it| it.setting == "license_file"), "{:?}", read.warnings);
        let Loaded { source, core, .. } = read;
        let names: Vec<_> =
            source.orders.iter().map(|(_, q)| q.as_ref().expect("a queue").name()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(source.lease, Some(Duration::from_secs(45)));
        assert_eq!((source.wait, source.batch.get()), (Duration::from_secs(5), 1));
        assert!(source.topic_attribute.is_none(), "its messages are of their queue's topic");
        assert_eq!(core.gateway_url, "http://gateway.openfaas:8080");
        assert!(core.print_response && core.print_request_body && !core.print_response_body);
        assert!(core.asynchronous && core.debug);
        assert_eq!(core.upstream_timeout, Some(Duration::from_secs(120)));
        assert_eq!(core.rebuild_interval, Duration::from_secs(45));
        assert_eq!(core.content_type.configured.as_deref(), Some("application/json"));
        assert_eq!(self::read(&[], &[]).core.upstream_timeout, Some(Duration::from_secs(30)));
    }

    #[test]
    fn the_settings_of_the_community_connector_work() {
        let read = read(
            &[
                "--endpoint",
                "http://elasticmq:9324",
                "--log-level",
                "debug",
                "--max-number-of-messages",
                "3",
                "--max-wait-time",
                "1",
                "--openfaas-gateway-url",
                "http://gateway.openfaas.svc:8080",
                "--queue-url",
                "orders",
                "--region",
                "eu-west-1",
                "--topic-refresh-interval",
                "15",
                "--visibility-timeout",
                "60",
            ],
            &[],
        );
        assert_eq!(read.core.gateway_url, "http://gateway.openfaas.svc:8080");
        assert_eq!(read.core.rebuild_interval, Duration::from_secs(15));
        assert_eq!(read.source.lease, Some(Duration::from_secs(60)));
        assert_eq!(read.source.wait, Duration::from_secs(1));
        assert_eq!(read.source.endpoint.as_deref(), Some("http://elasticmq:9324"));
        assert_eq!(read.source.region.as_deref(), Some("eu-west-1"));
        assert_eq!(read.source.topic_attribute.as_deref(), Some("Topic"));
        assert!(read.core.debug);
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    }

    #[test]
    fn defaults_and_what_is_out_of_bounds() {
        let defaults = read(&[], &[]);
        assert_eq!(defaults.source.lease, Some(Duration::from_secs(30)));
        assert_eq!(defaults.source.wait, Duration::from_secs(20));
        assert_eq!(defaults.source.batch.get(), 10);
        assert!(defaults.source.window.is_none() && !defaults.source.letters_set);
        let queue = read(&["-visibility-timeout", "queue"], &[("dead_letter", "drop")]);
        assert!(queue.source.lease.is_none() && queue.source.letters_set);
        let odd = read(&["-visibility-timeout=1500ms", "-wait-time=0"], &[("lane_window", "7")]);
        assert_eq!(odd.source.lease, Some(Duration::from_secs(2)));
        assert_eq!(odd.source.wait, Duration::from_secs(1));
        assert_eq!(odd.source.window.map(NonZeroUsize::get), Some(7));
        assert_eq!(odd.warnings.len(), 2, "{:?}", odd.warnings);
    }

    #[test]
    fn a_malformed_queue_does_not_keep_the_others_from_running() {
        let read = read(&["-queue-url=https://,orders"], &[]);
        assert!(read.source.orders[0].1.is_err() && read.source.orders[1].1.is_ok());
        assert_eq!(read.warnings.len(), 1);
    }
}
