//! Filters against a matcher that is slow and obvious.

use proptest::prelude::*;

use super::*;

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

#[test]
fn what_no_server_takes_is_refused() {
    for text in
        ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\n", ">.a", "a.>.b", "https://q.example/1"]
    {
        assert!(Filter::parse(text).is_err(), "{text:?}");
    }
    for text in ["a", "a.b", "*", ">", "a.*.b", "a.>", "sensors/+/temp", "a*", "a.b>", "größe.1"]
    {
        assert!(Filter::parse(text).is_ok(), "{text:?}");
    }
    assert!(Filter::parse(&"a".repeat(LONGEST + 1)).is_err());
}

#[test]
fn a_star_is_one_token_and_an_arrow_is_one_or_more() {
    assert!(filter("orders.*").matches("orders.eu"));
    assert!(!filter("orders.*").matches("orders"));
    assert!(!filter("orders.*").matches("orders.eu.1"));
    assert!(filter("orders.>").matches("orders.eu.1"));
    assert!(!filter("orders.>").matches("orders"));
    assert!(!filter("a*").matches("ab"), "a star within a token is a star");
}

#[test]
fn what_the_protocol_keeps_to_itself_is_no_event_of_a_wildcard() {
    assert!(!filter(">").matches("$JS.ACK.s.c.1.1.1.1.0"));
    assert!(!filter("*.x").matches("_INBOX.x"));
    assert!(filter("$JS.EVENT.>").matches("$JS.EVENT.ADVISORY.x"));
    assert!(!filter(">").covers(&filter("$JS.EVENT.>")));
    assert!(!filter(">").overlaps(&filter("$JS.EVENT.>")));
}

#[test]
fn a_filter_that_another_covers_is_left_out() {
    let reduced = reduce(["a.b", "a.*", "a.*", "b.*.c", "b.x.*", "c"].map(filter));
    assert_eq!(reduced, ["a.*", "b.*.c", "b.x.*", "c"].map(filter));
}

/// Tokens from a small alphabet, so that filters meet.
fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b"])
}

fn subjects() -> impl Strategy<Value = String> {
    prop::collection::vec(token(), 1..5).prop_map(|tokens| tokens.join("."))
}

fn filters() -> impl Strategy<Value = Filter> {
    let one = prop::sample::select(vec!["a", "b", "*"]);
    (prop::collection::vec(one, 0..4), prop::option::of(Just(">"))).prop_filter_map(
        "a filter has a token",
        |(mut tokens, tail)| {
            tokens.extend(tail);
            (!tokens.is_empty()).then(|| filter(&tokens.join(".")))
        },
    )
}

/// By every way of reading the filter, one token at a time.
fn naive(filter: &[&str], subject: &[&str]) -> bool {
    match (filter, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", filter @ ..], [_, subject @ ..]) => naive(filter, subject),
        ([f, filter @ ..], [s, subject @ ..]) => f == s && naive(filter, subject),
        _ => false,
    }
}

/// Every subject over the alphabet, and one token it lacks, up to five tokens.
fn all_subjects() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last: Vec<String> = ["a", "b", "z"].map(str::to_owned).to_vec();
    for _ in 0..5 {
        all.extend(last.iter().cloned());
        last = last.iter().flat_map(|s| ["a", "b", "z"].map(|t| format!("{s}.{t}"))).collect();
    }
    all
}

proptest! {
    #[test]
    fn matching_is_what_the_obvious_matcher_says(filter in filters(), subject in subjects()) {
        let tokens: Vec<_> = filter.as_str().split('.').collect();
        let parts: Vec<_> = subject.split('.').collect();
        prop_assert_eq!(filter.matches(&subject), naive(&tokens, &parts));
    }

    #[test]
    fn covering_and_overlapping_are_what_all_subjects_say(a in filters(), b in filters()) {
        let all = all_subjects();
        let covers = all.iter().all(|s| !b.matches(s) || a.matches(s));
        let overlaps = all.iter().any(|s| a.matches(s) && b.matches(s));
        prop_assert_eq!(a.covers(&b), covers, "{} covers {}", a, b);
        prop_assert_eq!(a.overlaps(&b), overlaps, "{} overlaps {}", a, b);
    }

    #[test]
    fn reducing_keeps_every_subject(list in prop::collection::vec(filters(), 0..6), subject in subjects()) {
        let reduced = reduce(list.clone());
        let before = list.iter().any(|f| f.matches(&subject));
        prop_assert_eq!(reduced.iter().any(|f| f.matches(&subject)), before);
        for (i, a) in reduced.iter().enumerate() {
            for b in &reduced[i + 1..] {
                prop_assert!(!a.covers(b) && !b.covers(a));
            }
        }
    }
}
