//! Secrets: values that cannot be printed, and the files they are read from.
//!
//! Deliberately absent: `Display`, `Serialize`, `Deref`, comparison. Whoever needs the value says
//! [`Secret::expose`], which is easy to search for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// No credential is longer; a path that names something huge by mistake must not fill the memory.
const MOST_BYTES: u64 = 1024 * 1024;

/// A value that never appears in a log, an error or a status page.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. What is done with it is the caller's responsibility.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(set)")
    }
}

/// A file whose content is a secret.
///
/// Nothing of it is remembered: each [`read`](Self::read) sees what the file holds by then, so a
/// password that is corrected in place is used at the next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    setting: String,
    path: PathBuf,
}

impl SecretFile {
    /// The file at `path`, which `setting` names.
    #[must_use]
    pub fn new(setting: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { setting: setting.into(), path: path.into() }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, without the white space at its end (`echo` leaves a newline there).
    ///
    /// Blocks for as long as the file system does.
    ///
    /// # Errors
    /// The file is missing, unreadable, too large, not text, or empty.
    pub fn read(&self) -> Result<Secret, SecretError> {
        use io::Read as _;

        let mut text = String::new();
        std::fs::File::open(&self.path)
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| self.error(Trouble::Unreadable(error)))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(self.error(Trouble::TooLarge));
        }
        text.truncate(text.trim_end().len());
        if text.is_empty() {
            return Err(self.error(Trouble::Empty));
        }
        Ok(Secret(text))
    }

    fn error(&self, trouble: Trouble) -> SecretError {
        SecretError { setting: self.setting.clone(), path: self.path.clone(), trouble }
    }
}

/// A secret file gave no secret. Heals when somebody puts the file right.
#[derive(Debug, thiserror::Error)]
#[error("cannot take {setting} from {}", path.display())]
pub struct SecretError {
    /// The setting that names the file.
    pub setting: String,
    /// The file.
    pub path: PathBuf,
    #[source]
    trouble: Trouble,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Unreadable(io::Error),
    #[error("the file is larger than {MOST_BYTES} bytes")]
    TooLarge,
    #[error("the file is empty")]
    Empty,
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    /// A folder of its own for one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, content: &[u8]) -> SecretFile {
            let path = self.0.join("password");
            std::fs::write(&path, content).unwrap();
            SecretFile::new("password_file", path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn white_space_at_the_end_is_no_part_of_a_secret() {
        let folder = Folder::new();
        let file = folder.file(b" two words \r\n\n");
        assert_eq!(file.read().unwrap().expose(), " two words");
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let folder = Folder::new();
        let file = folder.file(b"wrong");
        assert_eq!(file.read().unwrap().expose(), "wrong");
        folder.file(b"right");
        assert_eq!(file.read().unwrap().expose(), "right");
    }

    #[test]
    fn an_error_names_setting_and_path_and_leaves_the_cause_to_its_source() {
        let folder = Folder::new();
        let file = folder.file(b" \n");
        let error = file.read().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot take password_file from {}", file.path().display())
        );
        assert_eq!(error.source().unwrap().to_string(), "the file is empty");

        std::fs::remove_file(file.path()).unwrap();
        let error = file.read().unwrap_err();
        assert!(error.source().unwrap().to_string().contains("No such file"));
    }

    #[test]
    fn what_is_no_text_or_too_large_gives_no_secret() {
        let folder = Folder::new();
        assert!(folder.file(&[0xff, 0xfe]).read().is_err());
        let most = vec![b'x'; usize::try_from(MOST_BYTES).unwrap()];
        assert!(folder.file(&most).read().is_ok());
        assert!(folder.file(&[&most[..], b"x"].concat()).read().is_err());
    }

    #[test]
    fn a_secret_cannot_be_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(Secret(set))");
    }
}
