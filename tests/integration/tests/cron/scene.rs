//! A gateway, a link to it, a clock, and one process of cron-connector after the other: how each is broken, and mended.

use std::collections::BTreeMap;
use std::time::Duration;

use dev_gateway::{Call, Calls, Config, DevGateway, Fault, Function, ListingFault};
use integration::faults::{Kind, Planned, turn_of_a_second};
use integration::metrics::Metrics;
use integration::process::Signal;
use integration::proxy::{Proxy, Weather};
use integration::size::seed;
use integration::ticks::now;
use integration::{Connector, Ended, Launch, PATIENCE, WallClock};
use ledger_checker::plan::FaultKind;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::sleep;

use super::books::missed_by;
use super::evidence::{Called, End, Evidence, Life, Outage, Stretch};

/// A function's name, and an annotation beside its schedule.
type Annotated = (&'static str, Option<(&'static str, &'static str)>);

/// The functions, each with a tick each second.
pub(super) const FUNCTIONS: [Annotated; 4] = [
    ("allowing", None),
    ("forbidding", Some(("connector.cron.overlap", "forbid"))),
    ("queueing", Some(("connector.cron.overlap", "queue"))),
    (RETRYING, Some(("com.openfaas.retry.attempts", "2"))),
];
/// The one whose failed calls are repeated, and how often.
pub(super) const RETRYING: &str = "retrying";
pub(super) const RETRIES: usize = 2;

/// How long a call takes while all is well.
const CALL: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(60)];
/// How many of one function run at a time, as by default.
const CONCURRENCY: u32 = 10;
/// How far a clock is set. A little more than an hour: set back by less, schedules are silent until it has passed their
/// last ticks.
const CLOCK_STEP: i64 = 3_700;

/// What stands there, breaks, and is told of in the end.
pub(super) struct Scene {
    gateway: DevGateway,
    link: Proxy,
    clock: WallClock,
    launch: Launch,
    running: Option<Running>,
    evidence: Evidence,
    random: StdRng,
}

/// The present process, and what its [`Life`] says of its clock.
struct Running {
    connector: Connector,
    name: String,
    clock: Vec<Stretch>,
}

impl Scene {
    /// One in which all is well, and each function has been called.
    pub(super) async fn open(number: u64) -> Self {
        let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
        for (name, annotation) in FUNCTIONS {
            let function = Function::named(name).topic("cron-function");
            let function = function.annotation("schedule", "* * * * * *");
            gateway.deploy(match annotation {
                Some((annotation, value)) => function.annotation(annotation, value),
                None => function,
            });
        }
        let (link, clock) = (Proxy::listen().await, WallClock::new());
        link.leads_to(&gateway.address().to_string());
        let launch = Launch::new("cron")
            .set("gateway_url", format!("http://{}", link.address()))
            .set("rebuild_interval", "1s")
            .set("cron_seconds", "true")
            .set("initial_retry_wait", "100ms")
            .set("max_retry_wait", "500ms")
            .set("print_response", "false")
            // A line for each tick that is missed.
            .set("debug", "true");
        let launch = clock.of(launch);
        let (running, evidence) = (None, Evidence::default());
        let random = StdRng::seed_from_u64(seed() + number);
        let mut scene = Self { gateway, link, clock, launch, running, evidence, random };
        scene.functions_are_well();
        scene.start().await;
        scene.gets_on().await;
        scene.clock.is_read_by(scene.running().connector.pid());
        scene
    }

    /// One fault, from before it begins until each function is called again.
    pub(super) async fn suffer(&mut self, Planned { after, kind, lasts }: Planned) {
        sleep(after).await;
        self.adds_up().await;
        // Half of what breaks is to break what has just fallen due.
        turn_of_a_second(&mut self.random).await;
        let from = now();
        self.inflict(kind, lasts).await;
        if kind.judged_as() == FaultKind::GatewayOutage {
            self.evidence.outages.push(Outage { from, to: now() });
        }
        self.gets_on().await;
    }

    /// Ends the process in good order, and tells what is known.
    pub(super) async fn end(mut self) -> Evidence {
        self.adds_up().await;
        self.drain().await;
        self.evidence.calls = self.gateway.ledger().calls().iter().map(Called::from).collect();
        self.evidence
    }

    async fn inflict(&mut self, kind: Kind, lasts: Duration) {
        match kind {
            Kind::Link(_, weather) => {
                self.link.set(weather);
                sleep(lasts).await;
                self.link.set(Weather::Fair);
            }
            Kind::Kill => {
                self.kill().await;
                self.start().await;
            }
            Kind::Replace => {
                self.drain().await;
                self.start().await;
            }
            Kind::Freeze => {
                self.running().connector.signal(Signal::Stop);
                sleep(lasts).await;
                self.running().connector.signal(Signal::Continue);
            }
            Kind::RestartGateway => {
                self.gateway.stop().await;
                sleep(lasts).await;
                self.gateway.restart().await.expect("its port is its own");
            }
            Kind::BadAnswers | Kind::SlowAnswers | Kind::ColdStart | Kind::LongColdStart => {
                self.functions(&FUNCTIONS, kind, lasts).await;
            }
            Kind::RollingUpdate => {
                let updated = &FUNCTIONS[..1];
                self.gateway.platform(|it| it.hidden = [(updated[0].0.to_owned(), 1)].into());
                self.functions(updated, kind, lasts).await;
            }
            Kind::NoListing => {
                self.gateway.platform(|it| it.listing = Some(ListingFault::Status(500)));
                sleep(lasts).await;
                self.gateway.platform(|it| it.listing = None);
            }
            Kind::ClockAhead => self.clock(CLOCK_STEP, lasts).await,
            Kind::ClockBehind => self.clock(-CLOCK_STEP, lasts).await,
            Kind::RestartBroker | Kind::FreezeBroker | Kind::FillDisk | Kind::RevokeRights => {
                unreachable!("there is no broker")
            }
        }
    }

    /// The process' clock goes wrong, for a while in which it has to get on too.
    async fn clock(&mut self, ahead: i64, lasts: Duration) {
        self.set_clock(ahead);
        sleep(lasts).await;
        self.gets_on().await;
        self.set_clock(0);
    }

    fn set_clock(&mut self, ahead: i64) {
        let clock = &mut self.running.as_mut().expect("one runs").clock;
        clock.last_mut().expect("it had a time").until = now();
        self.clock.set(ahead);
        clock.push(Stretch { ahead, from: now(), until: i64::MAX });
    }

    /// These functions meet for a while what this does to calls.
    async fn functions(&mut self, functions: &[Annotated], kind: Kind, lasts: Duration) {
        for (function, _) in functions {
            let fault = kind.of_calls(CONCURRENCY).expect("it does something to them");
            self.gateway.fault(function, fault.seed(self.random.random()));
        }
        sleep(lasts).await;
        self.functions_are_well();
    }

    fn functions_are_well(&self) {
        let [least, most] = CALL;
        for (function, _) in FUNCTIONS {
            self.gateway.fault(function, Fault::none().delay_between(least, most));
        }
    }

    /// Waits until each function has been called well from now on.
    async fn gets_on(&self) {
        let before = self.gateway.ledger().with(Calls::begun);
        let is_called = |calls: &Calls, function| {
            let mut since = calls.of(function).rev().take_while(|call| call.number >= before);
            since.any(Call::answered_well)
        };
        let all = |calls: &Calls| FUNCTIONS.iter().all(|(name, _)| is_called(calls, name));
        self.gateway.ledger().wait_for_within(PATIENCE, "a call of each function", all).await;
    }

    async fn start(&mut self) {
        let name = format!("process/{}", self.evidence.lives.len());
        let launch = self.launch.clone().set("content_type", name.as_str());
        let clock = vec![Stretch { ahead: 0, from: now(), until: i64::MAX }];
        self.running = Some(Running { connector: launch.start().await, name, clock });
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("one runs")
    }

    /// Waits until the metrics tell of as many ticks that were missed as the log does. The log may be behind.
    async fn adds_up(&self) {
        let connector = &self.running().connector;
        let told = |metrics: &Metrics| {
            let counted = metrics.count("tributary_cron_ticks_total", &[("outcome", "missed")]);
            counted == missed_by(&connector.lines())
        };
        let metrics = connector.metrics_until("all to be told that is counted", told).await;
        metrics.balance();
    }

    /// Ends the process by SIGTERM.
    async fn drain(&mut self) {
        let Running { connector, name, clock } = self.running.take().expect("one runs");
        connector.signal(Signal::Terminate);
        let Ended { code, lines: log } = connector.exited().await;
        assert_eq!(code, Some(0), "SIGTERM drains and exits 0:\n{}", log.join("\n"));
        self.evidence.lives.push(Life::ended(name, clock, log, End::Drained));
    }

    /// Ends the process by SIGKILL.
    async fn kill(&mut self) {
        let Running { connector, name, clock } = self.running.take().expect("one runs");
        let answered = self.gateway.ledger().with(|calls| last_answered(calls, &name));
        let log = connector.kill_now().await.lines;
        let end = End::Killed { at: now(), answered };
        self.evidence.lives.push(Life::ended(name, clock, log, end));
    }
}

/// The last instant of each function that a process has an answer to.
fn last_answered(calls: &Calls, process: &str) -> BTreeMap<String, i64> {
    let answered = calls.iter().map(Called::from).filter(|call| call.ended.is_some());
    let mut last = BTreeMap::new();
    for call in answered.filter(|call| call.life == process) {
        let instant = last.entry(call.function).or_insert(call.instant);
        *instant = call.instant.max(*instant);
    }
    last
}
