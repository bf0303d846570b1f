//! Everything at once: kills, a server and a gateway that go away, functions that fail. What came
//! of it is judged at the end, from the gateway's ledger ([`judge`]).
//!
//! The small size is one of the tests; `make prove-nats` runs the full one, whose tables stand in
//! `docs/reliability.md`.

mod judge;

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use dev_gateway::{Calls, DevGateway, Fault, Function};
use tokio::time::{Instant, sleep};

use crate::support::{Connector, Server, gateway, pull_consumer, until, until_empty, until_is};
use judge::{Broken, What, by_message, judge};

const SUBJECTS: usize = 32;
const CONCURRENCY: usize = 32;
/// What the connector receives without a verdict: twice its concurrency, by default.
const WINDOW: usize = 2 * CONCURRENCY;
/// So many calls run at least when something breaks.
const RUNNING: usize = 10;

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
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    let bad = [(0.2, Fault::status(503)), (0.05, Fault::status(500)), (0.05, Fault::reset())];
    let delay = (Duration::from_millis(5), Duration::from_millis(40));
    gateway.fault("f", Fault::mix(bad).delay_between(delay.0, delay.1).seed(7));

    let messages = size.messages;
    let published = tokio::spawn(publish(server.address(), messages));
    let mut run = Run { size, server, stream, gateway, broken: Vec::new(), forgotten: 0 };
    let connector = run.break_everything().await;
    published.await.unwrap();
    run.finish(&connector).await;
    connector.balanced().await;
    assert_eq!(connector.stop().await.code(), Some(0));
    run.gateway.ledger().with(|calls| judge(calls, &run.broken, messages));
    eprintln!("  all of it took {} s", began.elapsed().as_secs());
}

/// Publishes until every message is known to be stored; the server may be gone now and then.
async fn publish(address: String, messages: usize) {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let context = async_nats::jetstream::new(options.connect(address).await.unwrap());
    for n in 0..messages {
        loop {
            // The id makes a publish that is repeated count once.
            let message =
                PublishMessage::build().payload(n.to_string().into()).message_id(n.to_string());
            let subject = format!("s.{}", n % SUBJECTS);
            if let Ok(sent) = context.send_publish(subject, message).await
                && sent.await.is_ok()
            {
                break;
            }
        }
    }
}

/// One run and what was broken in it.
struct Run {
    size: Size,
    server: Server,
    stream: Stream,
    gateway: DevGateway,
    broken: Vec<Broken>,
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
                self.restart_server(What::Stop, &connector).await;
            } else if kill == kills / 2 {
                self.stop_gateway(&connector).await;
            } else if kill == 3 * kills / 4 {
                self.restart_server(What::Crash, &connector).await;
            }
            let met = self.until_running().await;
            connector.kill().await;
            let most = WINDOW + std::mem::take(&mut self.forgotten);
            self.note(What::Kill, met, most);
            connector = self.start().await;
        }
        connector
    }

    /// Restarts the server, by a signal that it obeys or by SIGKILL.
    async fn restart_server(&mut self, what: What, connector: &Connector) {
        let met = self.until_running().await;
        if what == What::Crash {
            self.server.kill().await;
        } else {
            self.server.stop().await;
        }
        self.note(what, met, 0);
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
        let well = self.gateway.ledger().with(|calls| by_message(calls.well()).len());
        self.forgotten += well.saturating_sub(acknowledged);
    }

    async fn stop_gateway(&mut self, connector: &Connector) {
        let met = self.until_running().await;
        self.gateway.stop().await;
        self.note(What::Gateway, met, 0);
        connector.until_unready("platform").await;
        // How long an outage lasts is part of what is tried.
        sleep(self.size.gateway_down).await;
        self.gateway.restart().await.unwrap();
        connector.until_ready().await;
    }

    async fn start(&self) -> Connector {
        let concurrency = CONCURRENCY.to_string();
        let env = [
            ("stream", "S"),
            ("durable", "d"),
            ("function_concurrency", &*concurrency),
            ("max_retry_attempts", "-1"),
        ];
        Connector::ready(&self.server, &self.gateway, &env).await
    }

    /// Waits until enough calls run; gives how many had begun, and how many run.
    async fn until_running(&self) -> (u64, usize) {
        let enough =
            |calls: &Calls| (calls.running() >= RUNNING).then(|| (calls.begun(), calls.running()));
        until("calls that run", async || self.gateway.ledger().with(enough)).await
    }

    fn note(&mut self, what: What, (before, running): (u64, usize), most: usize) {
        let after = self.gateway.ledger().with(Calls::begun);
        self.broken.push(Broken { what, before, after, running, most });
    }

    async fn until_well(&self, messages: usize) {
        let what = format!("{messages} messages answered well");
        let reached = |calls: &Calls| calls.well().count() >= messages;
        self.gateway.ledger().wait_for_within(self.size.patience, &what, reached).await;
    }

    /// Waits until everything has been called and acknowledged.
    async fn finish(&self, connector: &Connector) {
        let mut last = (0, Instant::now());
        loop {
            let seen = self.gateway.ledger().with(|calls| by_message(calls.well()).len());
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
        until_is("in flight", 0, async || connector.metric("tributary_events_in_flight").await)
            .await;
    }
}
