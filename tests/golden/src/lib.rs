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
