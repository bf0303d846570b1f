//! Every line that the log can have from level info on is explained in `docs/logs.md`, and that
//! explains no line that there is not.
//!
//! Lines are where they are written, not in a table, so they are read from the source code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use integration::root;

/// Folders with code that is in no connector but those of tests.
const NOT_SHIPPED: [&str; 2] = ["fail_point", "tests"];

/// What stands between the parts of a line that are always the same.
const PART: &str = "…";

/// The messages of all log statements of a file, with [`PART`] for what differs.
fn messages(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let levels = ["info!(", "warn!(", "error!("];
    let starts = levels.iter().flat_map(|level| {
        code.match_indices(level).filter_map(|(at, _)| {
            // Not the end of another macro's name.
            let before = code[..at].chars().next_back();
            (!before.is_some_and(|c| c.is_alphanumeric() || c == '_')).then_some(at + level.len())
        })
    });
    starts.filter_map(|start| message(&code[start..])).collect()
}

/// The message of one statement: the first text of its arguments that does not belong to a field.
fn message(arguments: &str) -> Option<String> {
    let (mut depth, mut at, bytes) = (1, 0, arguments.as_bytes());
    let mut begins_argument = true;
    while depth > 0 {
        match bytes.get(at)? {
            b'"' => {
                let length = text_length(&arguments[at + 1..])?;
                let text = &arguments[at + 1..at + 1 + length];
                if begins_argument {
                    return Some(fixed_parts(text));
                }
                at += length + 1;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 1 => begins_argument = true,
            byte if !byte.is_ascii_whitespace() => begins_argument = false,
            _ => {}
        }
        at += 1;
    }
    None
}

fn text_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while *bytes.get(at)? != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some(at)
}

/// A text as the log has it: on one line, with [`PART`] in place of what is put in.
fn fixed_parts(text: &str) -> String {
    let mut fixed = String::new();
    let mut lines = text.split("\\\n");
    fixed += lines.next().unwrap_or_default();
    lines.for_each(|line| fixed += line.trim_start());
    while let Some((begin, end)) = fixed.find('{').zip(fixed.find('}')) {
        fixed.replace_range(begin..=end, PART);
    }
    fixed
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !NOT_SHIPPED.contains(&name) {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.extend(messages(&fs::read_to_string(&path).expect("source code can be read")));
        }
    }
}

#[test]
fn every_line_of_the_log_is_explained() {
    let mut found = Vec::new();
    sources(&root().join("connector-core/src"), &mut found);
    for connector in fs::read_dir(root().join("connectors")).expect("there are connectors") {
        sources(&connector.expect("a folder can be read").path().join("src"), &mut found);
    }
    // Nothing of the line itself stands there: the lines it stands for do.
    let lines: BTreeSet<_> = found.into_iter().filter(|line| line != PART).collect();
    assert!(lines.len() > 60, "{lines:#?}");

    let guide = fs::read_to_string(root().join("docs/logs.md")).expect("the guide can be read");
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let explained: BTreeSet<String> = rows.map(|(line, _)| line.to_owned()).collect();
    let (missing, gone): (Vec<_>, Vec<_>) =
        (lines.difference(&explained).collect(), explained.difference(&lines).collect());
    assert!(missing.is_empty() && gone.is_empty(), "missing: {missing:#?}\ngone: {gone:#?}");
}
