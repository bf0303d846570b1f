//! The settings of the cron connector.

use std::sync::Arc;
use std::time::Duration;

use connector_core::settings::{Form, Origin, Setting, Values};
use connector_core::source::SourceConfig;
use jiff::tz::TimeZone;

use crate::clock::{Clock, HostClock};
use crate::lease::LeaseOptions;
use crate::schedule::{Fold, ScheduleOptions};

/// The validated settings.
#[derive(Debug)]
pub struct Config {
    /// How schedules are read.
    pub schedules: ScheduleOptions,
    /// The clock that schedules follow.
    pub clock: Arc<dyn Clock>,
    /// How several replicas agree on the one that calls. `None`: this is the only one.
    pub lease: Option<LeaseOptions>,
}

impl Config {
    /// The settings of a process: these schedules on the host's clock.
    #[must_use]
    pub fn new(schedules: ScheduleOptions) -> Self {
        Self { schedules, clock: Arc::new(HostClock), lease: None }
    }
}

impl SourceConfig for Config {
    const SETTINGS: &'static [Setting] = &[
        Setting {
            name: "timezone",
            aliases: &[],
            default: Some("UTC"),
            form: Form::Text,
            origin: Origin::Ours,
            help: "The time zone of schedules that name none: a name such as `Europe/Berlin` (the zones are built in), or \
                   `Local` for the host's. The variable TZ alone is not looked at.",
        },
        Setting {
            name: "cron_fold",
            aliases: &[],
            default: Some("once"),
            form: Form::Choice(&["once", "twice"]),
            origin: Origin::Ours,
            help: "How often a time of day fires that a day has twice because clocks are set back: `once`, in the first \
                   pass, or `twice`, as the upstream connector does. Schedules of every hour fire in both passes anyway.",
        },
        Setting {
            name: "cron_seconds",
            aliases: &[],
            default: Some("false"),
            form: Form::Flag,
            origin: Origin::Ours,
            help: "Accepts schedules of six fields, the first being seconds. Those of five fields stay what they are.",
        },
        Setting {
            name: "lease",
            aliases: &[],
            default: None,
            form: Form::Text,
            origin: Origin::Ours,
            help: "On Kubernetes: the Lease by which several replicas agree on the one that calls. Unset: this is the only \
                   replica. The chart sets it.",
        },
        Setting {
            name: "lease_namespace",
            aliases: &[],
            default: None,
            form: Form::Text,
            origin: Origin::Ours,
            help: "The namespace of the Lease. Unset: that of the pod.",
        },
        Setting {
            name: "lease_duration",
            aliases: &[],
            default: Some("15s"),
            form: Form::Duration,
            origin: Origin::Ours,
            help: "How long the replica that calls may be silent before another takes its place, in whole seconds, at least 2s. \
                   It writes to the Lease once before each tick and five times in this while.",
        },
        Setting {
            name: "kubernetes_api",
            aliases: &[],
            default: Some("https://kubernetes.default.svc"),
            form: Form::Text,
            origin: Origin::Ours,
            help: "The API server that keeps the Lease.",
        },
        Setting {
            name: "kubernetes_account",
            aliases: &[],
            default: Some("/var/run/secrets/kubernetes.io/serviceaccount"),
            form: Form::Text,
            origin: Origin::Ours,
            help: "The folder with `token`, `ca.crt` and `namespace` of the pod's service account. The token is read at each request.",
        },
    ];

    fn read(values: &mut Values) -> Self {
        if values.is_set("topics") {
            values.warning("topics", "is ignored: what is called is what has a schedule");
        }
        let fold = match values.choice("cron_fold") {
            "twice" => Fold::Twice,
            _ => Fold::Once,
        };
        let zone = zone(values);
        let schedules = ScheduleOptions { zone, seconds: values.flag("cron_seconds"), fold };
        Self { lease: lease(values), ..Self::new(schedules) }
    }
}

fn lease(values: &mut Values) -> Option<LeaseOptions> {
    let duration = values.duration("lease_duration");
    if duration < Duration::from_secs(2) || duration.subsec_nanos() > 0 {
        values
            .mistake("lease_duration", "is too short or not of whole seconds: expected 2s or more");
    }
    let namespace = values.text("lease_namespace");
    let api = values.text("kubernetes_api").unwrap_or_default();
    let account = values.text("kubernetes_account").unwrap_or_default().into();
    let name = values.text("lease")?;
    Some(LeaseOptions { name, namespace, duration, api, account })
}

fn zone(values: &mut Values) -> TimeZone {
    let Some(name) = values.text("timezone") else {
        return TimeZone::UTC;
    };
    if name == "Local" {
        return TimeZone::system();
    }
    TimeZone::get(&name).unwrap_or_else(|_| {
        let wrong = "names no time zone: expected a name such as Europe/Berlin, UTC or Local";
        values.mistake("timezone", wrong);
        TimeZone::UTC
    })
}

#[cfg(test)]
mod tests {
    use connector_core::settings::{Loaded, Outcome, load};

    use super::*;
    use crate::Cron;

    fn read(env: &[(&str, &str)]) -> Result<Loaded<Config>, Outcome> {
        load::<Cron>([], env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn defaults_are_those_of_the_upstream_connector() {
        let loaded = read(&[]).unwrap();
        let schedules = &loaded.source.schedules;
        assert_eq!((&schedules.zone, schedules.seconds), (&TimeZone::UTC, false));
        assert_eq!(schedules.fold, Fold::Once);
        assert_eq!(loaded.core.rebuild_interval.as_secs(), 10);
        assert_eq!(loaded.core.rebuild_timeout.as_secs(), 5);
        assert_eq!(loaded.core.upstream_timeout, None);
        assert_eq!(loaded.core.content_type.configured, None);
        assert!(!loaded.core.retry.allows(0));
        assert!(loaded.core.print_response && !loaded.core.asynchronous);
    }

    #[test]
    fn zone_fold_and_seconds_are_read() {
        let env = [("timezone", "europe/berlin"), ("cron_fold", "twice"), ("cron_seconds", "1")];
        let schedules = read(&env).unwrap().source.schedules;
        assert_eq!(schedules.zone.iana_name(), Some("Europe/Berlin"));
        assert_eq!((schedules.fold, schedules.seconds), (Fold::Twice, true));
    }

    #[test]
    fn every_mistake_is_told() {
        let env = [("timezone", "Mars/Base"), ("cron_fold", "thrice"), ("cron_seconds", "maybe")];
        let outcome = read(&env).unwrap_err();
        assert_eq!(outcome.code(), 64);
        for setting in ["timezone", "cron_fold", "cron_seconds"] {
            assert!(outcome.text().contains(setting), "{}", outcome.text());
        }
    }
}
