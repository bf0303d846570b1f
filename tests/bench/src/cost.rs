//! What an event costs, beside what a call costs that nothing but calls: the two in turn, several times.

use integration::Gateway;

use crate::figures::{Row, count, mib, micros, millis, ratio};
use crate::oha;
use crate::peer::Peer;
use crate::run::{Caller, Run};
use crate::source::{PAYLOAD, RUNNING, Source};

/// The fewest calls by which `oha` is measured.
const CALLS: u64 = 50_000;

/// Processor time for each event beside that of `oha`; rate, memory and start. Of ours, then of each peer.
pub(crate) async fn cost<S: Source>(source: &S, peers: &[Peer], runs: usize) -> Vec<Vec<Row>> {
    let gateway = Gateway::start(None).await;
    let calls = S::EVENTS.max(CALLS);
    let mut bare: Vec<f64> = Vec::new();
    // Ours first, as in what is returned.
    let mut all: Vec<Vec<(Run, f64)>> = Vec::new();
    all.resize_with(1 + peers.len(), Vec::new);
    for number in 1..=runs {
        eprintln!("{}: run {number} of {runs}", S::TITLE);
        for (turn, done) in all.iter_mut().enumerate() {
            let place = source.place(S::WIDTH, &gateway).await;
            gateway.deploy("work", &place.asked).await;
            source.publish(&place, PAYLOAD, S::EVENTS).await;
            let headers = source.headers(&place);
            if bare.is_empty() {
                bare.push(oha::cost(&gateway, &headers, calls).await);
            }
            let run = match turn.checked_sub(1) {
                None => Run::of::<S>(source.launch(&place), &gateway, RUNNING, S::EVENTS).await,
                Some(peer) => {
                    let start = async || Caller::Peer(peers[peer].start(source, &place, &gateway));
                    Run::measured(start, None, &gateway, S::EVENTS).await
                }
            };
            let after = oha::cost(&gateway, &headers, calls).await;
            let ratio = run.each() / f64::midpoint(bare[bare.len() - 1], after);
            bare.push(after);
            done.push((run, ratio));
        }
    }
    gateway.end().await;
    all.iter().map(|done| rows(done, &bare)).collect()
}

fn rows(done: &[(Run, f64)], bare: &[f64]) -> Vec<Row> {
    let of = |figure: fn(&Run) -> f64| done.iter().map(|(run, _)| figure(run)).collect::<Vec<_>>();
    let ratios: Vec<_> = done.iter().map(|(_, ratio)| *ratio).collect();
    let mut rows = vec![Row::median(
        "processor time per event, sync, 256 bytes, 64 running",
        &of(Run::each),
        micros,
    )];
    let client: Vec<_> = done.iter().filter_map(|(run, _)| run.client).collect();
    if !client.is_empty() {
        rows.push(Row::median("of it the threads of the broker's client", &client, micros));
    }
    rows.extend([
        Row::median("`oha`, same server, payload and headers", bare, micros),
        Row::median("ratio, each run to the `oha` before and after it", &ratios, ratio),
        Row::median("events a second meanwhile", &of(Run::rate), count),
        Row::median("peak resident memory, 256-byte payloads", &of(|run| run.peak as f64), mib),
        Row::median("start to first call", &of(|run| run.first.as_secs_f64() * 1e3), millis),
    ]);
    rows
}
