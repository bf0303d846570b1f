//! `bench [SOURCE...] [--runs N] [--record FILE]`: what connectors cost, beside a bare HTTP client in the same run, and
//! how that grows. Prints a table for each source; with `--record`, writes it into the document too, between its marks,
//! and the plots beside it.
//!
//! Figures depend on the machine and on what else it does; only ratios within one run mean something. So nothing is
//! asserted. Everything runs as it is shipped: `tests/bench/run.sh` sees to that, and to `oha`.

#![allow(clippy::print_stdout, reason = "its output is its result")]
#![allow(clippy::print_stderr, reason = "it takes long, and says how far it is")]

mod axes;
mod cost;
mod figures;
mod idle;
mod latency;
mod oha;
mod peer;
mod plot;
mod run;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use figures::{Row, table};
use golden::replace_marked;
use integration::connector::program;
use peer::Peer;
use source::Source;
use source::jetstream::JetStream;
use source::kafka::Kafka;
use source::mqtt::Mqtt;
use source::sqs::Sqs;

const USAGE: &str =
    "usage: bench [kafka|jetstream|mqtt|sqs|cron|mapping]... [--runs N] [--record FILE]";
const WRONG_USAGE: u8 = 64;
const SOURCES: [&str; 6] = ["kafka", "jetstream", "mqtt", "sqs", "cron", "mapping"];

/// What is asked for.
struct Order {
    sources: Vec<String>,
    /// How often a connector and `oha` run in turn.
    runs: usize,
    /// The document that the outcome is written into.
    record: Option<PathBuf>,
}

/// What came of a source.
struct Outcome {
    text: String,
    plots: Option<String>,
}

fn main() -> ExitCode {
    let Some(order) = order(std::env::args().skip(1)) else {
        println!("{USAGE}");
        return ExitCode::from(WRONG_USAGE);
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("there are threads to be had").block_on(serve(&order));
    ExitCode::SUCCESS
}

async fn serve(order: &Order) {
    // Built before anything is timed.
    program("dev-gateway").await;
    for source in &order.sources {
        let runs = order.runs;
        let outcome = match &**source {
            "kafka" => measured::<Kafka>(runs).await,
            "jetstream" => measured::<JetStream>(runs).await,
            "mqtt" => measured::<Mqtt>(runs).await,
            "sqs" => measured::<Sqs>(runs).await,
            "cron" => cron().await,
            _ => mapping(),
        };
        println!("{}", outcome.text);
        if let Some(document) = &order.record {
            record(document, source, &outcome);
        }
    }
}

/// Everything there is to say of a source.
async fn measured<S: Source>(runs: usize) -> Outcome {
    program(&format!("{}-connector", S::CONNECTOR)).await;
    let busy = load();
    let source = S::start().await;
    let peers = Peer::found::<S>().await;
    let mut costs = cost::cost(&source, &peers, runs).await.into_iter();
    let mut rows = costs.next().unwrap_or_default();
    rows.extend(latency::latency(&source).await);
    rows.extend(source.more().await);
    rows.extend(idle::idle(&source).await);
    let axes = axes::axes(&source).await;
    let median = format!("median of {runs}");
    let shown = |title: &str, rows: &[Row]| {
        table(&[title, &median, "lowest to highest"], rows.iter().map(ToString::to_string))
    };
    let mut text = shown(S::TITLE, &rows);
    for (peer, rows) in peers.iter().zip(costs) {
        text += "\n";
        text += &shown(&peer.name, &rows);
    }
    for axis in &axes {
        text += "\n";
        text += &axis.table();
    }
    text += &format!("\nLoad average when it began {busy}, when it ended {}.\n", load());
    Outcome { text, plots: Some(plot::svg(&axes)) }
}

async fn cron() -> Outcome {
    program("cron-connector").await;
    let rows = idle::cron().await;
    let text = table(&["cron", "", ""], rows.iter().map(ToString::to_string));
    Outcome { text, plots: None }
}

/// The topic map by itself, which no broker or gateway is needed for.
fn mapping() -> Outcome {
    let done = Command::new(std::env::var_os("CARGO").expect("cargo runs this"))
        .args(["bench", "--locked", "--quiet", "-p", "connector-core", "--features", "testing"])
        .args(["--bench", "mapping"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(done.status.success(), "the mapping cannot be measured: {}", done.status);
    let lines = String::from_utf8(done.stdout).expect("a table is text");
    let text =
        table(&["mapping", "median of 11", "lowest to highest"], lines.lines().map(str::to_owned));
    Outcome { text, plots: None }
}

/// How many processes waited for a processor in the last minute, on average: what else the machine does blurs figures.
fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").expect("the kernel tells");
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn record(document: &Path, source: &str, outcome: &Outcome) {
    let mut text = outcome.text.clone();
    if let Some(plots) = &outcome.plots {
        let folder = document.with_extension("");
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join(format!("{source}.svg")), plots).expect("the plots can be written");
        let name = folder.file_name().expect("it is named after the document").to_string_lossy();
        text += &format!("\n![The same as plots]({name}/{source}.svg)\n");
    }
    replace_marked(document, &format!("bench {source}"), &text);
}

fn order(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let mut order = Order { sources: Vec::new(), runs: 10, record: None };
    while let Some(word) = words.next() {
        match &*word {
            "--runs" => order.runs = words.next()?.parse().ok().filter(|runs| *runs > 0)?,
            "--record" => order.record = Some(words.next()?.into()),
            source if SOURCES.contains(&source) => order.sources.push(word),
            _ => return None,
        }
    }
    if order.sources.is_empty() {
        order.sources = SOURCES.map(str::to_owned).to_vec();
    }
    Some(order)
}
