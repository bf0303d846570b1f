//! Messages that break the connection.
//!
//! The client library takes a connection on which it cannot read a message for broken, and closes
//! it: headers that are not UTF-8 are enough, or a blank in a header's name. The message comes
//! again when its lease lapses, and would do so for ever. So after losses in quick succession what
//! the consumer has delivered and nobody has acknowledged is looked through, in the server's own
//! description ([`crate::stored`]), and what the library cannot read is called from there.
//!
//! What is not acknowledged may lie far behind, and each message between costs a question. So the
//! lane waits for the first part of a search only, in which most searches end; the others come
//! beside its work, with pauses.
//!
//! It is settled where its delivery would have been: the server finds a delivery by the message's
//! number, which the subject of an acknowledgement carries.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::response::Response;
use connector_core::log::Chain;
use tokio::time::Instant;

use super::Shared;
use crate::binding::Terms;
use crate::stored::{Stored, Which, fetch};
use crate::subject::Filter;

/// What it takes to lose the connection, to reconnect and to ask, beyond the lease after which a
/// message comes again.
const AROUND: Duration = Duration::from_secs(10);

/// How many messages one part of a search looks at, at most, and how long it takes.
const LOOKED_AT: usize = 1_000;
const TAKES: Duration = Duration::from_secs(2);

/// Between two parts.
const PAUSE: Duration = Duration::from_secs(1);

/// The times at which the connection was lost while messages were on their way.
pub(super) struct Losses {
    last: Option<Instant>,
    /// Two losses within so long may have one cause.
    within: Duration,
}

impl Losses {
    pub(super) fn new(longest_lease: Duration) -> Self {
        Self { last: None, within: longest_lease * 2 + AROUND }
    }

    /// Notes a loss. Whether a message that comes again and again may have caused it.
    pub(super) fn is_suspicious(&mut self) -> bool {
        let last = self.last.replace(Instant::now());
        last.is_some_and(|last| last.elapsed() < self.within)
    }
}

/// What one part of a search has come to.
pub(super) struct Search {
    /// What was found, each with where it is settled.
    pub(super) found: Vec<(Subject, Stored)>,
    /// Where the next part begins. `None`: everything was looked at.
    pub(super) rest: Option<Cursor>,
}

/// How far a search has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    /// Which of the consumer's filters is gone through.
    filter: usize,
    /// The next message's number.
    next: u64,
    /// What had been delivered when the search began: what comes later is not waited for.
    last: u64,
}

/// Looks for what breaks the connection among what is delivered and not acknowledged, for a while.
/// `known` has been read, and is being called.
///
/// # Errors
/// Why it could not be looked for.
pub(super) async fn search(
    shared: Arc<Shared>,
    known: HashSet<u64>,
    from: Option<Cursor>,
) -> Result<Search, String> {
    let Shared { served, context, .. } = &*shared;
    let at_most = served.intake.config().lane_window;
    let looked = look(context, &served.terms, &known, from, at_most);
    served.settler.refusals.unless(is_request, looked).await.flatten()
}

/// The next part of a search, after a pause.
pub(super) async fn search_on(
    shared: Arc<Shared>,
    known: HashSet<u64>,
    from: Cursor,
) -> Result<Search, String> {
    tokio::time::sleep(PAUSE).await;
    search(shared, known, Some(from)).await
}

async fn look(
    context: &Context,
    terms: &Terms,
    known: &HashSet<u64>,
    from: Option<Cursor>,
    at_most: usize,
) -> Result<Search, String> {
    let Terms { stream, consumer, .. } = terms;
    let info = format!("CONSUMER.INFO.{stream}.{consumer}");
    let info: Result<Response<Info>, _> = context.request(info, &serde_json::json!({})).await;
    let info = match info.map_err(|error| Chain(&error).to_string())? {
        Response::Ok(info) => info,
        Response::Err { error } => return Err(error.to_string()),
    };
    let mut found = Vec::new();
    if info.num_ack_pending <= known.len() {
        return Ok(Search { found, rest: None });
    }
    let everything = [Filter::everything()];
    let filters = if terms.filters.is_empty() { &everything[..] } else { &terms.filters };
    let Info { delivered, ack_floor, .. } = info;
    let start = Cursor { filter: 0, next: 0, last: delivered.stream_sequence };
    let mut cursor = from.unwrap_or(start);
    let (begun, mut looked_at) = (Instant::now(), 0);
    while let Some(filter) = filters.get(cursor.filter).filter(|_| found.len() < at_most) {
        if looked_at == LOOKED_AT || begun.elapsed() >= TAKES {
            return Ok(Search { found, rest: Some(cursor) });
        }
        let next = cursor.next.max(ack_floor.stream_sequence + 1);
        let is_over = next > cursor.last;
        let message =
            if is_over { None } else { fetch(context, stream, Which::from(next, filter)).await? };
        let Some(message) = message.filter(|it| it.position.sequence <= cursor.last) else {
            cursor = Cursor { filter: cursor.filter + 1, next: 0, ..cursor };
            continue;
        };
        looked_at += 1;
        let sequence = message.position.sequence;
        cursor.next = sequence + 1;
        if !message.is_readable && !known.contains(&sequence) {
            found.push((place(terms, &message, delivered.consumer_sequence), message));
        }
    }
    Ok(Search { found, rest: None })
}

/// Where the delivery of a message is settled: how often it was delivered, its numbers in the
/// stream and among the deliveries, when it was published, and how many wait behind it.
fn place(terms: &Terms, message: &Stored, delivery: u64) -> Subject {
    let Terms { stream, consumer, .. } = terms;
    let (sequence, published) = (message.position.sequence, message.position.published);
    format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{delivery}.{published}.0").into()
}

fn is_request(subject: &str) -> bool {
    subject.starts_with("$JS.API.STREAM.MSG.GET.") || subject.starts_with("$JS.API.CONSUMER.INFO.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_loss_is_no_news_and_another_long_after_neither() {
        let mut losses = Losses::new(Duration::from_secs(30));
        assert!(!losses.is_suspicious());
        tokio::time::advance(Duration::from_secs(69)).await;
        assert!(losses.is_suspicious());
        tokio::time::advance(Duration::from_secs(70)).await;
        assert!(!losses.is_suspicious());
    }
}
