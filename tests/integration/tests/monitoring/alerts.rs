//! The alerts, as the file has them and sixty times as fast.

use std::fs;

use integration::root;
use serde::Deserialize;

/// One alert of the file.
#[derive(Deserialize)]
pub(crate) struct Alert {
    #[serde(rename = "alert")]
    pub(crate) name: String,
    pub(crate) expr: String,
}

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// Every alert, in the order of the file.
pub(crate) fn all() -> Vec<Alert> {
    let file: File = serde_norway::from_str(&file()).expect("the rules are as we read them");
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// The file with a second for each minute: in durations, and in thresholds, which are written as a
/// product with 60 for that.
pub(crate) fn sixty_times_as_fast() -> String {
    fast(&file())
}

fn file() -> String {
    let path = root().join("deploy/monitoring/alerts.yaml");
    fs::read_to_string(path).expect("the rules can be read")
}

/// A text of rules with its minutes and hours made seconds and minutes.
pub(crate) fn fast(rules: &str) -> String {
    let mut text = String::new();
    let mut rest = rules;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        let (before, number, after) = (&rest[..at], &rest[at..at + digits], &rest[at + digits..]);
        let within_a_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '.');
        let unit = after.chars().next().filter(|unit| {
            matches!(unit, 'm' | 'h')
                && !within_a_word
                && !after[1..].starts_with(|c: char| c.is_alphanumeric())
        });
        text += before;
        let (number, taken) = match unit {
            Some('m') => (format!("{number}s"), 1),
            Some('h') => (format!("{number}m"), 1),
            _ if number == "60" && before.ends_with("* ") => ("1".to_owned(), 0),
            _ => (number.to_owned(), 0),
        };
        text += &number;
        rest = &after[taken..];
    }
    text + rest
}

#[test]
fn an_hour_becomes_a_minute_and_nothing_else_changes() {
    let rules = "expr: increase(a_95_total[15m]) > 10 * 60 and b > 0.1\nfor: 1h\n# 50% 3x 4xm";
    let expected = "expr: increase(a_95_total[15s]) > 10 * 1 and b > 0.1\nfor: 1m\n# 50% 3x 4xm";
    assert_eq!(fast(rules), expected);
}
