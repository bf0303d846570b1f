use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::retry::Backoff;

/// A source whose topics are lower-case words and whose patterns end in `*`.
fn pattern(item: &str) -> Result<Pattern, Unused> {
    if item.contains(|c: char| c.is_ascii_uppercase()) {
        let why = format!("`{item}` is not in lower case");
        return Err(Unused::by_characters(item, &['/'], why));
    }
    let Some(stem) = item.strip_suffix('*') else {
        return Ok(Pattern::Exact(item.into()));
    };
    let stem = stem.to_owned();
    let matches = Arc::new(move |topic: &str| topic.starts_with(&stem));
    Ok(Pattern::Many { text: item.into(), matches })
}

fn rules() -> Rules {
    let retry = RetryPolicy::try_new(
        Some(10),
        Duration::from_secs(1),
        Duration::from_secs(120),
        BTreeSet::from([503]),
        Backoff::Full,
    );
    Rules {
        kind: "kafka",
        delimiter: ",".into(),
        pattern: Arc::new(pattern),
        letter_scheme: Some("topic"),
        retry: retry.unwrap(),
    }
}

fn function(name: &str, annotations: &[(&str, &str)]) -> Function {
    let pairs = annotations.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Function { name: FunctionName::new(name), annotations: Arc::new(pairs.collect()) }
}

/// A map of functions with nothing but a `topic` annotation.
fn map(functions: &[(&str, &str)]) -> TopicMap {
    let catalog = functions.iter().map(|(name, topics)| function(name, &[(TOPIC.name, topics)]));
    TopicMap::build(&catalog.collect(), &rules())
}

fn names(map: &TopicMap, topic: &str) -> Vec<String> {
    map.functions(topic).iter().map(|mapping| mapping.function.to_string()).collect()
}

fn only(annotations: &[(&str, &str)]) -> TopicMap {
    let annotations = [&[(TOPIC.name, "orders")], annotations].concat();
    TopicMap::build(&[function("f.ns", &annotations)].into_iter().collect(), &rules())
}

#[test]
fn items_are_split_and_trimmed_and_empty_ones_dropped() {
    let map = map(&[("a", " orders ,, bills,"), ("b", ""), ("c", " , ")]);
    assert_eq!(names(&map, "orders"), ["a"]);
    assert_eq!(names(&map, "bills"), ["a"]);
    assert_eq!(names(&map, ""), [""; 0]);
    assert_eq!(map.functions_count(), 1);
    assert_eq!(map.skipped(), []);
}

#[test]
fn an_empty_delimiter_splits_nothing() {
    let rules = Rules { delimiter: String::new(), ..rules() };
    let catalog = [function("a", &[(TOPIC.name, "x,y")])].into_iter().collect();
    assert_eq!(names(&TopicMap::build(&catalog, &rules), "x,y"), ["a"]);
}

#[test]
fn a_function_that_matches_twice_is_called_once() {
    let map = map(&[("b", "orders,or*,o*"), ("a", "o*"), ("c", "orders,orders")]);
    assert_eq!(names(&map, "orders"), ["a", "b", "c"]);
    assert_eq!(names(&map, "other"), ["a", "b"]);
    assert!(!map.is_mapped("bills"));
}

#[test]
fn an_item_may_be_bound_to_one_kind_of_source() {
    let map = map(&[("a", "kafka: orders,sqs:orders,nats:>"), ("b", "kafka:"), ("c", "team:x")]);
    assert_eq!(names(&map, "orders"), ["a"]);
    assert_eq!(names(&map, "team:x"), ["c"]);
    let skipped: Vec<_> = map.skipped().iter().map(|it| (&*it.item, it.foreign)).collect();
    assert_eq!(skipped, [("sqs:orders", true), ("nats:>", true), ("kafka:", false)]);
}

#[test]
fn the_source_says_what_is_plainly_anothers() {
    let map = map(&[("a", "Sensors/1,Orders,orders")]);
    let skipped: Vec<_> = map.skipped().iter().map(|it| (&*it.item, it.foreign)).collect();
    assert_eq!(skipped, [("Sensors/1", true), ("Orders", false)]);
}

#[test]
fn what_the_source_refuses_is_skipped_with_its_reason() {
    let map = map(&[("a", "Orders,bills"), ("b", "Orders")]);
    assert_eq!(map.functions_count(), 1);
    let told: Vec<_> = map.skipped().iter().map(|it| (it.function.as_str(), &*it.reason)).collect();
    let reason = "`Orders` is not in lower case";
    assert_eq!(told, [("a", reason), ("b", reason)]);
}

#[test]
fn wishes_name_each_item_once_and_who_asks() {
    let map = map(&[("a", "orders,kafka:orders,o*"), ("b", "orders"), ("c", "sqs:orders,Bad")]);
    let wishes: Vec<_> =
        map.wishes().iter().map(|wish| (&*wish.item, wish.functions.len())).collect();
    assert_eq!(wishes, [("o*", 1), ("orders", 2)]);
    assert!(map.wishes()[0].pattern.matches("other"));
}

#[test]
fn a_function_without_a_usable_item_has_no_mapping() {
    let map = map(&[("a", "sqs:x"), ("b", "orders")]);
    assert!(map.mapping(&FunctionName::new("a")).is_none());
    assert!(map.mapping(&FunctionName::new("b")).is_some());
}

#[test]
fn annotations_change_what_is_done_for_one_function() {
    let map = only(&[
        ("com.openfaas.retry.attempts", "3"),
        (DEAD_LETTER.name, "topic:orders-dead"),
        (CONCURRENCY.name, " 4 "),
    ]);
    assert_eq!(map.skipped(), []);
    let mapping = map.mapping(&FunctionName::new("f.ns")).unwrap();
    assert_eq!(mapping.retry.attempts(), Some(3));
    assert_eq!(mapping.dead_letter, Some(Address::Broker("orders-dead".into())));
    assert_eq!(mapping.concurrency, Some(4));
}

#[test]
fn an_annotation_that_cannot_be_read_is_skipped_and_told() {
    for (annotation, text) in [
        ("com.openfaas.retry.codes", "oops"),
        (CONCURRENCY.name, "0"),
        (CONCURRENCY.name, "many"),
        (DEAD_LETTER.name, "queue:x"),
        (DEAD_LETTER.name, "topic:"),
        (DEAD_LETTER.name, "function:a/b"),
        (DEAD_LETTER.name, "function:f.ns"),
        (DEAD_LETTER.name, "function:f"),
    ] {
        let map = only(&[(annotation, text)]);
        let mapping = map.mapping(&FunctionName::new("f.ns")).unwrap();
        assert_eq!((mapping.concurrency, &mapping.dead_letter), (None, &None), "{text}");
        let [skipped] = map.skipped() else {
            panic!("{annotation}={text}: {:?}", map.skipped());
        };
        assert_eq!((skipped.annotation, &*skipped.item), (annotation, text));
    }
}

#[test]
fn a_catalog_has_each_name_once_in_any_order() {
    let (a, b) = (function("a", &[(TOPIC.name, "x")]), function("b", &[]));
    let one: Catalog = [b.clone(), a.clone(), b.clone()].into_iter().collect();
    let other: Catalog = [a.clone(), b].into_iter().collect();
    assert_eq!(one, other);
    assert_ne!(other, [a, function("b", &[("k", "v")])].into_iter().collect());
}

#[test]
fn the_memory_of_topics_is_bounded_and_changes_no_answer() {
    let map = map(&[("all", "*"), ("odd", "t1*,t3,t5*"), ("one", "t7")]);
    for round in 0..3 {
        for n in 0..3 * REMEMBERED {
            let topic = format!("t{n}");
            let fresh = map.search(&topic);
            assert_eq!(map.functions(&topic).len(), fresh.len(), "{topic} in round {round}");
            assert_eq!(map.functions("t7").len(), 2);
        }
    }
    assert_eq!(names(&map, &"t".repeat(10_000)), ["all"]);
    let found = map.found.read().unwrap();
    assert!(found.new.len() <= REMEMBERED && found.old.len() <= REMEMBERED);
    assert!(found.new.contains_key("t7") || found.old.contains_key("t7"));
}

/// The size that the budgets speak of. Its time in a release build is that of the mapping.
#[test]
fn ten_thousand_functions_are_mapped() {
    let functions = (0..10_000).map(|n| {
        let topics = format!("topic-{n},shared-{},wild-{}-*", n % 100, n % 500);
        function(
            &format!("function-{n}.openfaas-fn"),
            &[(TOPIC.name, &topics), ("schedule", "* * * * *")],
        )
    });
    let map = TopicMap::build(&functions.collect(), &rules());
    assert_eq!(map.functions_count(), 10_000);
    assert_eq!(map.functions("shared-7").len(), 100);
    assert_eq!(map.functions("wild-7-x").len(), 20);
    for n in 0..10_000 {
        assert_eq!(map.functions(&format!("topic-{n}")).len(), 1);
    }
}

proptest! {
    /// The map finds exactly the functions that a search through all annotations finds.
    #[test]
    fn matching_agrees_with_a_plain_search(
        annotations in proptest::collection::vec("[abB*:, ]{0,8}", 0..12),
        topics in proptest::collection::vec("[ab:]{0,4}", 1..8),
    ) {
        let named: Vec<_> = annotations.iter().enumerate().map(|(n, text)| (format!("f{n:02}"), text)).collect();
        let pairs: Vec<_> = named.iter().map(|(name, text)| (&**name, &***text)).collect();
        let map = map(&pairs);
        for topic in topics.iter().chain(&topics) {
            let wanted: Vec<_> = pairs
                .iter()
                .filter(|(_, text)| {
                    let mut items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                    items.any(|item| pattern(item).is_ok_and(|it| it.matches(topic)))
                })
                .map(|(name, _)| *name)
                .collect();
            prop_assert_eq!(names(&map, topic), wanted);
        }
    }
}

#[test]
fn a_function_says_whether_it_is_called_through_the_queue() {
    let of = |map: &TopicMap| map.mapping(&FunctionName::new("f.ns")).unwrap().asynchronous;
    assert_eq!(of(&only(&[])), None);
    assert_eq!(of(&only(&[(ASYNC.name, " true ")])), Some(true));
    assert_eq!(of(&only(&[(ASYNC.name, "false")])), Some(false));
    for text in ["", "True", "1", "yes"] {
        let map = only(&[(ASYNC.name, text)]);
        assert_eq!(of(&map), None, "{text}");
        assert_eq!(map.skipped()[0].reason, "it takes true or false", "{text}");
    }
}
