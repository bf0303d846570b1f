//! What was found wrong, by line.

use std::fmt;

use thiserror::Error;

/// One mistake and the line it stands in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What faasd would do, or what to write instead.
    pub text: String,
}

impl Mistake {
    pub(crate) fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Every mistake of a file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Where mistakes are gathered while the file is read on.
#[derive(Debug, Default)]
pub(crate) struct Report {
    mistakes: Vec<Mistake>,
}

impl Report {
    /// Notes a mistake.
    pub(crate) fn at(&mut self, line: usize, text: impl Into<String>) {
        self.add(Mistake::new(line, text));
    }

    /// Notes a mistake in place of which nothing can be read.
    pub(crate) fn instead<T: Default>(&mut self, line: usize, text: impl Into<String>) -> T {
        self.at(line, text);
        T::default()
    }

    pub(crate) fn add(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// What was read, if nothing was wrong with it.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<T, Mistakes> {
        self.mistakes.sort();
        match read {
            Some(read) if self.mistakes.is_empty() => Ok(read),
            _ => Err(Mistakes(self.mistakes)),
        }
    }
}
