//! What tests outside of this crate look at.

use connector_core::Attribute;
use connector_core::dead_letter::Letter;

use crate::progress::Beyond;
use crate::{dead_letter, raw};

/// Reads the metadata of a commit of `committed`, and writes it again. `None`: it says nothing, or
/// nothing that may be believed.
#[must_use]
pub fn metadata_again(metadata: &[u8], committed: i64) -> Option<String> {
    Beyond::decode(metadata, committed).map(|beyond| beyond.encode())
}

/// The headers of a letter, as a consumer of its topic will read them.
#[must_use]
pub fn letter(letter: &Letter) -> Vec<Attribute> {
    raw::headers_again(dead_letter::headers(letter, &letter.notes()))
}
