//! Three replicas of cron-connector, a function with a tick each second, and the account of every tick.

use std::collections::BTreeSet;

use dev_gateway::{Calls, Config, DevGateway, Function};
use integration::process::Signal;
use integration::ticks::{Missed, moment};
use integration::{Connector, Launch, until};

/// How many there are at any time.
const REPLICAS: usize = 3;

/// Said when the one that calls has become another.
const NEWS: &str = "calls from now on";

/// The replicas, and the gateway that they call.
pub(super) struct Replicas {
    gateway: DevGateway,
    launch: Launch,
    running: Vec<Connector>,
    /// What those wrote that have ended.
    logs: Vec<String>,
}

impl Replicas {
    /// Starts them. `launch` says which Lease they share, and how they get at it.
    pub(super) async fn start(launch: Launch) -> Self {
        let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
        let report = Function::named("report").topic("cron-function");
        gateway.deploy(report.annotation("schedule", "* * * * * *"));
        let launch = launch
            .set("gateway_url", gateway.url())
            .set("admin_port", "0")
            .set("cron_seconds", "true")
            .set("debug", "true");
        let mut replicas = Self { gateway, launch, running: Vec::new(), logs: Vec::new() };
        for _ in 0..REPLICAS {
            replicas.add().await;
        }
        replicas
    }

    async fn add(&mut self) {
        self.running.push(self.launch.start().await);
    }

    /// Waits until one of them leads, and a call has been made since.
    pub(super) async fn leader(&self) -> usize {
        self.leader_beside(None).await
    }

    async fn leader_beside(&self, excluded: Option<usize>) -> usize {
        let look = async || {
            let all = self.running.iter().enumerate();
            let mut others = all.filter(|(index, _)| Some(*index) != excluded);
            others.find(|(_, replica)| leads(replica)).map(|(index, _)| index)
        };
        let leader = until("a replica to lead", look, Option::is_some).await;
        self.call().await;
        leader.expect("waited for")
    }

    /// Waits for one more call.
    async fn call(&self) {
        let before = self.gateway.ledger().calls().len();
        let more = |calls: &Calls| calls.iter().count() > before;
        self.gateway.ledger().wait_for("a call by the one that leads", more).await;
    }

    /// Ends the one that leads without a warning, and starts another.
    pub(super) async fn kill_leader(&mut self) {
        let leader = self.leader().await;
        let killed = self.running.remove(leader).kill_now().await;
        self.logs.extend(killed.lines);
        self.add().await;
    }

    /// Suspends the one that leads until another does; then it goes on.
    pub(super) async fn suspend_leader(&self) {
        let leader = self.leader().await;
        self.running[leader].signal(Signal::Stop);
        self.leader_beside(Some(leader)).await;
        self.running[leader].signal(Signal::Continue);
        let look = async || leads(&self.running[leader]);
        until("it to learn that another leads", look, |leads| !leads).await;
    }

    /// Waits until each says that it is not ready, for a reason that contains `why`.
    pub(super) async fn not_ready(&self, why: &str) {
        for replica in &self.running {
            replica.not_ready(why).await;
        }
    }

    /// Waits until each is ready, and one of them has called again.
    pub(super) async fn ready(&self) {
        for replica in &self.running {
            replica.ready().await;
        }
        self.leader().await;
    }

    /// Ends them, and looks whether each tick was called at most once and every other one counted.
    pub(super) async fn books(mut self) -> Books {
        self.leader().await;
        for replica in self.running {
            self.logs.extend(replica.kill_now().await.lines);
        }
        let calls = self.gateway.ledger().calls();
        let scheduled = calls.iter().map(|call| call.header("x-cron-scheduled"));
        let scheduled: Vec<i64> = scheduled
            .map(|instant| moment(instant.expect("a call says its tick")) / 1000)
            .collect();
        let called: BTreeSet<i64> = scheduled.iter().copied().collect();
        assert_eq!(called.len(), scheduled.len(), "a tick was called twice");
        let span = *called.first().expect("calls")..=*called.last().expect("calls");
        let missed = self.logs.iter().filter_map(|line| Missed::read(line));
        let books = Books {
            ticks: span.clone().count(),
            called: called.len(),
            // Replicas that are slow to begin, or to end, miss some before the first call, or after the last one.
            missed: missed.flat_map(|it| it.instants()).filter(|it| span.contains(it)).count(),
            in_doubt: in_doubt(&self.logs),
        };
        let Books { ticks, called, missed, in_doubt } = books;
        assert!(called + missed + in_doubt >= ticks, "not all are accounted for: {books:?}");
        assert!(
            called + missed <= ticks,
            "some of those that were called count as missed: {books:?}"
        );
        books
    }
}

/// What became of all ticks from the first that was called to the last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Books {
    ticks: usize,
    called: usize,
    missed: usize,
    in_doubt: usize,
}

impl Books {
    /// Those of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            ticks: self.ticks + other.ticks,
            called: self.called + other.called,
            missed: self.missed + other.missed,
            in_doubt: self.in_doubt + other.in_doubt,
        }
    }
}

fn leads(replica: &Connector) -> bool {
    let lines = replica.lines();
    let news = lines.iter().rev().find(|line| line.contains(NEWS));
    news.is_some_and(|line| line.contains("this replica"))
}

/// How many ticks a log says are in doubt.
fn in_doubt(log: &[String]) -> usize {
    let lines = log.iter().filter(|line| line.contains("In doubt: "));
    lines.map(|line| ticks_of(line).unwrap_or_else(|| panic!("{line}"))).sum()
}

fn ticks_of(line: &str) -> Option<usize> {
    line.split_once("ticks=")?.1.split(' ').next()?.parse().ok()
}
