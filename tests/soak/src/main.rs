//! `soak SOURCE [--seconds N] [--events N] [--warm-up N] [--rounds N] [--pause N] [--faults A,B] [--without A,B]
//! [--seed N] [--overload 1] [--dead-letters 1] [--record FILE] [--mark NAME]`: runs a connector between proxies, breaks
//! everything there is to break, again and again, and has the judge say what came of it. It goes on until it has lasted
//! so long, and had so many events and rounds of faults.
//!
//! What is broken when comes from the seed. How far the connector was by then does not, so a seed repeats the faults and
//! not every interleaving. Exits with 0 when the promise was kept, 1 when it was not, 64 when it is told nonsense.
//!
//! The driver asserts nothing about the connector but that it gets on; the rest is `ledger-checker`'s, in another process.

#![allow(clippy::print_stdout, reason = "it runs for minutes, and ends with a table")]

mod feed;
mod memory;
mod overload;
mod soak;
mod source;
mod tail;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use golden::replace_marked;
use integration::faults::Choice;
use soak::{Outcome, Size, run};
use source::kafka::Kafka;
use source::mqtt::Mqtt;
use source::nats::{CoreNats, JetStream};
use source::sqs::Sqs;

const USAGE: &str = "usage: soak kafka|sqs|sqs-fifo|jetstream|nats|mqtt \
                     [--seconds N] [--events N] [--warm-up N] [--rounds N] [--pause N] [--faults A,B] [--without A,B] [--seed N] \
                     [--overload 1] [--dead-letters 1] [--record FILE] [--mark NAME]";
const WRONG_USAGE: u8 = 64;

/// What is asked for.
struct Order {
    source: String,
    size: Size,
    /// The document that the outcome is written into.
    record: Option<PathBuf>,
    /// The name of the place there, if not the source's.
    mark: Option<String>,
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
        let mark = order.mark.as_ref().unwrap_or(&order.source);
        let said = format!("```\n$ {command}\n\n{}\n```", outcome.said.trim_end());
        replace_marked(document, &format!("soak {mark}"), &said);
    }
    ExitCode::SUCCESS
}

async fn serve(order: &Order) -> Option<Outcome> {
    let size = order.size.clone();
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
    let mut command = format!("make soak SOURCE={source}");
    let seconds = |time: Duration| usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
    let numbers = [
        ("SECONDS", seconds(size.lasts)),
        ("EVENTS", size.events),
        ("WARM_UP", size.warm_up),
        ("ROUNDS", size.rounds),
        ("PAUSE", seconds(size.pause)),
    ];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        command += &format!(" {name}={number}");
    }
    let faults = [("FAULTS", &size.faults.only), ("WITHOUT", &size.faults.without)];
    for (name, faults) in faults.into_iter().filter(|(_, faults)| !faults.is_empty()) {
        command += &format!(" {name}=\"{}\"", faults.join(","));
    }
    if size.overload {
        command += " OVERLOAD=1";
    }
    if size.dead_letters {
        command += " DEAD_LETTERS=1";
    }
    command + &format!(" SEED={}", size.seed)
}

fn order(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let source = words.next()?;
    let mut order = Order {
        source,
        size: Size {
            seed: rand::random_range(1..100_000),
            lasts: Duration::ZERO,
            events: 0,
            warm_up: 0,
            rounds: 0,
            faults: Choice::default(),
            pause: Duration::ZERO,
            overload: false,
            dead_letters: false,
        },
        record: None,
        mark: None,
    };
    while let Some(word) = words.next() {
        let value = words.next()?;
        // An empty value is none, so that `make` may pass what nobody has set.
        match &*word {
            _ if value.is_empty() => {}
            "--seconds" => order.size.lasts = Duration::from_secs(value.parse().ok()?),
            "--events" => order.size.events = value.parse().ok()?,
            "--warm-up" => order.size.warm_up = value.parse().ok()?,
            "--rounds" => order.size.rounds = value.parse().ok()?,
            "--pause" => order.size.pause = Duration::from_secs(value.parse().ok()?),
            "--faults" => order.size.faults.only = parts(&value),
            "--without" => order.size.faults.without = parts(&value),
            "--seed" => order.size.seed = value.parse().ok()?,
            "--overload" => order.size.overload = true,
            "--dead-letters" => order.size.dead_letters = true,
            "--record" => order.record = Some(value.into()),
            "--mark" => order.mark = Some(value),
            _ => return None,
        }
    }
    Some(order)
}

fn parts(list: &str) -> Vec<String> {
    list.split(',').map(|part| part.trim().to_owned()).collect()
}
