//! Reading the annotations: from a catalog to a topic map.
//!
//! One pass over the functions. Each item is given to the source once, however many functions
//! have it; what cannot be used is skipped with its reason.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::{
    ASYNC, CONCURRENCY, DEAD_LETTER, Function, Many, Mapping, Matched, Pattern, Rules, Skipped,
    TOPIC, TopicMap, Unused, Wish, choose,
};
use crate::annotations::Annotation;
use crate::dead_letter::Address;
use crate::event::FunctionName;

/// The words that bind an item to one kind of source. They are part of the annotation's grammar,
/// which every connector must read alike: `sqs:orders` would be a legal NATS subject.
const KINDS: [&str; 5] = ["kafka", "sqs", "nats", "mqtt", "cron"];

/// A topic map in the making.
#[derive(Default)]
pub(super) struct Build {
    mappings: Vec<Arc<Mapping>>,
    items: HashMap<Arc<str>, Item>,
    skipped: Vec<Skipped>,
    unmapped: Vec<FunctionName>,
}

/// What the source made of one item, and the positions of the functions that ask for it.
struct Item {
    pattern: Result<Pattern, Unused>,
    indices: Vec<usize>,
}

impl Build {
    pub(super) fn read(&mut self, function: &Function, rules: &Rules) {
        let Some(topics) = TOPIC.of(&function.annotations) else {
            self.unmapped.push(function.name.clone());
            return;
        };
        let index = self.mappings.len();
        let mut mapped = false;
        let whole = rules.delimiter.is_empty().then_some(topics);
        let parts = whole.is_none().then(|| topics.split(&*rules.delimiter));
        for item in whole.into_iter().chain(parts.into_iter().flatten()) {
            let item = item.trim();
            if item.is_empty() {
                continue;
            }
            match self.item(index, item, rules) {
                Ok(()) => mapped = true,
                Err(Unused::Mistaken(why)) => self.skip(function, TOPIC, item, why, false),
                Err(Unused::Foreign(why)) => self.skip(function, TOPIC, item, why, true),
            }
        }
        if mapped {
            let mapping = self.mapping(function, rules);
            self.mappings.push(Arc::new(mapping));
        } else {
            self.unmapped.push(function.name.clone());
        }
    }

    /// Notes that the function at `index` asks for `item`, or says why it is not used.
    fn item(&mut self, index: usize, item: &str, rules: &Rules) -> Result<(), Unused> {
        let bound = item.split_once(':').filter(|(kind, _)| KINDS.contains(kind));
        let text = match bound {
            Some((kind, _)) if kind != rules.kind => {
                return Err(Unused::Foreign(format!("it is meant for the {kind} connector")));
            }
            Some((kind, text)) if text.trim().is_empty() => {
                return Err(Unused::Mistaken(format!("nothing follows `{kind}:`")));
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
        if let Err(unused) = pattern {
            return Err(unused.clone());
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
            let text = annotation.of(annotations).unwrap_or_default();
            self.skip(function, annotation, text, reason, false);
        }
        let dead_letter = DEAD_LETTER.of(annotations).and_then(|text| {
            letter_address(text, &function.name, rules.letter_scheme)
                .map_err(|reason| self.skip(function, DEAD_LETTER, text, reason, false))
                .ok()
        });
        let concurrency = CONCURRENCY.of(annotations).and_then(|text| {
            let number = text.trim().parse().ok().filter(|number| *number >= 1);
            if number.is_none() {
                let reason = "it takes a whole number from 1".to_owned();
                self.skip(function, CONCURRENCY, text, reason, false);
            }
            number
        });
        let asynchronous = ASYNC.of(annotations).and_then(|text| {
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
        annotation: Annotation,
        item: &str,
        reason: String,
        foreign: bool,
    ) {
        let function = function.name.clone();
        let annotation = annotation.name;
        self.skipped.push(Skipped { function, annotation, item: item.into(), reason, foreign });
    }

    pub(super) fn finish(self) -> TopicMap {
        let Self { mappings, items, skipped, unmapped } = self;
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
            unmapped,
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
