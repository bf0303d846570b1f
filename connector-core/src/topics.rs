//! From annotations to functions: the topic map, a pure function of the catalog.

use std::sync::Arc;

use std::collections::BTreeMap;

use crate::event::FunctionName;
use crate::retry::RetryPolicy;

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
    pub dead_letter: Option<crate::dead_letter::Address>,
    /// How many calls of it may run, if its annotations say so.
    pub concurrency: Option<usize>,
}
