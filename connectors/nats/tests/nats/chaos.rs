//! Everything at once: kills, a server and a gateway that go away, functions that fail. What came
//! of it is judged at the end, from the gateway's ledger, by [`ledger_checker`].
//!
//! The small size is one of the tests; `make prove-nats` runs the full one, whose tables stand in
//! `docs/reliability.md`.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Stream;
use dev_gateway::{Calls, Config, DevGateway, Fault, Function};
use ledger_checker::notes::Notes;
use ledger_checker::plan::{self, FaultKind};
use tokio::time::{Instant, sleep};

use crate::support::{
    Connector, Server, begin, judge, pull_consumer, store, until, until_empty, until_running,
};

const SUBJECTS: usize = 32;
const CONCURRENCY: usize = 32;
/// What the connector receives without a verdict: twice its concurrency, by default.
const WINDOW: usize = 2 * CONCURRENCY;
/// So many calls run at least when something breaks.
const RUNNING: usize = 10;
const SEED: u64 = 7;
/// SIGKILL for the server; otherwise it is asked to end.
const CRASH: &str = "server SIGKILL";

/// How much there is of it.
struct Size {
    messages: usize,
    kills: usize,
    gateway_down: Duration,
    /// How long nothing may get on before it counts as stuck.
    patience: Duration,
}

const SMALL: Size = Size {
    messages: 3_000,
    kills: 5,
    gateway_down: Duration::from_millis(500),
    patience: Duration::from_secs(60),
};

const FULL: Size = Size {
    messages: 50_000,
    kills: 20,
    gateway_down: Duration::from_secs(30),
    patience: Duration::from_secs(120),
};

#[tokio::test]
async fn nothing_is_lost_and_little_is_repeated() {
    prove(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove-nats"]
async fn nothing_is_lost_at_full_size() {
    prove(FULL).await;
}

async fn prove(size: Size) {
    let began = Instant::now();
    let mut server = Server::start().await;
    let stream = server.stream("S", &["s.>"]).await;
    let config = pull::Config { ack_wait: Duration::from_secs(3), ..pull_consumer("d") };
    stream.create_consumer(config).await.unwrap();
    let messages = size.messages;
    // All messages are known beforehand, and each is stored once: the server knows them by their ids.
    let mut notes = begin("JetStream", SEED, &["f"], WINDOW);
    notes.produced((0..messages).map(|n| (subject(n), n.to_string()))).unwrap();
    let config = Config { ledger: Some(notes.ledger()), ..Config::default() };
    let gateway = DevGateway::start(config).await.unwrap();
    gateway.deploy(Function::named("f").topic("s.>").echo());
    let bad = [(0.2, Fault::status(503)), (0.05, Fault::status(500)), (0.05, Fault::reset())];
    let delay = (Duration::from_millis(5), Duration::from_millis(40));
    gateway.fault("f", Fault::mix(bad).delay_between(delay.0, delay.1).seed(SEED));

    let published = publish(server.address(), messages);
    let process = String::new();
    let mut run = Run { size, server, stream, gateway, notes, process, forgotten: 0 };
    let (connector, ()) = tokio::join!(run.break_everything(), published);
    run.finish().await;
    judge(&run.notes, connector).await;
    eprintln!("  all of it took {} s", began.elapsed().as_secs());
}

fn subject(n: usize) -> String {
    format!("s.{}", n % SUBJECTS)
}

/// Publishes until every message is known to be stored; the server may be gone now and then.
async fn publish(address: String, messages: usize) {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let context = async_nats::jetstream::new(options.connect(address).await.unwrap());
    for n in 0..messages {
        store(&context, &subject(n), &n.to_string()).await;
    }
}

/// One run and what was broken in it.
struct Run {
    size: Size,
    server: Server,
    stream: Stream,
    gateway: DevGateway,
    notes: Notes,
    /// The connector that runs.
    process: String,
    /// Acknowledgements that a restart made the server forget. The connector that sent them knows
    /// what they were about and calls nothing again; the next one cannot know.
    forgotten: usize,
}

impl Run {
    /// Kills the connector again and again, and breaks the rest in between. Gives the connector
    /// that lives in the end.
    async fn break_everything(&mut self) -> Connector {
        let kills = self.size.kills;
        let mut connector = self.start().await;
        for kill in 0..kills {
            // Spread over all of the messages, so that each kill meets others.
            self.until_well(self.size.messages * (kill + 1) / (kills + 2)).await;
            if kill == kills / 4 {
                self.restart_server("server SIGTERM", &connector).await;
            } else if kill == kills / 2 {
                self.stop_gateway(&connector).await;
            } else if kill == 3 * kills / 4 {
                self.restart_server(CRASH, &connector).await;
            }
            let before = self.until_running().await;
            connector.kill().await;
            let forgotten = std::mem::take(&mut self.forgotten);
            self.note("SIGKILL", FaultKind::Kill, before, forgotten);
            connector = self.start().await;
        }
        connector
    }

    /// Restarts the server, by a signal that it obeys or by SIGKILL.
    async fn restart_server(&mut self, how: &str, connector: &Connector) {
        let before = self.until_running().await;
        if how == CRASH {
            self.server.kill().await;
        } else {
            self.server.stop().await;
        }
        self.note(how, FaultKind::BrokerOutage, before, 0);
        connector.until_unready("broker").await;
        self.server.up().await;
        connector.until_ready().await;
        let (kept, consumer) = until("what the server knows", async || {
            let kept = self.stream.get_info().await.ok()?.state.messages;
            Some((kept, self.stream.consumer_info("d").await.ok()?))
        })
        .await;
        let left = consumer.num_pending + consumer.num_ack_pending as u64;
        let acknowledged = usize::try_from(kept - left).unwrap();
        let well = self.gateway.ledger().with(messages_well);
        self.forgotten += well.saturating_sub(acknowledged);
    }

    async fn stop_gateway(&mut self, connector: &Connector) {
        let before = self.until_running().await;
        self.gateway.stop().await;
        self.note("gateway down", FaultKind::GatewayOutage, before, 0);
        connector.until_unready("platform").await;
        // How long an outage lasts is part of what is tried.
        sleep(self.size.gateway_down).await;
        self.gateway.restart().await.unwrap();
        connector.until_ready().await;
    }

    async fn start(&mut self) -> Connector {
        let (name, content_type) = self.notes.process().unwrap();
        self.process = name;
        let concurrency = CONCURRENCY.to_string();
        let env = [
            ("stream", "S"),
            ("durable", "d"),
            ("function_concurrency", &*concurrency),
            ("max_retry_attempts", "-1"),
            ("content_type", &*content_type),
        ];
        Connector::ready(&self.server, &self.gateway, &env).await
    }

    /// Waits until enough calls run; gives the moment.
    async fn until_running(&self) -> u64 {
        until_running(&self.gateway, RUNNING, || self.notes.moment().unwrap()).await
    }

    fn note(&mut self, how: &str, kind: FaultKind, before: u64, forgotten: usize) {
        let fault = plan::Fault::new(kind, before, self.notes.moment().unwrap());
        let fault = plan::Fault { how: Some(how.to_owned()), forgotten, ..fault.of(&self.process) };
        self.notes.fault(plan::Fault { at_least_running: RUNNING, ..fault }).unwrap();
    }

    async fn until_well(&self, messages: usize) {
        let what = format!("{messages} messages answered well");
        let reached = |calls: &Calls| calls.well().count() >= messages;
        self.gateway.ledger().wait_for_within(self.size.patience, &what, reached).await;
    }

    /// Waits until everything has been called and acknowledged.
    async fn finish(&mut self) {
        let mut last = (0, Instant::now());
        loop {
            let seen = self.gateway.ledger().with(messages_well);
            if seen == self.size.messages {
                break;
            }
            if seen > last.0 {
                last = (seen, Instant::now());
            }
            assert!(last.1.elapsed() < self.size.patience, "stuck at {seen} messages");
            sleep(Duration::from_millis(250)).await;
        }
        until_empty(&self.stream, "d").await;
        self.notes.end(0).unwrap();
    }
}

/// How many messages were answered well.
fn messages_well(calls: &Calls) -> usize {
    calls.well().map(|call| call.body_hash).collect::<HashSet<_>>().len()
}
