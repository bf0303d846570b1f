//! The grammar of topic filters, and what they match (MQTT 5, section 4.7; 3.1.1 is the same).
//!
//! Pure: nothing here knows of connections. A filter is kept as the text that is subscribed, shared
//! subscriptions (`$share/group/filter`) included; it matches by the filter behind the group.

use std::fmt;
use std::sync::Arc;

use connector_core::topics::{Pattern, Unused};

/// A topic or a filter is at most this long: its length travels in two bytes.
const LONGEST: usize = 65_535;

/// What stands before the group of a shared subscription.
const SHARE: &str = "$share/";

/// A valid topic filter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Filter {
    /// As it is subscribed.
    text: Arc<str>,
    /// Where the filter proper begins: behind the group of a shared subscription.
    at: usize,
}

impl Filter {
    /// Reads a filter as it would be subscribed.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the filter.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > LONGEST {
            return Err("is longer than 65,535 bytes");
        }
        let at = match text.strip_prefix(SHARE) {
            None => 0,
            Some(shared) => {
                let (group, _) = shared.split_once('/').ok_or("has a group, but no filter")?;
                if group.is_empty() || group.contains(['+', '#']) {
                    return Err("has no valid group behind `$share/`");
                }
                SHARE.len() + group.len() + 1
            }
        };
        let filter = &text[at..];
        if filter.is_empty() {
            return Err("is empty");
        }
        if filter.contains('\0') {
            return Err("contains a NUL");
        }
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            if level.contains('#') && !(level == "#" && is_last) {
                return Err("has a `#` that is not its whole last level");
            }
            if level.contains('+') && level != "+" {
                return Err("has a `+` that is not a whole level");
            }
        }
        Ok(Self { text: text.into(), at })
    }

    /// The filter as it is subscribed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches one topic only.
    pub(crate) fn is_exact(&self) -> bool {
        !self.proper().contains(['+', '#'])
    }

    /// Whether a message on `topic` comes by this filter.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        if self.starts_wild() && topic.starts_with('$') {
            return false;
        }
        let mut topic = topic.split('/');
        for level in self.proper().split('/') {
            match (level, topic.next()) {
                // Also the parent: `a/#` matches `a`.
                ("#", _) => return true,
                (_, None) => return false,
                ("+", Some(_)) => {}
                (level, Some(of_topic)) if level == of_topic => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    /// Whether every topic that `other` matches is matched by this one. May say no where the
    /// answer is yes, for filters that spell the same thing differently (`#` and `+/#`).
    pub(crate) fn covers(&self, other: &Self) -> bool {
        if self.starts_wild() && other.proper().starts_with('$') {
            return false;
        }
        let mut theirs = other.proper().split('/');
        for ours in self.proper().split('/') {
            match (ours, theirs.next()) {
                ("#", _) => return true,
                (_, None | Some("#")) => return false,
                ("+", Some(_)) => {}
                (ours, Some(theirs)) if ours == theirs => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Whether some topic is matched by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let only_one_sees =
            |wild: &Self, other: &Self| wild.starts_wild() && other.proper().starts_with('$');
        if only_one_sees(self, other) || only_one_sees(other, self) {
            return false;
        }
        let (mut ours, mut theirs) = (self.proper().split('/'), other.proper().split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
                _ => return false,
            }
        }
    }

    /// What it matches once topics have lost their first level: see [`trimmed`].
    pub(crate) fn trimmed(&self) -> Self {
        let proper = self.proper();
        let rest = match proper.split_once('/') {
            // A topic of one level stays as it is, and `#` and `a/#` match one.
            Some((_, rest)) if rest != "#" => rest,
            Some(_) => "#",
            None => proper,
        };
        Self { text: rest.into(), at: 0 }
    }

    /// As the topic map takes it.
    pub(crate) fn pattern(&self) -> Pattern {
        if self.is_exact() {
            return Pattern::Exact(self.proper().into());
        }
        let filter = self.clone();
        Pattern::Many {
            text: Arc::clone(&self.text),
            matches: Arc::new(move |topic| filter.matches(topic)),
        }
    }

    /// Without the group.
    fn proper(&self) -> &str {
        &self.text[self.at..]
    }

    /// A wildcard at the first level sees no topic that begins with `$`.
    fn starts_wild(&self) -> bool {
        self.proper().starts_with(['+', '#'])
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({})", self.text)
    }
}

/// The topic without its first level, which some brokers use for a channel's key: everything up to
/// and including the first `/` is dropped. A topic without one stays as it is.
pub(crate) fn trimmed(topic: &str) -> &str {
    topic.split_once('/').map_or(topic, |(_, rest)| rest)
}

/// Whether a message can be published to `topic`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the topic.
pub(crate) fn check_topic(topic: &str) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("is empty");
    }
    if topic.len() > LONGEST {
        return Err("is longer than 65,535 bytes");
    }
    if topic.contains(['+', '#', '\0']) {
        return Err("contains `+`, `#` or a NUL");
    }
    Ok(())
}

/// One item of a function's annotation. What is plainly meant for another kind of source is
/// refused, although it would be a legal filter.
///
/// # Errors
/// Why it is not used, as a sentence.
pub(crate) fn annotation(item: &str) -> Result<Filter, Unused> {
    if item == "cron-function" {
        return Err(Unused::Foreign("it is the word of the cron connector".to_owned()));
    }
    if item.contains("://") || item.starts_with("arn:") {
        return Err(Unused::Foreign("it is an address, not a topic filter".to_owned()));
    }
    Filter::parse(item).map_err(|why| Unused::Mistaken(format!("`{item}` {why}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    #[test]
    fn the_examples_of_the_specification() {
        for (text, topic, matches) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "anything/at/all", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor/Clients", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor/Clients", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("$share/consumers/sport/#", "sport/tennis", true),
            ("$share/consumers/#", "$SYS/x", false),
            ("Accounts", "ACCOUNTS", false),
            ("/", "/", true),
        ] {
            assert_eq!(filter(text).matches(topic), matches, "{text} {topic}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [
            "",
            "sport/tennis#",
            "sport/#/ranking",
            "sport+",
            "+sport/x",
            "a/b+/c",
            "##",
            "a\0b",
            "$share/",
            "$share/group",
            "$share/group/",
            "$share//x",
            "$share/+/x",
            "$share/g#/x",
            "$share/g/a#",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        assert!(Filter::parse(&"x".repeat(LONGEST)).is_ok());
        assert!(Filter::parse(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn topics_lose_their_first_level() {
        assert_eq!(trimmed("key/sensors/1"), "sensors/1");
        assert_eq!(trimmed("sensors"), "sensors");
        assert_eq!(trimmed("/sensors"), "sensors");
        for (text, rest) in
            [("key/sensors/#", "sensors/#"), ("key/#", "#"), ("#", "#"), ("+/x", "x"), ("x", "x")]
        {
            assert_eq!(filter(text).trimmed().text(), rest);
        }
        assert_eq!(filter("$share/g/key/x").trimmed().text(), "x");
    }

    #[test]
    fn other_sources_words_are_not_filters() {
        for item in ["cron-function", "https://sqs.eu.example.com/1/q", "arn:aws:sqs:eu:1:q"] {
            assert!(matches!(annotation(item), Err(Unused::Foreign(_))), "{item}");
        }
        assert!(annotation("sensors/+/temperature").is_ok());
        assert!(matches!(annotation("sensors/#/temperature"), Err(Unused::Mistaken(_))));
    }

    /// By the definition: one level of the filter after the other, with every choice tried.
    fn naive(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) => true,
            (["#"], _) => true,
            ([], _) | (_, []) => false,
            ([first, rest @ ..], [level, deeper @ ..]) => {
                (*first == "+" || first == level) && naive(rest, deeper)
            }
        }
    }

    fn naively(filter: &str, topic: &str) -> bool {
        let (filter, topic): (Vec<_>, Vec<_>) =
            (filter.split('/').collect(), topic.split('/').collect());
        let hidden = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
        !hidden && naive(&filter, &topic)
    }

    const LEVELS: [&str; 4] = ["a", "b", "", "$x"];

    /// The empty one too, which no message has: it keeps the questions simple.
    fn topics() -> Vec<String> {
        let mut all: Vec<String> = LEVELS.iter().map(|l| (*l).to_owned()).collect();
        let mut last = all.clone();
        for _ in 0..3 {
            last = last.iter().flat_map(|t| LEVELS.map(|l| format!("{t}/{l}"))).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    fn a_filter() -> impl Strategy<Value = Filter> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$x"), Just("+")];
        (prop::collection::vec(level, 0..4), any::<bool>())
            .prop_map(|(mut levels, deep)| {
                if deep {
                    levels.push("#");
                }
                levels.join("/")
            })
            .prop_filter_map("valid", |text| Filter::parse(&text).ok())
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(filter in a_filter()) {
            for topic in topics() {
                prop_assert_eq!(filter.matches(&topic), naively(filter.text(), &topic), "{}", topic);
            }
        }

        #[test]
        fn a_filter_that_covers_misses_nothing(a in a_filter(), b in a_filter()) {
            if a.covers(&b) {
                for topic in topics() {
                    prop_assert!(!b.matches(&topic) || a.matches(&topic), "{}", topic);
                }
            }
            prop_assert!(a.covers(&a));
        }

        #[test]
        fn filters_overlap_where_a_topic_is_matched_by_both(a in a_filter(), b in a_filter()) {
            let both = topics().iter().any(|topic| a.matches(topic) && b.matches(topic));
            prop_assert_eq!(a.overlaps(&b), both);
            prop_assert_eq!(b.overlaps(&a), both);
        }

        #[test]
        fn trimming_filter_and_topic_agree(filter in a_filter()) {
            for topic in topics() {
                if filter.matches(&topic) && !trimmed(&topic).starts_with('$') {
                    prop_assert!(filter.trimmed().matches(trimmed(&topic)), "{}", topic);
                }
            }
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert!(filter.covers(&filter) && filter.overlaps(&filter));
            }
        }
    }
}
