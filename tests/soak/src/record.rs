//! Writes the outcome of a run into a document, between two marks that stay there.

use std::path::Path;

/// Replaces what stands between the marks of a name, such as a source's.
///
/// # Panics
/// When the document has no such marks, or cannot be written.
pub(crate) fn write(document: &Path, mark: &str, command: &str, said: &str) {
    let text = std::fs::read_to_string(document).expect("the document can be read");
    let written = replaced(&text, mark, command, said).expect("the document has the marks");
    std::fs::write(document, written).expect("the document can be written");
}

fn replaced(text: &str, mark: &str, command: &str, said: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- soak {mark} -->\n"), format!("<!-- end {mark} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    let said = said.trim_end();
    Some(format!("{before}{begin}\n```\n$ {command}\n\n{said}\n```\n\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = "a\n<!-- soak x -->\nold\n<!-- end x -->\nb\n";
        let new = replaced(text, "x", "make soak", "well\n").unwrap();
        let expected = "a\n<!-- soak x -->\n\n```\n$ make soak\n\nwell\n```\n\n<!-- end x -->\nb\n";
        assert_eq!(new, expected);
        assert_eq!(replaced(&new, "x", "make soak", "well").unwrap(), expected);
        assert_eq!(replaced(text, "y", "make soak", "well"), None);
    }
}
