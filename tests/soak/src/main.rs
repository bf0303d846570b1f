//! `soak SOURCE [--seconds N] [--events N] [--seed N] [--overload 1] [--record FILE]`: runs a connector between proxies, breaks everything
//! there is to break, again and again, and has the judge say what came of it.
//!
//! What is broken when comes from the seed. How far the connector was by then does not, so a seed repeats the faults and
//! not every interleaving. Exits with 0 when the promise was kept, 1 when it was not, 64 when it is told nonsense.
//!
//! The driver asserts nothing about the connector but that it gets on; the rest is `ledger-checker`'s, in another process.

#![allow(clippy::print_stdout, reason = "it runs for minutes, and ends with a table")]

mod feed;
mod memory;
mod proxy;
mod record;
mod schedule;
mod soak;
mod source;
mod tail;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use soak::{Outcome, Size, run};
use source::kafka::Kafka;
use source::mqtt::Mqtt;
use source::nats::{CoreNats, JetStream};
use source::sqs::Sqs;

const USAGE: &str = "usage: soak kafka|sqs|sqs-fifo|jetstream|nats|mqtt \
                     [--seconds N] [--events N] [--seed N] [--overload 1] [--record FILE]";
const WRONG_USAGE: u8 = 64;

/// What is asked for.
struct Order {
    source: String,
    size: Size,
    /// The document that the outcome is written into.
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Some(order) = order(std::env::args().skip(1)) else {
        println!("{USAGE}");
        return ExitCode::from(WRONG_USAGE);
    };
    let command = command(&order);
    println!("{command}");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("there are threads to be had");
    // What panics has said why; brokers and processes end with what is unwound.
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve(&order))));
    let outcome = match outcome {
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::from(WRONG_USAGE);
        }
        Ok(Some(outcome)) => outcome,
        Err(_) => Outcome { kept: false, said: String::new() },
    };
    println!("\n{}", outcome.said);
    if !outcome.kept {
        println!("again: {command}");
        return ExitCode::FAILURE;
    }
    if let Some(document) = &order.record {
        record::write(document, &order.source, &command, &outcome.said);
    }
    ExitCode::SUCCESS
}

async fn serve(order: &Order) -> Option<Outcome> {
    let size = order.size;
    Some(match &*order.source {
        "kafka" => run::<Kafka>(size).await,
        "sqs" => run::<Sqs<false>>(size).await,
        "sqs-fifo" => run::<Sqs<true>>(size).await,
        "jetstream" => run::<JetStream>(size).await,
        "nats" => run::<CoreNats>(size).await,
        "mqtt" => run::<Mqtt>(size).await,
        _ => return None,
    })
}

/// The one command that does it again.
fn command(Order { source, size, .. }: &Order) -> String {
    let mut command = format!("make soak SOURCE={source} SECONDS={}", size.lasts.as_secs());
    if size.events != usize::MAX {
        command += &format!(" EVENTS={}", size.events);
    }
    if size.overload {
        command += " OVERLOAD=1";
    }
    command + &format!(" SEED={}", size.seed)
}

fn order(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let source = words.next()?;
    let mut order = Order {
        source,
        size: Size {
            seed: rand::random_range(1..100_000),
            lasts: Duration::from_secs(60),
            events: usize::MAX,
            overload: false,
        },
        record: None,
    };
    while let Some(word) = words.next() {
        let value = words.next()?;
        // An empty value is none, so that `make` may pass what nobody has set.
        match &*word {
            _ if value.is_empty() => {}
            "--seconds" => order.size.lasts = Duration::from_secs(value.parse().ok()?),
            "--events" => order.size.events = value.parse().ok()?,
            "--seed" => order.size.seed = value.parse().ok()?,
            "--overload" => order.size.overload = true,
            "--record" => order.record = Some(value.into()),
            _ => return None,
        }
    }
    Some(order)
}
