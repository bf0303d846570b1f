//! The settings of the cron connector.

use std::sync::Arc;

use connector_core::settings::{Form, Origin, Setting, Values};
use connector_core::source::SourceConfig;
use jiff::tz::TimeZone;

use crate::clock::{Clock, HostClock};
use crate::schedule::{Fold, ScheduleOptions};

/// The validated settings.
#[derive(Debug)]
pub struct Config {
    /// How schedules are read.
    pub schedules: ScheduleOptions,
    /// The clock that schedules follow.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// The settings of a process: these schedules on the host's clock.
    #[must_use]
    pub fn new(schedules: ScheduleOptions) -> Self {
        Self { schedules, clock: Arc::new(HostClock) }
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
        Self::new(ScheduleOptions { zone, seconds: values.flag("cron_seconds"), fold })
    }
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
