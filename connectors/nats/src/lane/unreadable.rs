//! Messages that break the connection.
//!
//! The client library takes a connection on which it cannot read a message for broken, and closes
//! it: headers that are not UTF-8 are enough, or a blank in a header's name. The message comes
//! again when its lease lapses, and would do so for ever. So after losses in quick succession what
//! the consumer has delivered and nobody has acknowledged is looked through, in the server's own
//! description ([`crate::stored`]), and what the library cannot read is called from there.
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

/// What was found, each with where it is settled.
pub(super) struct Search {
    pub(super) found: Vec<(Subject, Stored)>,
}

/// Looks for what breaks the connection among what is delivered and not acknowledged. `known` has
/// been read, and is being called.
///
/// # Errors
/// Why it could not be looked for, or not to the end.
pub(super) async fn search(shared: Arc<Shared>, known: HashSet<u64>) -> Result<Search, String> {
    let Shared { served, context, .. } = &*shared;
    let looked = look(context, &served.terms, &known, served.intake.config().lane_window);
    served.settler.refusals.unless(is_request, looked).await.flatten()
}

async fn look(
    context: &Context,
    terms: &Terms,
    known: &HashSet<u64>,
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
        return Ok(Search { found });
    }
    let everything = [Filter::everything()];
    let filters = if terms.filters.is_empty() { &everything[..] } else { &terms.filters };
    for filter in filters {
        let mut next = info.ack_floor.stream_sequence + 1;
        while next <= info.delivered.stream_sequence && found.len() < at_most {
            let Some(message) = fetch(context, stream, Which::from(next, filter)).await? else {
                break;
            };
            let sequence = message.position.sequence;
            next = sequence + 1;
            let is_delivered = sequence <= info.delivered.stream_sequence;
            if is_delivered && !message.is_readable && !known.contains(&sequence) {
                let delivery = info.delivered.consumer_sequence;
                found.push((place(terms, &message, delivery), message));
            }
        }
    }
    Ok(Search { found })
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
