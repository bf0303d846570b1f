//! Which sessions there are to be, by what the settings and the annotations say.
//!
//! Pure: who connects and disconnects them is [`sessions`](crate::sessions). What annotations asked
//! for before and do not ask for any more is the affair of [`past`](crate::past).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use connector_core::conditions::Subject;
use connector_core::dead_letter::Address;
use connector_core::event::FunctionName;
use connector_core::settings::UnmatchedPolicy;
use connector_core::topics::{Pattern, TopicMap};

use crate::config::MqttConfig;
use crate::filter::{self, Filter};

/// The functions that a session is for, live.
pub(crate) type Askers = Arc<BTreeSet<FunctionName>>;

/// What annotations ask for: each filter with the functions that are called through its session.
pub(crate) type Wishes = BTreeMap<Filter, BTreeSet<FunctionName>>;

/// The topics that take dead letters, each with the functions that ask for it by its name. Those
/// are called with what comes there, also where it comes by a wildcard; who only matches it is not.
pub(crate) type LetterTopics = HashMap<String, BTreeSet<FunctionName>>;

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub(crate) filter: Filter,
    pub(crate) client_id: String,
    pub(crate) asked: Asked,
}

/// Who wants the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// The settings: not ready while it is refused.
    Order,
    /// Annotations: it may be meant for another broker.
    Wish,
}

/// What is to be, by what the settings and the annotations say now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be connected.
    pub(crate) serving: Vec<Serving>,
    /// To be disconnected while nobody is mapped.
    pub(crate) held: Vec<Spec>,
}

/// One session that is to be connected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Serving {
    pub(crate) spec: Spec,
    /// The functions that ask, where annotations are what is consumed.
    pub(crate) askers: Option<Askers>,
    /// The filter is to be unsubscribed: only what the broker has queued for it is still wanted.
    pub(crate) leaves: bool,
}

impl Spec {
    /// The session of a filter that annotations ask for.
    pub(crate) fn wish(config: &MqttConfig, filter: &Filter) -> Self {
        let client_id = config.client_id_of(filter);
        Self { filter: filter.clone(), client_id, asked: Asked::Wish }
    }

    /// What the status calls it.
    pub(crate) fn subject(&self) -> Subject {
        Subject(format!("filter {}", self.filter).into())
    }
}

impl Plan {
    /// What the settings order.
    pub(crate) fn of_orders(config: &MqttConfig, map: &TopicMap, policy: UnmatchedPolicy) -> Self {
        let asked: Vec<Filter> =
            map.wishes().iter().filter_map(|wish| Filter::parse(&wish.item).ok()).collect();
        let mut plan = Self::default();
        for filter in &config.filters {
            let seen = if config.trim_channel_key { filter.trimmed() } else { filter.clone() };
            let is_mapped = asked.iter().any(|asked| asked.overlaps(&seen));
            let spec = Spec {
                filter: filter.clone(),
                client_id: config.client_id_of(filter),
                asked: Asked::Order,
            };
            // What the broker does not keep cannot be held: it is received only while mapped.
            let is_held =
                !is_mapped && (policy == UnmatchedPolicy::Hold || !config.keeps_sessions());
            if is_held {
                plan.held.push(spec);
            } else {
                plan.serving.push(Serving { spec, askers: None, leaves: false });
            }
        }
        plan
    }

    /// What is planned for this session, if it is to be connected.
    pub(crate) fn served(&self, spec: &Spec) -> Option<&Serving> {
        self.serving.iter().find(|it| it.spec == *spec)
    }
}

/// What annotations ask for now.
///
/// Each function is called through the sessions of its own items, so that sessions whose filters
/// overlap call nobody twice; of its own items, those that another one covers are left out.
pub(crate) fn wishes(map: &TopicMap) -> Wishes {
    let mut items: BTreeMap<&FunctionName, Vec<Filter>> = BTreeMap::new();
    for wish in map.wishes() {
        let Ok(filter) = filter::annotation(&wish.item) else { continue };
        for function in &*wish.functions {
            items.entry(function).or_default().push(filter.clone());
        }
    }
    let mut wishes = Wishes::new();
    for (function, filters) in items {
        for (at, filter) in filters.iter().enumerate() {
            let is_covered = filters.iter().enumerate().any(|(other, by)| {
                other != at && by.covers(filter) && (!filter.covers(by) || other < at)
            });
            if !is_covered {
                wishes.entry(filter.clone()).or_default().insert(function.clone());
            }
        }
    }
    wishes
}

/// Where dead letters go, `default` among the rest.
pub(crate) fn letter_topics(
    config: &MqttConfig,
    map: &TopicMap,
    default: &Address,
) -> LetterTopics {
    let of_functions = map.mappings().filter_map(|mapping| mapping.dead_letter.as_ref());
    let topics = of_functions.chain([default]).filter_map(|address| match address {
        Address::Broker(topic) => Some(topic),
        _ => None,
    });
    let by_name = |topic: &str| {
        let seen = if config.trim_channel_key { filter::trimmed(topic) } else { topic };
        let is_named =
            |pattern: &Pattern| matches!(pattern, Pattern::Exact(name) if **name == *seen);
        let wishes = map.wishes().iter().filter(|wish| is_named(&wish.pattern));
        wishes.flat_map(|wish| wish.functions.iter().cloned()).collect()
    };
    topics.map(|topic| (topic.clone(), by_name(topic))).collect()
}
