//! Annotations that change, second by second.

use super::*;

const UNMAP_AFTER: Duration = Duration::from_secs(60);

/// The past of a process, and how its sessions stand.
struct World {
    past: Past,
    begun: Instant,
    subscribed: BTreeSet<Filter>,
    idle: BTreeMap<Filter, Instant>,
}

impl Standing for World {
    fn is_subscribed(&self, filter: &Filter) -> bool {
        self.subscribed.contains(filter)
    }

    fn idle_since(&self, filter: &Filter) -> Option<Instant> {
        self.idle.get(filter).copied()
    }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).expect("a filter")
}

impl World {
    fn new() -> Self {
        let (past, begun) = (Past::default(), Instant::now());
        Self { past, begun, subscribed: BTreeSet::new(), idle: BTreeMap::new() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.begun + Duration::from_secs(seconds)
    }

    /// What is to be when these functions ask for these filters: `f: a/b, leaves` for each session,
    /// and `over: a/b` for each that has ended.
    fn follow(&mut self, seconds: u64, asked: &[(&str, &str)]) -> Vec<String> {
        let mut wishes = Wishes::new();
        for (function, text) in asked {
            wishes.entry(filter(text)).or_default().insert(FunctionName::new(*function));
        }
        let mut past = std::mem::take(&mut self.past);
        let following = past.follow(&wishes, self, UNMAP_AFTER, self.at(seconds));
        self.past = past;
        let served = following.serving.iter().map(|kept| {
            let names: Vec<_> = kept.functions.iter().map(FunctionName::as_str).collect();
            let leaves = if kept.leaves { ", leaves" } else { "" };
            format!("{}: {}{leaves}", names.join(" "), kept.filter)
        });
        served.chain(following.over.iter().map(|it| format!("over: {it}"))).collect()
    }
}

#[test]
fn a_filter_is_left_once_the_broker_has_the_wider_one_and_ended_when_it_is_empty() {
    let mut world = World::new();
    assert_eq!(world.follow(0, &[("f", "a/b")]), ["f: a/b"]);
    let wider = [("f", "a/#")];
    assert_eq!(world.follow(1, &wider), ["f: a/#", "f: a/b"], "not before the broker has it");
    world.subscribed.insert(filter("a/#"));
    assert_eq!(world.follow(2, &wider), ["f: a/#", "f: a/b, leaves"]);
    assert_eq!(world.follow(1_000, &wider), ["f: a/#", "f: a/b, leaves"], "something is queued");
    world.idle.insert(filter("a/b"), world.at(1_001));
    assert_eq!(world.follow(1_002, &wider), ["f: a/#", "f: a/b, leaves"], "more may come");
    assert_eq!(world.follow(1_006, &wider), ["f: a/#", "over: a/b"]);
    assert_eq!(world.follow(1_007, &wider), ["f: a/#"]);
}

#[test]
fn a_long_silence_before_the_filter_is_left_says_nothing() {
    let mut world = World::new();
    assert_eq!(world.follow(0, &[("f", "a/b")]), ["f: a/b"]);
    world.idle.insert(filter("a/b"), world.at(0));
    world.subscribed.insert(filter("a/#"));
    assert_eq!(world.follow(100, &[("f", "a/#")]), ["f: a/#", "f: a/b, leaves"]);
    assert_eq!(world.follow(104, &[("f", "a/#")]), ["f: a/#", "f: a/b, leaves"]);
    assert_eq!(world.follow(105, &[("f", "a/#")]), ["f: a/#", "over: a/b"]);
}

#[test]
fn who_leaves_a_filter_that_another_asks_for_stays_until_it_is_empty() {
    let mut world = World::new();
    assert_eq!(world.follow(0, &[("f", "a/b"), ("g", "a/b")]), ["f g: a/b"]);
    world.subscribed.extend([filter("a/b"), filter("a/#")]);
    let apart = [("f", "a/#"), ("g", "a/b")];
    assert_eq!(world.follow(1, &apart), ["f: a/#", "f g: a/b"]);
    world.idle.insert(filter("a/b"), world.at(2));
    assert_eq!(world.follow(6, &apart), ["f: a/#", "f g: a/b"]);
    assert_eq!(world.follow(7, &apart), ["f: a/#", "g: a/b"]);
    // The last one leaves before the broker has its filter: another has no say in that.
    assert_eq!(
        world.follow(8, &[("f", "a/#"), ("g", "+/b")]),
        ["g: +/b", "f: a/#", "g: a/b"],
        "still subscribed"
    );
}

#[test]
fn what_nobody_asks_for_is_kept_for_a_while() {
    let mut world = World::new();
    assert_eq!(world.follow(0, &[("f", "a/b")]), ["f: a/b"]);
    assert_eq!(world.follow(1, &[("f", "c")]), ["f: c"]);
    assert_eq!(world.follow(60, &[("f", "c")]), ["f: c"]);
    assert_eq!(world.follow(60, &[("f", "a/+")]), ["f: a/+", "f: a/b"], "it may be what is queued");
    assert_eq!(world.follow(61, &[("f", "a/b")]), ["f: a/+", "f: a/b"]);
    assert_eq!(world.follow(62, &[]), Vec::<String>::new());
    assert_eq!(world.follow(121, &[]), ["over: c"]);
    assert_eq!(world.follow(122, &[]), ["over: a/+", "over: a/b"]);
    assert!(!world.past.has(&filter("a/b")));
}

#[test]
fn a_filter_that_comes_back_is_asked_for_again() {
    let mut world = World::new();
    world.subscribed.insert(filter("a/#"));
    assert_eq!(world.follow(0, &[("f", "a/b")]), ["f: a/b"]);
    assert_eq!(world.follow(1, &[("f", "a/#")]), ["f: a/#", "f: a/b, leaves"]);
    assert_eq!(world.follow(2, &[("f", "a/b")]), ["f: a/#", "f: a/b"]);
}
