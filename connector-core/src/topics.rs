//! From annotations to functions: the topic map.
//!
//! A function asks for events by its `topic` annotation, a list of items. The map is a pure
//! function of the catalog (what the gateway lists) and the [`Rules`] (what this connector makes
//! of an item). Building it cannot fail: whatever it cannot use it skips, and tells what and why.
//!
//! An item may be bound to one kind of source: `kafka:orders` is read by the Kafka connector as
//! `orders` and by no other. An item without such a word is read by every connector, and each
//! skips what makes no sense to it.
//!
//! Here is no asking and no waiting: [`crate::gateway`] lists, [`crate::roster`] decides what a
//! missing function means.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::annotations::Annotation;
use crate::dead_letter::Address;
use crate::event::FunctionName;
use crate::retry::RetryPolicy;

mod build;

use self::build::Build;
pub(crate) use self::build::is_function_name;

/// The annotation by which a function asks for events.
pub const TOPIC: Annotation = Annotation {
    name: "topic",
    takes: "a list, separated by `topic_delimiter`, a comma; an item may be bound to one kind of connector: \
            `kafka:orders`",
    default: "the function is not called",
    help: "Asks for events: what an item may be is each connector's own. What a connector cannot read it passes over, \
           since it may be another's.",
};
/// The annotation that names where a function's dead letters go.
pub const DEAD_LETTER: Annotation = Annotation {
    name: "connector.dead-letter",
    takes: "`drop`, `hold`, `function:NAME`, or a place at the connector's own broker",
    default: "`dead_letter`",
    help: "Where an event goes that the function will not answer well.",
};
/// The annotation that bounds the running calls of a function.
pub const CONCURRENCY: Annotation = Annotation {
    name: "connector.concurrency",
    takes: "a whole number from 1",
    default: "`function_concurrency`",
    help: "How many calls of the function may run at a time.",
};
/// The annotation that says whether a function is called through the gateway's queue.
pub const ASYNC: Annotation = Annotation {
    name: "connector.async",
    takes: "`true` or `false`",
    default: "`asynchronous_invocation`",
    help: "Whether the function is called through the gateway's queue. Answered well then means queued.",
};

/// How one item of a `topic` annotation matches, as a source reads it.
#[derive(Clone)]
pub enum Pattern {
    /// Matches exactly this topic.
    Exact(Arc<str>),
    /// Matches many: a wildcard or a regular expression.
    Many {
        /// The item as written.
        text: Arc<str>,
        /// Whether it matches a topic. Pure.
        matches: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    },
}

/// One function and what its annotations ask for.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The name it is called by.
    pub function: FunctionName,
    /// All its annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// How failed calls of it are repeated: the settings, changed by its annotations.
    pub retry: RetryPolicy,
    /// Where its dead letters go, if its annotations say so.
    pub dead_letter: Option<Address>,
    /// How many calls of it may run, if its annotations say so.
    pub concurrency: Option<usize>,
    /// Whether it is called through the gateway's queue, if its annotations say so.
    pub asynchronous: Option<bool>,
}

/// One function as the gateway lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name it is called by.
    pub name: FunctionName,
    /// All its annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
}

/// The functions that exist, sorted by name, each once. Equal catalogs make equal maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog(Vec<Function>);

/// Why a source makes no use of an item of an annotation, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unused {
    /// As far as the source can tell, somebody made a mistake.
    Mistaken(String),
    /// It is plainly meant for another kind of source: worth showing, not worth warning of.
    Foreign(String),
}

impl Unused {
    /// Foreign, if the item has any of these characters, which no item of this source has.
    #[must_use]
    pub fn by_characters(item: &str, foreign: &[char], why: String) -> Self {
        if item.contains(foreign) { Self::Foreign(why) } else { Self::Mistaken(why) }
    }
}

/// How a source reads one item of an annotation, or why it makes no use of it.
pub type ReadItem = dyn Fn(&str) -> Result<Pattern, Unused> + Send + Sync;

/// What this connector makes of annotations.
#[derive(Clone)]
pub struct Rules {
    /// The kind of source: [`Source::KIND`](crate::Source::KIND).
    pub kind: &'static str,
    /// What separates the items of an annotation. Empty: the whole annotation is one item.
    pub delimiter: String,
    /// How the source reads one item: [`Source::pattern`](crate::Source::pattern).
    pub pattern: Arc<ReadItem>,
    /// The scheme of dead-letter addresses at the source's broker:
    /// [`Source::LETTER_SCHEME`](crate::Source::LETTER_SCHEME).
    pub letter_scheme: Option<&'static str>,
    /// How failed calls are repeated where no annotation says otherwise.
    pub retry: RetryPolicy,
}

/// Something that annotations ask this source to consume. It may still be unknown at the broker.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The item as written, without the word that binds it to the kind of source.
    pub item: Arc<str>,
    /// How it matches.
    pub pattern: Pattern,
    /// Who asks for it, sorted by name.
    pub functions: Arc<[FunctionName]>,
}

/// An annotation, or one item of it, that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Skipped {
    /// Whose annotation.
    pub function: FunctionName,
    /// Which annotation.
    pub annotation: &'static str,
    /// The item as written; the whole text where the annotation is not a list.
    pub item: String,
    /// Why, as a sentence.
    pub reason: String,
    /// It is plainly meant for another kind of source: worth showing, not worth logging.
    pub foreign: bool,
}

/// Which functions an event goes to.
pub struct TopicMap {
    mappings: Vec<Arc<Mapping>>,
    by_name: HashMap<FunctionName, usize>,
    exact: HashMap<Arc<str>, Matched>,
    many: Vec<Many>,
    wishes: Vec<Wish>,
    skipped: Vec<Skipped>,
    unmapped: Vec<FunctionName>,
    nobody: Functions,
    /// What was found for topics that patterns had to be tried on.
    found: RwLock<Found>,
}

/// The functions for one topic, sorted by name.
type Functions = Arc<[Arc<Mapping>]>;

/// What an exact item leads to.
struct Matched {
    /// Positions in `mappings`, ascending.
    indices: Vec<usize>,
    functions: Functions,
}

/// A pattern and the positions of its functions, ascending.
struct Many {
    matches: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    indices: Vec<usize>,
}

impl Pattern {
    /// Whether it matches `topic`.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *topic,
            Self::Many { matches, .. } => matches(topic),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(topic) => f.debug_tuple("Exact").field(topic).finish(),
            Self::Many { text, .. } => f.debug_tuple("Many").field(text).finish(),
        }
    }
}

impl FromIterator<Function> for Catalog {
    /// Sorts by name. Of two functions with one name the first is taken.
    fn from_iter<I: IntoIterator<Item = Function>>(functions: I) -> Self {
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        functions.dedup_by(|b, a| a.name == b.name);
        Self(functions)
    }
}

impl Catalog {
    /// The functions, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Function> {
        self.0.iter()
    }

    /// How many functions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TopicMap {
    /// Reads the annotations of all functions. Total: what cannot be used is in
    /// [`skipped`](Self::skipped).
    #[must_use]
    pub fn build(catalog: &Catalog, rules: &Rules) -> Self {
        let mut build = Build::default();
        for function in catalog.iter() {
            build.read(function, rules);
        }
        build.finish()
    }

    /// A map that leads nowhere: what there is before the first listing.
    #[must_use]
    pub fn empty() -> Self {
        Build::default().finish()
    }

    /// The functions mapped to `topic`, each once, sorted by name; empty if there is none.
    #[must_use]
    pub fn functions(&self, topic: &str) -> Arc<[Arc<Mapping>]> {
        if self.many.is_empty() {
            return Arc::clone(self.exact.get(topic).map_or(&self.nobody, |it| &it.functions));
        }
        let known = self.found.read().unwrap_or_else(PoisonError::into_inner).get(topic);
        if let Some((functions, true)) = known {
            return functions;
        }
        if let Some((functions, false)) = known {
            self.remember(topic, &functions);
            return functions;
        }
        let functions = self.search(topic);
        self.remember(topic, &functions);
        functions
    }

    /// Whether any function is mapped to `topic`.
    #[must_use]
    pub fn is_mapped(&self, topic: &str) -> bool {
        !self.functions(topic).is_empty()
    }

    /// What is known of one function. `None` if none of its annotations concerns this source.
    #[must_use]
    pub fn mapping(&self, function: &FunctionName) -> Option<&Arc<Mapping>> {
        self.by_name.get(function).and_then(|index| self.mappings.get(*index))
    }

    /// The listed function that a name means which somebody wrote: without a namespace the only
    /// one so called, in whichever it is. Where there are none or several, the name as it is.
    #[must_use]
    pub fn full_name(&self, name: &FunctionName) -> FunctionName {
        let listed = self.mappings.iter().map(|mapping| &mapping.function).chain(&self.unmapped);
        let mut meant = listed.filter(|function| function.short() == name.as_str());
        match (meant.next(), meant.next()) {
            (Some(only), None) => only.clone(),
            _ => name.clone(),
        }
    }

    /// All functions that are mapped to anything, sorted by name.
    pub fn mappings(&self) -> impl ExactSizeIterator<Item = &Arc<Mapping>> {
        self.mappings.iter()
    }

    /// What annotations ask this source to consume, each item once, sorted.
    #[must_use]
    pub fn wishes(&self) -> &[Wish] {
        &self.wishes
    }

    /// What was not used, and why, sorted by function.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The functions that exist and are mapped to nothing, sorted by name: they have no `topic`
    /// annotation, or none of its items is used.
    #[must_use]
    pub fn unmapped(&self) -> &[FunctionName] {
        &self.unmapped
    }

    /// How many functions are mapped to anything.
    #[must_use]
    pub fn functions_count(&self) -> usize {
        self.mappings.len()
    }

    fn search(&self, topic: &str) -> Functions {
        let exact = self.exact.get(topic);
        let mut indices: Vec<usize> = self
            .many
            .iter()
            .filter(|many| (many.matches)(topic))
            .flat_map(|many| many.indices.iter().copied())
            .collect();
        if indices.is_empty() {
            return Arc::clone(exact.map_or(&self.nobody, |it| &it.functions));
        }
        indices.extend(exact.into_iter().flat_map(|it| &it.indices));
        indices.sort_unstable();
        indices.dedup();
        choose(&self.mappings, &indices)
    }

    fn remember(&self, topic: &str, functions: &Functions) {
        if topic.len() <= LONGEST_REMEMBERED {
            let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
            found.insert(topic, functions);
        }
    }
}

impl fmt::Debug for TopicMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicMap")
            .field("functions", &self.mappings.len())
            .field("wishes", &self.wishes)
            .field("skipped", &self.skipped.len())
            .finish_non_exhaustive()
    }
}

fn choose(mappings: &[Arc<Mapping>], indices: &[usize]) -> Functions {
    indices.iter().filter_map(|index| mappings.get(*index)).map(Arc::clone).collect()
}

/// How many topics are remembered in each of two generations.
const REMEMBERED: usize = 4_096;
/// A longer topic is matched anew each time: publishers choose topics, and memory is bounded.
const LONGEST_REMEMBERED: usize = 512;

/// A bounded memory in two generations: when the new one is full it becomes the old one, and what
/// nobody asked for meanwhile is forgotten.
#[derive(Default)]
struct Found {
    new: HashMap<Box<str>, Functions>,
    old: HashMap<Box<str>, Functions>,
}

impl Found {
    /// What was found for `topic`, and whether it is of the new generation.
    fn get(&self, topic: &str) -> Option<(Functions, bool)> {
        let new = self.new.get(topic).map(|it| (Arc::clone(it), true));
        new.or_else(|| self.old.get(topic).map(|it| (Arc::clone(it), false)))
    }

    fn insert(&mut self, topic: &str, functions: &Functions) {
        if self.new.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(topic.into(), Arc::clone(functions));
    }
}

#[cfg(test)]
#[path = "topics/tests.rs"]
mod tests;
