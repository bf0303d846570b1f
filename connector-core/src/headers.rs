//! From an event to the headers of its calls.
//!
//! Nothing that came with a message is dropped, and nothing it brought can pose as something the
//! connector says. The connector's own headers are `Content-Type`, `User-Agent`, `X-Topic`,
//! `X-Connector`, `X-Event-Id`, `X-Event-Attempt` and what the source tells about the delivery
//! ([`Event::headers`]). The message's attributes follow under the source's prefix:
//!
//! | attribute | header |
//! |---|---|
//! | `trace` | `X-Kafka-trace` |
//! | a name that one of the connector's own headers has: `partition` | `X-Kafka-Header-partition` |
//! | a name that no header can have, or that would read as one of the forms of this table: one that begins with `hex-` or `header-` or ends in `-enc` or `-null`, in any case | `X-Kafka-Hex-<the name's bytes in hexadecimal>` |
//!
//! Hexadecimal and not base64, because header names have no case. For the same reason the case of
//! an attribute's name is not kept, and attributes whose names differ by nothing else count as one
//! with several values. Several values are repeated headers, in order. About the values of a
//! header `N`:
//!
//! - `N-Enc: b64`: each of its values is base64 (standard alphabet, padded), because at least one
//!   is not legal in a header: bytes other than tab and 0x20 to 0x7e, or space at an end.
//! - `N-Null: true`: the value is absent at the broker, which is not the same as empty. Where a
//!   header with several values has an absent one, there is a `true` or `false` for each, in order.
//!
//! The connector's own headers take `-Enc` likewise. The trace context (`traceparent`,
//! `tracestate`, `baggage`) is also passed on under its own names if there is one value of it.
//!
//! Values are not cut. The gateway's server takes 1 MiB of headers and answers anything above with
//! a refusal, so an event whose headers cannot fit is [`TooLarge`], known before the first call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use crate::event::{Attribute, Event};
use crate::settings::ContentType;

mod table;

pub(crate) use self::table::reference;
pub use self::table::{ALWAYS, OwnHeader};

/// The topic that the event was matched on.
pub const X_TOPIC: HeaderName = HeaderName::from_static("x-topic");
/// Which connector calls: `kafka-connector`.
pub const X_CONNECTOR: HeaderName = HeaderName::from_static("x-connector");
/// The event's name, the same on every redelivery.
pub const X_EVENT_ID: HeaderName = HeaderName::from_static("x-event-id");
/// Which call of this function for this event it is, as far as known.
pub const X_EVENT_ATTEMPT: HeaderName = HeaderName::from_static("x-event-attempt");

/// The headers that a source cannot set.
const FIXED: [HeaderName; 6] =
    [CONTENT_TYPE, USER_AGENT, X_TOPIC, X_CONNECTOR, X_EVENT_ID, X_EVENT_ATTEMPT];

/// The trace context, which is passed on under its own names, each with an example.
const TRACE: [(&str, &str); 3] = [
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "vendor=00f067aa0ba902b7"),
    ("baggage", "tenant=acme"),
];

/// The most that all headers of a call may come to, in bytes on the wire: what Go's server takes,
/// less what proxies on the way add.
pub const LARGEST: usize = (1 << 20) - (16 << 10);

/// More than are added to the headers of a call when it is sent: where it goes, and what a letter
/// says.
const ADDED: usize = 16;

/// A map with so many headers may be about to be full.
const MANY: usize = 1024;

/// What the headers of all calls of one connector have in common.
#[derive(Debug, Clone)]
pub struct HeaderRules {
    prefix: &'static str,
    connector: HeaderValue,
    user_agent: HeaderValue,
    /// The user's, for every call.
    content_type: Option<HeaderValue>,
    /// The source's, for messages that do not tell theirs.
    default_content_type: Option<HeaderValue>,
    reserved: Vec<HeaderName>,
}

/// No call can be made of an event: it is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// The headers come to more than any gateway takes.
    #[error("the headers come to more than {LARGEST} bytes")]
    Headers,
    /// The event is above the source's own limit.
    #[error("the event comes to more than {limit} bytes")]
    Event {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl HeaderRules {
    /// The rules of the connector of this `kind` (`kafka`) and attribute prefix (`X-Kafka-`).
    ///
    /// # Panics
    /// If `kind` or `prefix` cannot be part of a header: they are constants of a source.
    #[must_use]
    pub fn new(kind: &'static str, prefix: &'static str, content_type: &ContentType) -> Self {
        let value = |text: String| {
            HeaderValue::try_from(text).expect("a source's kind can be part of a header's value")
        };
        HeaderName::try_from(format!("{prefix}x"))
            .expect("a source's prefix can begin a header's name");
        // The settings have been checked for that.
        let text = |text: &Option<String>| HeaderValue::from_str(text.as_deref()?).ok();
        Self {
            prefix,
            connector: value(format!("{kind}-connector")),
            user_agent: value(format!("tributary-{kind}-connector/{}", env!("CARGO_PKG_VERSION"))),
            content_type: text(&content_type.configured),
            default_content_type: text(&content_type.fallback),
            reserved: Vec::new(),
        }
    }

    /// With the names that belong to the source, even where an event does not have them, so that
    /// no attribute of a message without key can pose as `X-Kafka-Key`.
    #[must_use]
    pub fn reserve(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.reserved.extend(names);
        self
    }

    /// The value of `User-Agent`: `tributary-kafka-connector/0.1.0`.
    #[must_use]
    pub fn user_agent(&self) -> &HeaderValue {
        &self.user_agent
    }
}

/// The headers of every call for `event`, all but `X-Event-Attempt`: see [`with_attempt`].
///
/// # Errors
/// The event cannot be sent at all: no function is to blame, and no retry will help.
pub fn compose(event: &Event, rules: &HeaderRules) -> Result<HeaderMap, TooLarge> {
    // Those of every call, of which the last few are added when it is sent.
    let mut compose = Compose::with_capacity(12 + event.headers.len() + event.attributes.len());
    if let Some(content_type) = content_type(event, rules) {
        compose.put(CONTENT_TYPE, content_type)?;
    }
    compose.put(USER_AGENT, rules.user_agent.clone())?;
    compose.put(X_CONNECTOR, rules.connector.clone())?;
    compose.text(&X_TOPIC, &event.topic)?;
    compose.own(&X_EVENT_ID, event.id.bytes())?;
    for (name, value) in &event.headers {
        if !FIXED.contains(name) {
            debug_assert!(rules.reserved.contains(name), "{name} is not in the source's table");
            compose.own(name, value)?;
        }
    }
    if !event.attributes.is_empty() {
        compose.attributes(event, rules)?;
        compose.trace(&event.attributes)?;
    }
    Ok(compose.headers)
}

/// The headers of one call: those that [`compose`] made, and which attempt it is. There is room for
/// what is added when they are sent.
///
/// # Errors
/// As for [`compose`]: a message may have as many attributes as just fit.
pub fn with_attempt(mut headers: HeaderMap, attempt: u32) -> Result<HeaderMap, TooLarge> {
    let first = HeaderValue::from_static("1");
    let attempt = if attempt == 1 { first } else { attempt.into() };
    headers.try_insert(X_EVENT_ATTEMPT, attempt).map_err(|_| TooLarge::Headers)?;
    // Below that the map grows when it has to; to look ahead for every call would cost too much.
    if headers.keys_len() >= MANY {
        headers.try_reserve(ADDED).map_err(|_| TooLarge::Headers)?;
    }
    Ok(headers)
}

/// The user's content type, else the message's own, else the source's default. A content type that
/// no header can carry is passed over; a source that has it from elsewhere than an attribute also
/// puts it among [`Event::headers`].
fn content_type(event: &Event, rules: &HeaderRules) -> Option<HeaderValue> {
    if let Some(fixed) = &rules.content_type {
        return Some(fixed.clone());
    }
    let own = event.content_type.as_ref().filter(|own| !own.is_empty());
    own.and_then(legal).or_else(|| rules.default_content_type.clone())
}

/// The value as a header has it, if a header can.
fn legal(value: &Bytes) -> Option<HeaderValue> {
    if !is_legal(value) {
        return None;
    }
    HeaderValue::from_maybe_shared(value.clone()).ok()
}

/// Whether a value arrives as it was sent: parsers trim the ends, and what is made of bytes above
/// 0x7e is each one's own affair.
fn is_legal(value: &[u8]) -> bool {
    let inner = value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    let is_space = |end: Option<&u8>| end.is_some_and(|b| matches!(b, b'\t' | b' '));
    inner && !is_space(value.first()) && !is_space(value.last())
}

/// The headers in the making, and their size.
struct Compose {
    headers: HeaderMap,
    bytes: usize,
}

impl Compose {
    fn with_capacity(capacity: usize) -> Self {
        // The capacity is a hint: the number of attributes is the publisher's choice.
        Self { headers: HeaderMap::with_capacity(capacity.min(256)), bytes: 0 }
    }

    /// Appends one header. The size is bounded here, and the number with it: the map panics above
    /// 32,768 entries unless it is asked to try.
    fn put(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), TooLarge> {
        self.bytes += name.as_str().len() + value.len() + ": \r\n".len();
        if self.bytes > LARGEST {
            return Err(TooLarge::Headers);
        }
        self.headers.try_append(name, value).map_err(|_| TooLarge::Headers)?;
        Ok(())
    }

    /// Appends a header of the connector's own.
    fn own(&mut self, name: &HeaderName, value: &Bytes) -> Result<(), TooLarge> {
        match legal(value) {
            Some(value) => self.put(name.clone(), value),
            None => self.values(name.clone(), &[Some(value)]),
        }
    }

    /// The same from a text that nobody shares.
    fn text(&mut self, name: &HeaderName, text: &str) -> Result<(), TooLarge> {
        let value = is_legal(text.as_bytes()).then(|| HeaderValue::from_str(text).ok()).flatten();
        match value {
            Some(value) => self.put(name.clone(), value),
            None => self.own(name, &Bytes::copy_from_slice(text.as_bytes())),
        }
    }

    /// Appends the values of one header, with the companions they need.
    fn values(&mut self, name: HeaderName, values: &[Option<&Bytes>]) -> Result<(), TooLarge> {
        let encode = values.iter().flatten().any(|value| !is_legal(value));
        let absent = values.contains(&None);
        if encode {
            self.put(companion(&name, "-enc")?, HeaderValue::from_static("b64"))?;
        }
        for value in values {
            let sent = match value.map(|value| (legal(value), value)) {
                None => HeaderValue::from_static(""),
                Some((Some(legal), _)) if !encode => legal,
                Some((_, value)) => encoded(value)?,
            };
            self.put(name.clone(), sent)?;
            if absent {
                let flag = if value.is_none() { "true" } else { "false" };
                self.put(companion(&name, "-null")?, HeaderValue::from_static(flag))?;
            }
        }
        Ok(())
    }

    fn attributes(&mut self, event: &Event, rules: &HeaderRules) -> Result<(), TooLarge> {
        let mut named: Vec<(HeaderName, &Attribute)> = Vec::with_capacity(event.attributes.len());
        for attribute in &event.attributes {
            let name = attribute_name(&attribute.name, rules.prefix, |name| {
                FIXED.contains(name)
                    || rules.reserved.contains(name)
                    || event.headers.iter().any(|(own, _)| own == name)
            });
            named.push((name.ok_or(TooLarge::Headers)?, attribute));
        }
        // Stable: the values of one name stay in order.
        named.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        for group in named.chunk_by(|(a, _), (b, _)| a == b) {
            let values: Vec<_> = group.iter().map(|(_, it)| it.value.as_ref()).collect();
            if let Some((name, _)) = group.first() {
                self.values(name.clone(), &values)?;
            }
        }
        Ok(())
    }

    fn trace(&mut self, attributes: &[Attribute]) -> Result<(), TooLarge> {
        for (name, _) in TRACE {
            let mut same =
                attributes.iter().filter(|it| it.name.eq_ignore_ascii_case(name.as_bytes()));
            let (Some(attribute), None) = (same.next(), same.next()) else {
                continue;
            };
            let value = attribute.value.as_ref().filter(|value| !value.is_empty());
            let Some(value) = value.and_then(legal) else {
                continue;
            };
            if !self.headers.contains_key(name) {
                self.put(HeaderName::from_static(name), value)?;
            }
        }
        Ok(())
    }
}

/// The header of an attribute, by the table of this module. `None`: the name is too long for one.
fn attribute_name(
    name: &[u8],
    prefix: &str,
    taken: impl Fn(&HeaderName) -> bool,
) -> Option<HeaderName> {
    let plain = std::str::from_utf8(name).ok().filter(|name| !is_ambiguous(name));
    let header = |name: &str| HeaderName::try_from(format!("{prefix}{name}")).ok();
    let Some((plain, own)) = plain.and_then(|plain| Some((plain, header(plain)?))) else {
        use std::fmt::Write as _;
        let mut hex = String::with_capacity(4 + 2 * name.len());
        hex.push_str("Hex-");
        for byte in name {
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        }
        return header(&hex);
    };
    if taken(&own) { header(&format!("Header-{plain}")) } else { Some(own) }
}

/// Whether a name would read as one of the forms that names are given here.
fn is_ambiguous(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.is_empty()
        || name.starts_with("hex-")
        || name.starts_with("header-")
        || name.ends_with("-enc")
        || name.ends_with("-null")
}

/// The name of a companion. A name too long for it is refused as the headers are.
fn companion(name: &HeaderName, suffix: &str) -> Result<HeaderName, TooLarge> {
    HeaderName::try_from(format!("{name}{suffix}")).map_err(|_| TooLarge::Headers)
}

fn encoded(value: &Bytes) -> Result<HeaderValue, TooLarge> {
    HeaderValue::try_from(STANDARD.encode(value)).map_err(|_| TooLarge::Headers)
}

#[cfg(test)]
#[path = "headers/tests.rs"]
mod tests;
