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

use crate::dead_letter::Address;
use crate::event::FunctionName;
use crate::retry::RetryPolicy;

/// The annotation by which a function asks for events.
pub const TOPIC: &str = "topic";
/// The annotation that names where a function's dead letters go.
pub const DEAD_LETTER: &str = "connector.dead-letter";
/// The annotation that bounds the running calls of a function.
pub const CONCURRENCY: &str = "connector.concurrency";
/// The annotation that says whether a function is called through the gateway's queue.
pub const ASYNC: &str = "connector.async";

/// The words that bind an item to one kind of source. They are part of the annotation's grammar,
/// which every connector must read alike: `sqs:orders` would be a legal NATS subject.
const KINDS: [&str; 5] = ["kafka", "sqs", "nats", "mqtt", "cron"];

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

/// What this connector makes of annotations.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The kind of source: [`Source::KIND`](crate::Source::KIND).
    pub kind: &'static str,
    /// What separates the items of an annotation. Empty: the whole annotation is one item.
    pub delimiter: String,
    /// How the source reads one item: [`Source::pattern`](crate::Source::pattern).
    pub pattern: fn(&str) -> Result<Pattern, String>,
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

/// A topic map in the making.
#[derive(Default)]
struct Build {
    mappings: Vec<Arc<Mapping>>,
    items: HashMap<Arc<str>, Item>,
    skipped: Vec<Skipped>,
}

/// What the source made of one item, and the positions of the functions that ask for it.
struct Item {
    pattern: Result<Pattern, String>,
    indices: Vec<usize>,
}

impl Build {
    fn read(&mut self, function: &Function, rules: &Rules) {
        let Some(topics) = function.annotations.get(TOPIC) else {
            return;
        };
        let index = self.mappings.len();
        let mut mapped = false;
        let whole = rules.delimiter.is_empty().then_some(&**topics);
        let parts = whole.is_none().then(|| topics.split(&*rules.delimiter));
        for item in whole.into_iter().chain(parts.into_iter().flatten()) {
            let item = item.trim();
            if item.is_empty() {
                continue;
            }
            match self.item(index, item, rules) {
                Ok(()) => mapped = true,
                Err((reason, foreign)) => self.skip(function, TOPIC, item, reason, foreign),
            }
        }
        if mapped {
            let mapping = self.mapping(function, rules);
            self.mappings.push(Arc::new(mapping));
        }
    }

    /// Notes that the function at `index` asks for `item`, or says why it is not used and whether
    /// that is because it is another source's.
    fn item(&mut self, index: usize, item: &str, rules: &Rules) -> Result<(), (String, bool)> {
        let bound = item.split_once(':').filter(|(kind, _)| KINDS.contains(kind));
        let text = match bound {
            Some((kind, _)) if kind != rules.kind => {
                return Err((format!("it is meant for the {kind} connector"), true));
            }
            Some((kind, text)) if text.trim().is_empty() => {
                return Err((format!("nothing follows `{kind}:`"), false));
            }
            Some((_, text)) => text.trim(),
            None => item,
        };
        // The source is asked once for each distinct item: compiling a pattern can be costly.
        if !self.items.contains_key(text) {
            let item = Item { pattern: (rules.pattern)(text), indices: Vec::new() };
            self.items.insert(text.into(), item);
        }
        let Some(Item { pattern, indices }) = self.items.get_mut(text) else {
            return Ok(());
        };
        if let Err(reason) = pattern {
            return Err((reason.clone(), false));
        }
        // An annotation may repeat an item.
        if indices.last() != Some(&index) {
            indices.push(index);
        }
        Ok(())
    }

    fn mapping(&mut self, function: &Function, rules: &Rules) -> Mapping {
        let annotations = &function.annotations;
        let (retry, ignored) = rules.retry.with_annotations(annotations);
        for (annotation, reason) in ignored {
            let text = annotations.get(annotation).map_or("", |text| text);
            self.skip(function, annotation, text, reason, false);
        }
        let dead_letter = annotations.get(DEAD_LETTER).and_then(|text| {
            letter_address(text, &function.name, rules.letter_scheme)
                .map_err(|reason| self.skip(function, DEAD_LETTER, text, reason, false))
                .ok()
        });
        let concurrency = annotations.get(CONCURRENCY).and_then(|text| {
            let number = text.trim().parse().ok().filter(|number| *number >= 1);
            if number.is_none() {
                let reason = "it takes a whole number from 1".to_owned();
                self.skip(function, CONCURRENCY, text, reason, false);
            }
            number
        });
        let asynchronous = annotations.get(ASYNC).and_then(|text| {
            let flag = text.trim().parse().ok();
            if flag.is_none() {
                self.skip(function, ASYNC, text, "it takes true or false".to_owned(), false);
            }
            flag
        });
        Mapping {
            asynchronous,
            function: function.name.clone(),
            annotations: Arc::clone(annotations),
            retry,
            dead_letter,
            concurrency,
        }
    }

    fn skip(
        &mut self,
        function: &Function,
        annotation: &'static str,
        item: &str,
        reason: String,
        foreign: bool,
    ) {
        let function = function.name.clone();
        self.skipped.push(Skipped { function, annotation, item: item.into(), reason, foreign });
    }

    fn finish(self) -> TopicMap {
        let Self { mappings, items, skipped } = self;
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut exact: HashMap<Arc<str>, Vec<usize>> = HashMap::with_capacity(items.len());
        let mut many = Vec::new();
        let mut wishes = Vec::with_capacity(items.len());
        for (item, Item { pattern, indices }) in items {
            let Ok(pattern) = pattern else {
                continue;
            };
            let names = indices.iter().filter_map(|index| mappings.get(*index));
            let functions = names.map(|mapping| mapping.function.clone()).collect();
            match &pattern {
                // Two spellings may mean one topic: the name and the address of a queue.
                Pattern::Exact(topic) => {
                    exact.entry(Arc::clone(topic)).or_default().extend(indices);
                }
                Pattern::Many { matches, .. } => {
                    many.push(Many { matches: Arc::clone(matches), indices });
                }
            }
            wishes.push(Wish { item, pattern, functions });
        }
        let matched = |mut indices: Vec<usize>| {
            indices.sort_unstable();
            indices.dedup();
            let functions = choose(&mappings, &indices);
            Matched { indices, functions }
        };
        let exact = exact.into_iter().map(|(topic, indices)| (topic, matched(indices))).collect();
        let names = mappings.iter().enumerate();
        let by_name = names.map(|(index, it)| (it.function.clone(), index)).collect();
        TopicMap {
            by_name,
            exact,
            many,
            wishes,
            skipped,
            nobody: Arc::new([]),
            found: RwLock::default(),
            mappings,
        }
    }
}

/// Whether the gateway's routes take this name.
pub(crate) fn is_function_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Reads a function's own dead-letter address. Letters to itself would fail as the event did.
fn letter_address(
    text: &str,
    function: &FunctionName,
    scheme: Option<&str>,
) -> Result<Address, String> {
    let address = Address::parse(text, scheme).map_err(|why| format!("`{}` {why}", text.trim()))?;
    match &address {
        Address::Function(target) if !is_function_name(target.as_str()) => {
            Err(format!("`{target}` is not the name of a function"))
        }
        Address::Function(target) if target == function => {
            Err("a function cannot take its own dead letters".into())
        }
        // Without a namespace a name means one in the provider's default namespace, which may be
        // this function's.
        Address::Function(target) if target.as_str() == function.short() => Err(format!(
            "a function cannot take its own dead letters; for `{target}` in another namespace write its full name"
        )),
        _ => Ok(address),
    }
}

#[cfg(test)]
#[path = "topics/tests.rs"]
mod tests;
