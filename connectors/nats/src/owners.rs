//! Which of our consumers calls whom.
//!
//! Topics may overlap, and then several consumers bring one message. Each function is served by
//! those that bring nothing but what it asks for, and by the oldest that brings all of it; of these
//! the oldest calls it for a message, and what the younger ones bring again is acknowledged.
//!
//! A consumer that serves nobody is not asked for messages: they wait for their functions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use connector_core::event::Among;
use connector_core::settings::UnmatchedPolicy;
use connector_core::topics::TopicMap;
use connector_core::{FunctionName, Intake};
use tokio::sync::watch;

use crate::subject::Filter;

/// Those on one stream, sorted by age.
pub(crate) type Owners = Arc<[Owner]>;

/// A consumer of ours on the stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) created: i128,
    pub(crate) name: String,
    pub(crate) filter: Filter,
}

/// Who is called with a message: whoever is mapped to its subject, or of them only these.
pub(crate) struct Callees {
    pub(crate) among: Option<Among>,
}

/// One consumer's share of the calls.
pub(crate) struct Share {
    consumer: String,
    /// Whether what nobody asks for stays at the server.
    holds: bool,
    /// Whether the settings say what is consumed, whatever functions ask for.
    ordered: bool,
    topics: watch::Receiver<Arc<TopicMap>>,
    /// Empty for a bound consumer: everything is its own.
    owners: watch::Receiver<Owners>,
    known: Mutex<Arc<Known>>,
}

impl Share {
    pub(crate) fn new(
        consumer: &str,
        ordered: bool,
        intake: &Intake,
        owners: watch::Receiver<Owners>,
    ) -> Self {
        let holds = intake.config().unmatched == UnmatchedPolicy::Hold;
        let topics = intake.topics();
        let known = Known::new(topics.borrow().clone(), owners.borrow().clone(), ordered);
        let known = Mutex::new(Arc::new(known));
        Self { consumer: consumer.to_owned(), holds, ordered, topics, owners, known }
    }

    /// Whether anybody may want what the consumer brings: otherwise it stays at the server.
    pub(crate) fn is_wanted(&self, delivers: &[Filter]) -> bool {
        if !self.holds {
            return true;
        }
        let known = self.known();
        if known.owners.is_empty() {
            let mut wishes = wishes(&known.map).map(|(wish, _)| wish);
            return wishes.any(|wish| delivers.iter().any(|mine| mine.overlaps(&wish)));
        }
        let mut serving = known.serving.values().flatten();
        serving.any(|index| known.owners[*index].name == self.consumer)
    }

    /// Who is called with a message on `subject`; `asked`: none but these. `None`: it is to be
    /// acknowledged without a call.
    pub(crate) fn callees(
        self: &Arc<Self>,
        subject: &str,
        asked: Option<Vec<FunctionName>>,
    ) -> Option<Callees> {
        let known = self.known();
        if asked.is_none() && known.owners.len() <= 1 {
            return Some(Callees { among: None });
        }
        let functions = known.map.functions(subject);
        let is_waiting = functions.is_empty() && asked.is_none();
        let (share, to) = (Arc::clone(self), subject.to_owned());
        let is_meant = move |function: &FunctionName| {
            asked.as_ref().is_none_or(|asked| asked.contains(function))
                && share.calls(function, &to)
        };
        let is_ours = if is_waiting {
            // Its functions may be on their way back, and whose they are is seen then.
            self.holds || known.caller(None, subject).is_none_or(|it| self.is(it))
        } else {
            functions.iter().any(|mapping| is_meant(&mapping.function))
        };
        is_ours.then(|| Callees { among: Some(Among::new(is_meant)) })
    }

    /// What may change the answers given here.
    pub(crate) fn changes(&self) -> Changes {
        Changes { topics: self.topics.clone(), owners: self.owners.clone() }
    }

    fn calls(&self, function: &FunctionName, subject: &str) -> bool {
        let function = Some(function).filter(|_| self.holds);
        self.known().caller(function, subject).is_none_or(|it| self.is(it))
    }

    fn is(&self, owner: &Owner) -> bool {
        owner.name == self.consumer
    }

    fn known(&self) -> Arc<Known> {
        let (map, owners) = (self.topics.borrow().clone(), self.owners.borrow().clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.map, &map) || !Arc::ptr_eq(&known.owners, &owners) {
            *known = Arc::new(Known::new(map, owners, self.ordered));
        }
        Arc::clone(&known)
    }
}

/// Tells of changes of topics and consumers.
pub(crate) struct Changes {
    topics: watch::Receiver<Arc<TopicMap>>,
    owners: watch::Receiver<Owners>,
}

impl Changes {
    /// Resolves at the next one. `None`: there will be none any more.
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<()> {
        tokio::select! {
            changed = self.topics.changed() => changed.ok(),
            changed = self.owners.changed() => changed.ok(),
        }
    }
}

/// Topics and consumers, and what follows from them.
struct Known {
    map: Arc<TopicMap>,
    owners: Owners,
    /// By which of `owners` each function is served, ascending.
    serving: HashMap<FunctionName, Vec<usize>>,
}

impl Known {
    fn new(map: Arc<TopicMap>, owners: Owners, ordered: bool) -> Self {
        let mut serving: HashMap<FunctionName, Vec<usize>> = HashMap::new();
        for (wish, functions) in wishes(&map) {
            let by = serving_one(&wish, &owners, ordered);
            for function in functions.iter() {
                serving.entry(function.clone()).or_default().extend(&by);
            }
        }
        for by in serving.values_mut() {
            by.sort_unstable();
            by.dedup();
        }
        Self { map, owners, serving }
    }

    /// Who calls `function` for a message on `subject`. Where none of those that serve it brings
    /// the message, the oldest that does.
    fn caller(&self, function: Option<&FunctionName>, subject: &str) -> Option<&Owner> {
        let serving = function.and_then(|function| self.serving.get(function));
        let mut serving = serving.into_iter().flatten().map(|index| &self.owners[*index]);
        let brings = |owner: &&Owner| owner.filter.matches(subject);
        serving.find(brings).or_else(|| self.owners.iter().find(brings))
    }
}

/// Which of `owners` serve a topic. One that brings other subjects too, and not all of this one,
/// does so only by order: another is about to be created for it.
fn serving_one(topic: &Filter, owners: &[Owner], ordered: bool) -> Vec<usize> {
    let whole = owners.iter().position(|owner| owner.filter.covers(topic));
    let by_order = ordered && whole.is_none();
    let serves = |(index, owner): (usize, &Owner)| {
        let serves = Some(index) == whole
            || topic.covers(&owner.filter)
            || by_order && topic.overlaps(&owner.filter);
        serves.then_some(index)
    };
    owners.iter().enumerate().filter_map(serves).collect()
}

fn wishes(map: &TopicMap) -> impl Iterator<Item = (Filter, &Arc<[FunctionName]>)> {
    map.wishes().iter().filter_map(|wish| Some((Filter::parse(&wish.item).ok()?, &wish.functions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_served_by_what_brings_all_of_it_or_nothing_else() {
        let filter = |text| Filter::parse(text).unwrap();
        let owner = |filter| Owner { created: 0, name: String::new(), filter };
        let owners = ["a.b.*", "a.*.c", "a.>", "*.b.d"].map(|text| owner(filter(text)));
        for (topic, wanted) in [
            ("a.b.*", &[0][..]),
            ("a.*.c", &[1]),
            ("a.b.c", &[0]),
            ("a.b.>", &[0, 2]),
            ("a.>", &[0, 1, 2]),
            ("*.b.*", &[0, 3]),
            ("b.b.d", &[3]),
            ("x.b.*", &[]),
        ] {
            assert_eq!(serving_one(&filter(topic), &owners, false), wanted, "{topic}");
        }
        assert_eq!(serving_one(&filter("x.b.*"), &owners, true), [3]);
    }
}
