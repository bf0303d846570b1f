//! Dead letters to a subject.
//!
//! Stored means: a stream has acknowledged the message. A subject that no stream keeps is no place
//! for letters, so storing there fails, and is tried again, until somebody makes a stream for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_core::Attribute;
use connector_core::dead_letter::Letter;
use connector_core::source::{Letterbox, StoreError};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::config::NatsConfig;
use crate::confirmed::{Teller, Unconfirmed};
use crate::connect::{self, PATIENCE};
use crate::refusals::Refusals;
use crate::subject::Filter;

/// How many confirmations may come before one is looked at: of as many letters as may be under way.
const ANSWERS: usize = 65_536;

/// The subject that the message came on.
const SUBJECT: &str = "X-Dead-Letter-Subject";
/// What stands before a header that the server would take for an order to itself.
const WAS: &str = "X-Dead-Letter-Header-";
/// What stands before a header's name, in hexadecimal, that no header can have here.
const HEX: &str = "X-Dead-Letter-Header-Hex-";

/// A subject that takes dead letters.
pub(crate) struct Subject {
    config: Arc<NatsConfig>,
    subject: Filter,
    /// A connection of its own, made for the first letter: the source's may be gone by then.
    link: Mutex<Option<(Teller, Refusals)>>,
}

impl Subject {
    /// The subject, not connected yet.
    pub(crate) fn new(config: Arc<NatsConfig>, subject: Filter) -> Self {
        Self { config, subject, link: Mutex::new(None) }
    }

    async fn link(&self) -> Result<(Teller, Refusals), String> {
        let mut known = self.link.lock().await;
        if let Some(link) = &*known {
            return Ok(link.clone());
        }
        let link = connect::connect(&self.config, None, ANSWERS).await;
        let link = link.map_err(|error| error.to_string())?;
        let teller = Teller::new(&link.client).await.map_err(|error| error.to_string())?;
        Ok(known.insert((teller, link.refusals)).clone())
    }

    async fn send(&self, letter: &Letter) -> Result<(), StoreError> {
        let (teller, refusals) = self.link().await?;
        let (subject, payload) = (self.subject.as_str().to_owned(), letter.event.payload.clone());
        let asked = teller.ask(subject.into(), headers(letter), payload, PATIENCE);
        match refusals.unless(|subject| subject == self.subject.as_str(), asked).await? {
            Ok(answer) => stored(&answer),
            Err(Unconfirmed::NoResponders) => Err("no stream keeps the subject".to_owned().into()),
            Err(Unconfirmed::Unheard) => {
                Err("no stream has acknowledged it in time".to_owned().into())
            }
            Err(Unconfirmed::TooLarge(why)) => Err(StoreError::TooLarge(why)),
            Err(Unconfirmed::Unsent(why)) => Err(why.into()),
        }
    }
}

/// Reads a stream's word. Whatever else answers on the subject has stored nothing.
fn stored(answer: &[u8]) -> Result<(), StoreError> {
    let error = match serde_json::from_slice(answer) {
        Ok(Response::<PublishAck>::Ok(_)) => return Ok(()),
        Ok(Response::Err { error }) => error,
        Err(_) => return Err("what answers on the subject is no stream".to_owned().into()),
    };
    match error.error_code() {
        // A stream may take less than its server does.
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Err(StoreError::TooLarge(error.to_string()))
        }
        _ => Err(StoreError::Failed(error.to_string())),
    }
}

impl Letterbox for Subject {
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.send(letter))
    }
}

/// The message's own headers and the letter's notes.
///
/// `Nats-...` headers would make the stream drop the letter as a duplicate of the message itself,
/// or refuse it for an expectation that was about another stream, so they are passed on under
/// another name. The id is the letter's own: stored twice, it is kept once. What is not legal in a
/// header here comes as it does to a function: a value as base64, with a companion that says so, a
/// name in hexadecimal.
pub(crate) fn headers(letter: &Letter) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let own = &letter.event.attributes;
    // All values of a name come alike: the companion cannot say which of them it is about.
    let encoded: BTreeSet<_> =
        own.iter().filter(|it| legal(it).is_none()).map(|it| &it.name).collect();
    for attribute in own {
        let name = name(&attribute.name);
        match legal(attribute).filter(|_| !encoded.contains(&attribute.name)) {
            Some(value) => append(&mut headers, &name, value),
            None => {
                let value = attribute.value.as_deref().unwrap_or_default();
                append(&mut headers, &name, &STANDARD.encode(value));
            }
        }
    }
    for encoded in encoded {
        append(&mut headers, &format!("{}-Enc", name(encoded)), "b64");
    }
    for (name, value) in letter.notes() {
        append(&mut headers, name, &value);
    }
    append(&mut headers, SUBJECT, &letter.event.topic);
    let function = letter.function.as_ref().map_or("-", |function| function.as_str());
    let (id, time) = (&letter.event.id, letter.event.stamp.0);
    append(&mut headers, "Nats-Msg-Id", &format!("{id}@{time} {function}"));
    headers
}

/// The value of a header as it is, if a header can have it.
fn legal(attribute: &Attribute) -> Option<&str> {
    let value = std::str::from_utf8(attribute.value.as_deref().unwrap_or_default()).ok()?;
    value.parse::<HeaderValue>().is_ok().then_some(value)
}

/// The name that a header of the message has in its letter.
fn name(name: &[u8]) -> String {
    let legal = std::str::from_utf8(name).ok().filter(|name| name.parse::<HeaderName>().is_ok());
    match legal {
        Some(name) if name.to_ascii_lowercase().starts_with("nats-") => format!("{WAS}{name}"),
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => name.iter().fold(HEX.to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
    }
}

/// `name` is legal; a line break in the value would end the header.
fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    let value = value.replace(['\r', '\n'], " ");
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use connector_core::{Event, EventId};

    use super::*;

    #[test]
    fn names_that_cannot_stay_are_passed_on_under_others() {
        assert_eq!(name(b"Trace"), "Trace");
        assert_eq!(name(b"nats-Msg-Id"), "X-Dead-Letter-Header-nats-Msg-Id");
        assert_eq!(name(b"A b"), "X-Dead-Letter-Header-Hex-412062");
        assert_eq!(name(b"\xf6"), "X-Dead-Letter-Header-Hex-f6");
    }

    #[test]
    fn only_a_stream_that_has_it_has_stored_it() {
        assert!(stored(br#"{"stream":"DEAD","seq":7,"duplicate":true}"#).is_ok());
        let full =
            br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#;
        assert!(stored(full).is_err_and(|why| why.to_string().contains("maximum messages")));
        assert!(stored(b"thank you").is_err());
        assert!(stored(b"").is_err());
    }

    #[test]
    fn all_values_of_a_name_are_encoded_or_none() {
        let mut event = Event::new(EventId::new("nats:S/1"), "t".into(), Bytes::new());
        let values: [(&[u8], &[u8]); 3] = [(b"a", b"x"), (b"a", b"\xf6"), (b"b", b"y")];
        event.attributes = values
            .map(|(name, value)| Attribute {
                name: Bytes::copy_from_slice(name),
                value: Some(Bytes::copy_from_slice(value)),
            })
            .into();
        let headers = headers(&Letter {
            event: Arc::new(event),
            function: None,
            reason: "refused",
            status: None,
            error: String::new(),
            attempts: 1,
            first: SystemTime::UNIX_EPOCH,
            last: SystemTime::UNIX_EPOCH,
            brief: false,
        });
        let of = |name: &str| headers.get_all(name).map(|it| it.as_str().to_owned()).collect();
        let (a, b): (Vec<_>, Vec<_>) = (of("a"), of("b"));
        assert_eq!((a, b), (vec!["eA==".to_owned(), "9g==".to_owned()], vec!["y".to_owned()]));
        assert_eq!(of("a-Enc") as Vec<String>, ["b64"]);
        assert!(headers.get("b-Enc").is_none());
    }
}
