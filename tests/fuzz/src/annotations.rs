//! The annotations of functions. Input: lines `name=value`, and an empty line between two functions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connector_core::testing::Settings;
use connector_core::topics::{Catalog, Function, Rules, TopicMap};
use connector_core::{FunctionName, Source};
use cron_connector::Cron;
use cron_connector::plan::Plan;
use kafka_connector::Kafka;
use mqtt_connector::Mqtt;
use nats_connector::Nats;
use sqs_connector::Sqs;

use crate::assert_readable;

pub(crate) fn read(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let functions = text.splitn(2, "\n\n").enumerate().map(|(number, lines)| {
        let annotations: BTreeMap<_, _> = lines
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Function {
            name: FunctionName::new(format!("f{number}")),
            annotations: Arc::new(annotations),
        }
    });
    let catalog: Catalog = functions.collect();
    for function in catalog.iter() {
        for mistake in Plan::read(&function.annotations).mistakes {
            assert_readable(&mistake, 300);
        }
    }
    RULES.with(|all| all.iter().for_each(|rules| build(&catalog, rules)));
}

thread_local! {
    /// Those of every kind of source.
    static RULES: [Rules; 5] =
        [rules::<Kafka>(), rules::<Mqtt>(), rules::<Nats>(), rules::<Sqs>(), rules::<Cron>()];
}

fn rules<S: Source>() -> Rules {
    let Settings { core, source } = Settings::<S>::of(&[]);
    Rules {
        kind: S::KIND,
        delimiter: core.topic_delimiter.clone(),
        pattern: Arc::new(move |item: &str| S::pattern(&source, item)),
        letter_scheme: S::LETTER_SCHEME,
        retry: core.retry.clone(),
    }
}

fn build(catalog: &Catalog, rules: &Rules) {
    let map = TopicMap::build(catalog, rules);
    for mapping in map.mappings() {
        assert!(mapping.retry.min_wait() <= mapping.retry.max_wait());
        assert!(!mapping.retry.min_wait().is_zero());
        assert!(mapping.retry.codes().iter().all(|code| (100..=599).contains(code)));
        assert_ne!(mapping.concurrency, Some(0));
    }
    let items: BTreeSet<_> = catalog.iter().flat_map(|function| items(function, rules)).collect();
    for topic in items.into_iter().chain(["orders", "orders.new", "sensors/a"]) {
        let mapped = map.functions(topic);
        let mapped: Vec<_> = mapped.iter().map(|mapping| &mapping.function).collect();
        let asking = catalog.iter().filter(|function| asks(function, topic, rules));
        let asking: Vec<_> = asking.map(|function| &function.name).collect();
        assert_eq!(mapped, asking, "{} {topic}", rules.kind);
    }
}

/// Whether one of the function's items matches: without a map.
fn asks(function: &Function, topic: &str, rules: &Rules) -> bool {
    items(function, rules).any(|item| (rules.pattern)(item).is_ok_and(|it| it.matches(topic)))
}

/// The items of a function that are meant for this kind of source.
fn items<'a>(function: &'a Function, rules: &Rules) -> impl Iterator<Item = &'a str> {
    let topics = function.annotations.get("topic").map_or("", String::as_str);
    let kind = rules.kind;
    let items =
        topics.split(',').map(str::trim).filter_map(move |item| match item.split_once(':') {
            Some((word, rest)) if ["kafka", "sqs", "nats", "mqtt", "cron"].contains(&word) => {
                (word == kind).then(|| rest.trim())
            }
            _ => Some(item),
        });
    items.filter(|item| !item.is_empty())
}
