//! A values file with its descriptions: the comment above a value is what it means.
//!
//! A line `# @schema {...}` within the comment adds to the value's JSON schema. A value without a
//! comment belongs to the default of the one around it, as the parts of a security context do.

use serde_json::{Map, Value};

/// One value with what is said about it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its key.
    pub name: String,
    /// What it means, in one line.
    pub meaning: String,
    /// What its schema says beyond its type.
    pub schema: Map<String, Value>,
    /// What it is when nobody sets it.
    pub default: Value,
    /// The values within it that have descriptions of their own.
    pub parts: Vec<Described>,
}

/// The values of a file, in its order.
///
/// # Panics
/// When the file is not YAML, or describes what is not there.
#[must_use]
pub fn values(text: &str) -> Vec<Described> {
    let defaults: Value = serde_norway::from_str(text).expect("the values are YAML");
    let mut comment = Comment::default();
    let mut entries = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let content = line.trim_start();
        if let Some(words) = content.strip_prefix('#') {
            comment.add(words.trim());
        } else if let Some((name, _)) = content.split_once(':')
            && !comment.is_empty()
        {
            entries.push((indent, name.to_owned(), std::mem::take(&mut comment)));
        } else {
            comment = Comment::default();
        }
    }
    nest(&mut entries.into_iter().peekable(), 0, &defaults)
}

#[derive(Default)]
struct Comment {
    words: Vec<String>,
    schema: Map<String, Value>,
}

impl Comment {
    fn add(&mut self, line: &str) {
        match line.strip_prefix("@schema ") {
            Some(schema) => self.schema = serde_json::from_str(schema).expect("the schema is JSON"),
            None => self.words.push(line.to_owned()),
        }
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

type Entries = std::iter::Peekable<std::vec::IntoIter<(usize, String, Comment)>>;

/// Takes the entries that are indented at least so far, each with those that are within it.
fn nest(entries: &mut Entries, indent: usize, defaults: &Value) -> Vec<Described> {
    let mut values = Vec::new();
    while let Some((at, name, comment)) = entries.next_if(|(at, ..)| *at >= indent) {
        let default = defaults
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is described, and not there"))
            .clone();
        let parts = nest(entries, at + 1, &default);
        let Comment { words, schema } = comment;
        values.push(Described { name, meaning: words.join(" "), schema, default, parts });
    }
    values
}
