//! Three servers, and leaders that change again and again under load: told to step down, killed and
//! started again, frozen and thawed. What came of it is judged at the end, from the gateway's
//! ledger, by [`ledger_checker`].
//!
//! The ways come in turn, so that a few changes have them all; whose leader goes, and when, is
//! drawn from a seed. A few changes are one of the tests; `make prove-leaders SOURCE=jetstream`
//! makes fifty, whose table stands in `docs/reliability.md`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

use async_nats::jetstream::Context;
use dev_gateway::{Calls, Config, DevGateway, Fault, Function};
use futures_util::{StreamExt as _, stream};
use ledger_checker::notes::Notes;
use ledger_checker::plan::{self, FaultKind};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use crate::support::{
    CONSUMER, Cluster, Connector, Led, PATIENCE, STREAM, begin, consumers, gateway, judge, store,
    until, until_is, until_running, until_within,
};

const FUNCTIONS: [&str; 2] = ["f", "g"];
/// Of each function.
const CONCURRENCY: usize = 32;
/// What the connector receives without a verdict: twice its concurrency, by default.
const WINDOW: usize = 2 * CONCURRENCY;
/// How long calls take.
const LATENCY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));
const SUBJECTS: usize = 32;

/// So many calls run at least when a leader goes, and so many messages have been given to nobody.
const RUNNING: usize = 20;
const UNREAD: usize = 100;
/// How far ahead of the calls messages are published: enough for both.
const AHEAD: usize = UNREAD + 4 * WINDOW;
/// So many messages are published at once.
const BATCH: usize = 16;
/// So many messages are settled after each change, beyond all that had been received by then.
const MORE: u64 = WINDOW as u64;

/// One of each way.
const FEW: usize = 4;
/// How often leaders change, unless `CHANGES` says otherwise.
const CHANGES: usize = 50;
/// Where it is random, unless `SEED` says otherwise.
const SEED: u64 = 20_817;

#[tokio::test]
async fn nothing_is_lost_when_leaders_change() {
    leaders_change(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: make prove-leaders SOURCE=jetstream"]
async fn nothing_is_lost_when_leaders_change_again_and_again() {
    leaders_change(told("CHANGES").unwrap_or(CHANGES)).await;
}

#[tokio::test]
async fn a_consumer_that_is_created_has_as_many_copies_as_its_stream() {
    let cluster = Cluster::start().await;
    let gateway = gateway([Function::named("f").topic("s.>").echo()]).await;
    let connector = Connector::start(&cluster.addresses(), &gateway, &[("stream", STREAM)]);
    connector.until_ready().await;
    store(&cluster.context, "s.1", "x").await;
    gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
    let consumer = consumers(&cluster.stream).await.remove(0);
    assert_eq!(consumer.cluster.unwrap().replicas.len(), 2, "beside the one that leads");
}

/// What the environment says of it, if anything.
fn told<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What becomes of a leader.
#[derive(Clone, Copy)]
enum Way {
    /// It hands over in good order.
    StepsDown,
    /// SIGKILL for its server, which is started again once another leads.
    Killed,
    /// SIGSTOP for its server until another leads: then it goes on as if it still did.
    Frozen,
    /// The like until calls have got on without it, of whoever was connected to it as well.
    Hung,
}

const WAYS: [Way; FEW] = [Way::StepsDown, Way::Killed, Way::Frozen, Way::Hung];

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StepsDown => "steps down",
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Hung => "frozen for long",
        })
    }
}

/// Changes leaders so often, and has it judged what became of all that was published meanwhile.
async fn leaders_change(changes: usize) {
    let seed = told("SEED").unwrap_or(SEED);
    eprintln!("SEED={seed} CHANGES={changes}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start().await.consumed().await;
    let run = Run::open(&cluster, seed).await;
    let context = cluster.context.clone();
    let change = async {
        for (number, way) in (1..=changes).zip(WAYS.into_iter().cycle()) {
            let led = if random.random() { Led::Stream } else { Led::Consumer };
            let after = Duration::from_millis(random.random_range(0..500));
            eprint!("{number} of {changes}: ");
            run.change(&mut cluster, led, way, after).await;
        }
        run.enough.set(true);
    };
    let (messages, ()) = tokio::join!(run.publish(&context), change);
    run.finish(&cluster, messages).await;
}

/// A connector on a cluster, and who publishes for it.
struct Run {
    gateway: DevGateway,
    connector: Connector,
    /// The connector's name in the notes.
    process: String,
    notes: RefCell<Notes>,
    /// Whether nothing more is to be published.
    enough: Cell<bool>,
}

impl Run {
    async fn open(cluster: &Cluster, seed: u64) -> Self {
        let name = "leaders of a JetStream cluster of three change";
        let mut notes = begin(name, seed, &FUNCTIONS, WINDOW);
        // Its memory of calls is for who tells them apart.
        let config =
            Config { ledger: Some(notes.ledger()), remember_calls: 1_000, ..Config::default() };
        let gateway = DevGateway::start(config).await.unwrap();
        let (least, most) = LATENCY;
        for function in FUNCTIONS {
            gateway.deploy(Function::named(function).topic("s.>").echo());
            gateway.fault(function, Fault::none().delay_between(least, most).seed(seed));
        }
        let (process, content_type) = notes.process().unwrap();
        let concurrency = CONCURRENCY.to_string();
        let env = [
            ("stream", STREAM),
            ("durable", CONSUMER),
            ("function_concurrency", &*concurrency),
            ("max_retry_attempts", "-1"),
            ("content_type", &*content_type),
        ];
        let connector = Connector::start(&cluster.addresses(), &gateway, &env);
        connector.until_ready().await;
        let (notes, enough) = (RefCell::new(notes), Cell::new(false));
        Self { gateway, connector, process, notes, enough }
    }

    /// Publishes all along, as far ahead of the calls as is wanted. Gives how many messages it were,
    /// each of which is known to be stored.
    async fn publish(&self, context: &Context) -> usize {
        let mut published = 0;
        while !self.enough.get() {
            let called = self.gateway.ledger().with(Calls::ended) as usize / FUNCTIONS.len();
            if published >= called + AHEAD {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            let message = |n: usize| (format!("s.{}", n % SUBJECTS), n.to_string());
            let batch = (published..published + BATCH).map(message);
            self.notes.borrow_mut().produced(batch.clone()).unwrap();
            let store = async |(subject, payload): (String, String)| {
                store(context, &subject, &payload).await;
            };
            stream::iter(batch).for_each_concurrent(None, store).await;
            published += BATCH;
        }
        published
    }

    /// Has another server lead, in the middle of everybody's work, and waits until that goes on.
    async fn change(&self, cluster: &mut Cluster, led: Led, way: Way, after: Duration) {
        until("messages that nobody has received", async || {
            (cluster.consumer().await?.num_pending >= UNREAD as u64).then_some(())
        })
        .await;
        let old = cluster.leader_but(led, None).await;
        // When it happens is drawn too.
        sleep(after).await;
        let moment = || self.notes.borrow().moment().unwrap();
        let before = until_running(&self.gateway, RUNNING, moment).await;
        let began = Instant::now();
        match way {
            Way::StepsDown => cluster.step_down(led).await,
            Way::Killed => cluster.servers[old].kill().await,
            Way::Frozen | Way::Hung => cluster.servers[old].pause().await,
        }
        let new = cluster.leader_but(led, Some(old)).await;
        let elected = began.elapsed();
        match way {
            Way::StepsDown => {}
            Way::Killed => cluster.servers[old].up().await,
            Way::Frozen => cluster.servers[old].resume().await,
            Way::Hung => {
                goes_on(cluster).await;
                cluster.servers[old].resume().await;
            }
        }
        cluster.whole().await;
        goes_on(cluster).await;
        let how = format!("{led}'s leader {way}");
        eprintln!(
            "{how}: n{new} leads after {:.1} s in place of n{old}, and all goes on after {:.1} s",
            elected.as_secs_f64(),
            began.elapsed().as_secs_f64(),
        );
        let fault = plan::Fault::new(FaultKind::BrokerOutage, before, moment()).of(&self.process);
        let fault = plan::Fault {
            how: Some(how),
            at_least_running: RUNNING,
            at_least_unread: UNREAD,
            ..fault
        };
        self.notes.borrow_mut().fault(fault).unwrap();
    }

    /// Lets everything be called and settled, and has it judged.
    async fn finish(self, cluster: &Cluster, messages: usize) {
        until_is("pending and unacknowledged", Some((0, 0)), async || {
            cluster.consumer().await.map(|it| (it.num_pending, it.num_ack_pending))
        })
        .await;
        // What it has confirmed the cluster has, once: what is missing now is the connector's part.
        let kept = cluster.stream.get_info().await.unwrap().state.messages;
        assert_eq!(kept, messages as u64, "messages in the stream");
        let mut notes = self.notes.into_inner();
        notes.end(0).unwrap();
        judge(&notes, self.connector).await;
    }
}

/// Waits until all that the connector had received is settled, and more.
async fn goes_on(cluster: &Cluster) {
    let settled = async || {
        let consumer = cluster.consumer().await?;
        Some((consumer.delivered.stream_sequence, consumer.ack_floor.stream_sequence))
    };
    let (received, _) = until("what was received", settled).await;
    // A server that hangs is noticed after half a minute by whoever is connected to it.
    until_within(2 * PATIENCE, "everything received to be settled, and more", async || {
        (settled().await?.1 >= received + MORE).then_some(())
    })
    .await;
}
