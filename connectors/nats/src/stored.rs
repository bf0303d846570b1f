//! A message by its number, from its stream, whatever it is made of.
//!
//! The client library reads a message that is delivered only when its headers and its subject are
//! UTF-8; another breaks the connection. The server's own description of a message holds any bytes.

use async_nats::HeaderName;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector_core::Attribute;
use connector_core::log::Chain;
use serde::{Deserialize, Serialize};

use crate::message::{Headers, Position};
use crate::subject::Filter;

/// A message as its stream keeps it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) position: Position,
    pub(crate) headers: Headers,
    pub(crate) payload: Bytes,
    /// The client library would read it if it were delivered.
    pub(crate) is_readable: bool,
}

/// Which message.
#[derive(Debug, Serialize)]
pub(crate) struct Which<'a> {
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
}

impl<'a> Which<'a> {
    /// The one with this number.
    pub(crate) fn at(sequence: u64) -> Self {
        Self { seq: sequence, next_by_subj: None }
    }

    /// The first from this number on that the filter matches.
    pub(crate) fn from(sequence: u64, filter: &'a Filter) -> Self {
        Self { seq: sequence, next_by_subj: Some(filter.as_str()) }
    }
}

#[derive(Deserialize)]
struct Answer {
    message: RawMessage,
}

/// Fetches one message. `None`: there is none (any more).
///
/// # Errors
/// Why it cannot be said.
pub(crate) async fn fetch(
    context: &Context,
    stream: &str,
    which: Which<'_>,
) -> Result<Option<Stored>, String> {
    let subject = format!("STREAM.MSG.GET.{stream}");
    let answer: Result<Response<Answer>, _> = context.request(subject, &which).await;
    match answer.map_err(|error| Chain(&error).to_string())? {
        Response::Ok(Answer { message }) => Ok(Some(stored(stream, message)?)),
        Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Response::Err { error } => Err(error.to_string()),
    }
}

fn stored(stream: &str, message: RawMessage) -> Result<Stored, String> {
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    let head = decode(message.headers.as_deref().unwrap_or_default())?;
    Ok(Stored {
        // In the server's description a replacement character stands for what is not UTF-8.
        is_readable: !message.subject.contains('\u{fffd}') && is_readable(&head),
        position: Position {
            stream: stream.into(),
            sequence: message.sequence,
            published: u64::try_from(message.time.unix_timestamp_nanos()).unwrap_or_default(),
            delivered: 1,
        },
        subject: message.subject,
        headers: headers(&head),
        payload: decode(&message.payload)?.into(),
    })
}

/// Reads the lines below `NATS/1.0`. What lacks a colon is a name without a value: nothing that a
/// publisher wrote is dropped.
pub(crate) fn headers(head: &[u8]) -> Headers {
    let mut headers = Headers::new();
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let name = Bytes::copy_from_slice(&line[..colon.unwrap_or(line.len())]);
        let value = colon.map(|colon| Bytes::copy_from_slice(line[colon + 1..].trim_ascii()));
        headers.push(Attribute { name, value });
    }
    headers
}

/// Whether the client library reads such headers. No stricter than the library: what it reads may
/// be on its way to a function already.
pub(crate) fn is_readable(head: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(head) else { return false };
    // A line that begins with white space goes on with the value before.
    let mut lines = text
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty() && !line.starts_with(char::is_whitespace));
    lines.all(|line| {
        line.split_once(':').is_some_and(|(name, _)| name.parse::<HeaderName>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_cannot_read_is_told_apart() {
        for readable in [
            &b""[..],
            b"NATS/1.0\r\n\r\n",
            b"NATS/1.0\r\nPlace: Gr\xc3\xb6\xc3\x9fe\r\n\r\n",
            b"NATS/1.0\r\nLong: a\r\n  b\r\nEmpty:\r\n\r\n",
        ] {
            assert!(is_readable(readable), "{}", readable.escape_ascii());
        }
        for unreadable in [
            &b"NATS/1.0\r\nPlace: Gr\xf6\xdfe\r\n\r\n"[..],
            b"NATS/1.0\r\nA name: x\r\n\r\n",
            b"NATS/1.0\r\nGr\xc3\xb6\xc3\x9fe: x\r\n\r\n",
            b"NATS/1.0\r\nno colon\r\n\r\n",
        ] {
            assert!(!is_readable(unreadable), "{}", unreadable.escape_ascii());
        }
    }

    #[test]
    fn headers_are_read_whatever_they_are_made_of() {
        let read = headers(b"NATS/1.0\r\nA b: \xf6 \r\nnothing\r\nempty:\r\n\r\n");
        let pairs: Vec<_> = read.iter().map(|it| (&it.name[..], it.value.as_deref())).collect();
        let wanted: [(&[u8], Option<&[u8]>); 3] =
            [(b"A b", Some(b"\xf6")), (b"nothing", None), (b"empty", Some(b""))];
        assert_eq!(pairs, wanted);
    }
}
