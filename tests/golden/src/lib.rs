//! Files that are generated, kept in the repository, and compared.
//!
//! Tests that use this have `golden` in their names: `make check` runs those, `make bless` runs
//! them with `BLESS=1`, which writes the files instead.

use std::fs;
use std::path::Path;

/// Compares a file of the repository with what it should be, or writes it.
///
/// # Panics
/// When the two differ, saying where and what to run; when the file cannot be written.
pub fn golden(path: &str, expected: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join(path);
    if std::env::var_os("BLESS").is_some_and(|bless| !bless.is_empty()) {
        let folder = file.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::write(&file, expected).expect("the file can be written");
        return;
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    if kept == expected {
        return;
    }
    let mut lines = kept.lines().zip(expected.lines()).enumerate();
    let differs = lines.find(|(_, (kept, expected))| kept != expected);
    let at = differs.map_or_else(
        || "one is longer than the other".to_owned(),
        |(n, (kept, expected))| format!("line {}:\n- {kept}\n+ {expected}", n + 1),
    );
    panic!("{path} is out of date (run `make bless`), {at}");
}

/// What stands in a document between `<!-- MARK -->` and `<!-- end MARK -->`, as [`replace_marked`] wrote it, but for the
/// blank lines around it.
///
/// # Panics
/// When the document has no such marks, or cannot be read.
#[must_use]
pub fn marked(document: &Path, mark: &str) -> String {
    let text = fs::read_to_string(document).expect("the document can be read");
    let (_, between, _) = parts(&text, mark).unwrap_or_else(|| no_mark(document, mark));
    between.trim_matches('\n').to_owned()
}

/// Replaces what stands in a document between `<!-- MARK -->` and `<!-- end MARK -->`, lines of their own that stay
/// there: what a run measured, in a text about it.
///
/// # Panics
/// When the document has no such marks, or cannot be read or written.
pub fn replace_marked(document: &Path, mark: &str, text: &str) {
    let old = fs::read_to_string(document).expect("the document can be read");
    let new = replaced(&old, mark, text).unwrap_or_else(|| no_mark(document, mark));
    fs::write(document, new).expect("the document can be written");
}

fn no_mark(document: &Path, mark: &str) -> ! {
    panic!("{} has no mark {mark:?}", document.display())
}

fn replaced(old: &str, mark: &str, text: &str) -> Option<String> {
    let (before, _, after) = parts(old, mark)?;
    Some(format!("{before}\n{}\n\n{after}", text.trim_end()))
}

/// A text up to the first mark and with it, what stands between the two, and the text from the second one on.
fn parts<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let begin = format!("<!-- {mark} -->\n");
    let (before, rest) = text.split_at(text.find(&begin)? + begin.len());
    let (between, after) = rest.split_at(rest.find(&format!("<!-- end {mark} -->"))?);
    Some((before, between, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let old = "a\n<!-- x -->\nold\n<!-- end x -->\nb\n";
        let new = replaced(old, "x", "well\n").expect("the marks are there");
        assert_eq!(new, "a\n<!-- x -->\n\nwell\n\n<!-- end x -->\nb\n");
        assert_eq!(replaced(&new, "x", "well").as_deref(), Some(&*new));
        assert_eq!(replaced(old, "y", "well"), None);
    }
}
