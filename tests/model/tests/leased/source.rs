//! A source without a broker: the play hands events in itself.

use std::sync::Arc;

use connector_core::Intake;
use connector_core::settings::{Setting, Values};
use connector_core::source::{Letterbox, Source, SourceConfig, SourceError};
use connector_core::testing::Settings;
use connector_core::topics::{Pattern, Unused};

/// The kind of source that plays are about.
pub(crate) struct Leased;

/// It has none.
pub(crate) struct NoSettings;

impl SourceConfig for NoSettings {
    const SETTINGS: &'static [Setting] = &[];

    fn read(_: &mut Values) -> Self {
        Self
    }
}

impl Source for Leased {
    const KIND: &'static str = "leased";
    const ATTRIBUTE_PREFIX: &'static str = "X-Leased-";
    const ATTRIBUTES: Option<(&'static str, &'static str)> = None;
    const ITEMS: &'static str = "An item of `topic` is the name of a queue.";
    const LETTER_SCHEME: Option<&'static str> = Some("queue");
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[];
    type Config = NoSettings;

    fn pattern(_: &NoSettings, item: &str) -> Result<Pattern, Unused> {
        Ok(Pattern::Exact(item.into()))
    }

    async fn connect(_: Arc<NoSettings>, _: Intake) -> Result<Self, SourceError> {
        Ok(Self)
    }

    async fn run(self) -> Result<(), SourceError> {
        Ok(())
    }

    fn letterbox(_: &Arc<NoSettings>, _: &Intake, _: &str) -> Result<Arc<dyn Letterbox>, String> {
        Err("plays open their own".to_owned())
    }
}

/// Two retries, waits of a few seconds, and limits that are met.
pub(crate) fn settings() -> Settings<Leased> {
    Settings::of(&[
        ("max_retry_attempts", "2"),
        ("initial_retry_wait", "1s"),
        ("max_retry_wait", "4s"),
        ("backoff", "exponential"),
        ("upstream_timeout", "10s"),
        ("max_inflight", "4"),
        ("function_concurrency", "3"),
        ("dead_letter", "queue:dead"),
        ("dead_letter_limit", "0"),
    ])
}
