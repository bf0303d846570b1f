//! The headers of a call, kept small.
//!
//! A header map as it comes from the wire holds on to the connection's read buffer, 8 KiB and more for each call
//! remembered; the text alone is some hundred bytes.

use std::fmt;

use http::HeaderMap;

/// Headers as received: names in lower case, values that are not UTF-8 made so.
#[derive(Clone, Default, PartialEq)]
pub struct Headers(Box<str>);

impl Headers {
    pub(crate) fn of(map: &HeaderMap) -> Self {
        let mut text = String::with_capacity(512);
        for (name, value) in map {
            text.push_str(name.as_str());
            text.push(':');
            text.push_str(&String::from_utf8_lossy(value.as_bytes()));
            // Neither names nor values can have a line's end in them.
            text.push('\n');
        }
        Self(text.into_boxed_str())
    }

    /// The first value of a header, its name given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// Every value of a header, its name given in lower case.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Every header with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once(':'))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
