//! What ten thousand functions cost: reading their listing and making the topic map of it, and looking up a topic.
//!
//! `cargo bench -p connector-core --features testing --bench mapping` prints rows of a table; `make bench` writes them
//! into `docs/performance.md`.

#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_core::FunctionName;
use connector_core::retry::{Backoff, RetryPolicy};
use connector_core::testing::read_listing;
use connector_core::topics::{Catalog, Function, Pattern, Rules, TopicMap};

const FUNCTIONS: usize = 10_000;
/// How many different patterns there are: each is tried on a topic that was not seen lately.
const PATTERNS: usize = 500;
/// How many topics are looked up in turn: fewer than the map remembers.
const TOPICS: usize = 1_000;
const LOOKUPS: usize = 1_000_000;
const RUNS: usize = 11;

fn main() {
    let (exact, wild) = (listing(|n| format!("topic-{n}")), listing(with_pattern));
    row("listing of 10,000 functions read and mapped: one topic each", || map(&exact));
    row("the like: a topic, a shared one of 100, and one of 500 patterns each", || map(&wild));
    let (exact, wild) = (map(&exact), map(&wild));
    let topics: Vec<_> = (0..TOPICS).map(|n| format!("topic-{n}")).collect();
    each("one match, no patterns", LOOKUPS, || look_up(&exact, &topics));
    each("one match, patterns, a topic that was seen lately", LOOKUPS, || look_up(&wild, &topics));
    let mut run = 0;
    each("one match, patterns, a topic that was not", TOPICS, || {
        run += 1;
        for n in 0..TOPICS {
            black_box(wild.functions(&format!("new-{run}-{n}")));
        }
    });
}

fn with_pattern(n: usize) -> String {
    format!("topic-{n},shared-{},wild-{}-*", n % 100, n % PATTERNS)
}

fn look_up(map: &TopicMap, topics: &[String]) {
    for topic in topics.iter().cycle().take(LOOKUPS) {
        black_box(map.functions(topic));
    }
}

/// The gateway's answer, with what faasd says of each function.
fn listing(topics: impl Fn(usize) -> String) -> String {
    let mut text = String::from("[");
    for n in 0..FUNCTIONS {
        let comma = if n > 0 { "," } else { "" };
        let topics = topics(n);
        write!(
            text,
            r#"{comma}{{"name":"function-{n}","image":"example.com/function-{n}:latest","namespace":"openfaas-fn","envProcess":"","labels":{{"team":"billing"}},"annotations":{{"topic":"{topics}","schedule":"* * * * *"}},"replicas":1,"availableReplicas":1,"createdAt":"2026-01-01T00:00:00Z"}}"#
        )
        .expect("it is a string");
    }
    text + "]"
}

fn map(listing: &str) -> TopicMap {
    let listed = read_listing(listing.as_bytes()).expect("it is a listing");
    let functions = listed.into_iter().map(|(name, namespace, annotations)| Function {
        name: FunctionName::new(format!(
            "{}.{}",
            name.unwrap_or_default(),
            namespace.unwrap_or_default()
        )),
        annotations: Arc::new(annotations),
    });
    TopicMap::build(&functions.collect::<Catalog>(), &rules())
}

/// Patterns end in `*`.
fn rules() -> Rules {
    let retry = RetryPolicy::try_new(
        Some(3),
        Duration::from_secs(1),
        Duration::from_secs(60),
        BTreeSet::from([503]),
        Backoff::Full,
    );
    let pattern = |item: &str| {
        let Some(stem) = item.strip_suffix('*').map(str::to_owned) else {
            return Ok(Pattern::Exact(item.into()));
        };
        let matches = Arc::new(move |topic: &str| topic.starts_with(&stem));
        Ok(Pattern::Many { text: item.into(), matches })
    };
    Rules {
        kind: "bench",
        delimiter: ",".to_owned(),
        pattern: Arc::new(pattern),
        letter_scheme: None,
        retry: retry.expect("the first wait is shorter than the longest"),
    }
}

fn row<T>(what: &str, run: impl FnMut() -> T) {
    let shown = |took: f64| format!("{:.1} ms", took * 1e3);
    print_row(what, run, shown);
}

fn each<T>(what: &str, times: usize, run: impl FnMut() -> T) {
    let shown = |took: f64| format!("{:.0} ns", took * 1e9 / times as f64);
    print_row(what, run, shown);
}

/// The median of some runs, then the fastest and the slowest. The first is not counted: it warms up.
fn print_row<T>(what: &str, mut run: impl FnMut() -> T, shown: impl Fn(f64) -> String) {
    black_box(run());
    let mut took: Vec<_> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            black_box(run());
            began.elapsed().as_secs_f64()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let (median, least, most) = (took[RUNS / 2], took[0], took[RUNS - 1]);
    println!("| {what} | {} | {} to {} |", shown(median), shown(least), shown(most));
}
