//! What tests outside of this crate look at.

use std::thread_local;

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, Message};
use bytes::Bytes;
use connector_core::dead_letter::Letter;
use connector_core::{Attribute, Event};

use crate::refusals::Refusal;
use crate::subject::{Filter, reduce};
use crate::{dead_letter, lane, message, skipped, stored};

/// Whether the first of two filters covers the second, and whether they overlap. `None`: one of them
/// is no filter.
#[must_use]
pub fn relation(one: &str, other: &str) -> Option<(bool, bool)> {
    let (one, other) = (Filter::parse(one).ok()?, Filter::parse(other).ok()?);
    Some((one.covers(&other), one.overlaps(&other)))
}

/// Whether some of the filters matches `subject`, before and after they are reduced.
#[must_use]
pub fn matches_reduced(filters: &[&str], subject: &str) -> (bool, bool) {
    let filters: Vec<_> = filters.iter().filter_map(|text| Filter::parse(text).ok()).collect();
    let any = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(subject));
    (any(&filters), any(&reduce(filters.clone())))
}

thread_local! {
    /// Of a client that never connects: a message of JetStream cannot be made without one.
    static CONTEXT: Context = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system has what a runtime takes");
        runtime.block_on(async {
            let options = ConnectOptions::new().retry_on_initial_connect();
            let client = options.connect("127.0.0.1:1").await;
            jetstream::new(client.expect("it does not wait for a connection"))
        })
    };
}

/// The event of a message that JetStream has delivered with this subject to reply to. `None`: it is
/// no delivery.
#[must_use]
pub fn delivered(reply: &str) -> Option<Event> {
    let message = Message {
        subject: "orders.new".into(),
        reply: Some(reply.into()),
        payload: Bytes::new(),
        headers: None,
        status: None,
        description: None,
        length: 0,
    };
    let context = CONTEXT.with(Clone::clone);
    let message = jetstream::Message { message, context };
    let (_, position) = lane::place(&message)?;
    Some(message::kept(message.message, &position))
}

/// The headers that a stream keeps, and whether the client library would read them.
#[must_use]
pub fn stored_headers(head: &[u8]) -> (Vec<Attribute>, bool) {
    (stored::headers(head), stored::is_readable(head))
}

/// The subject that the server refuses, in these words.
#[must_use]
pub fn refused(words: &str) -> Option<String> {
    Refusal::read(words).map(|refusal| refusal.subject)
}

/// The message that an advisory tells of: its number, and how often it was delivered.
#[must_use]
pub fn skipped(advisory: &[u8]) -> Option<(u64, u32)> {
    skipped::read(advisory)
}

/// The headers of a letter: names with their values.
#[must_use]
pub fn letter(letter: &Letter) -> Vec<(String, Vec<String>)> {
    let headers = dead_letter::headers(letter);
    let values = |values: &Vec<async_nats::HeaderValue>| {
        values.iter().map(|value| value.as_str().to_owned()).collect()
    };
    headers.iter().map(|(name, all)| (name.to_string(), values(all))).collect()
}
