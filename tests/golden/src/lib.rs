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

/// Replaces what stands in a document between `<!-- MARK -->` and `<!-- end MARK -->`, lines of their own that stay
/// there: what a run measured, in a text about it.
///
/// # Panics
/// When the document has no such marks, or cannot be read or written.
pub fn replace_marked(document: &Path, mark: &str, text: &str) {
    let old = fs::read_to_string(document).expect("the document can be read");
    let new = marked(&old, mark, text);
    let new = new.unwrap_or_else(|| panic!("{} has no mark {mark:?}", document.display()));
    fs::write(document, new).expect("the document can be written");
}

fn marked(old: &str, mark: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end {mark} -->"));
    let (before, rest) = old.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let old = "a\n<!-- x -->\nold\n<!-- end x -->\nb\n";
        let new = marked(old, "x", "well\n").expect("the marks are there");
        assert_eq!(new, "a\n<!-- x -->\n\nwell\n\n<!-- end x -->\nb\n");
        assert_eq!(marked(&new, "x", "well").as_deref(), Some(&*new));
        assert_eq!(marked(old, "y", "well"), None);
    }
}
