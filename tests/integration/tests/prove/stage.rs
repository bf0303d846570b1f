//! One run: a topic, a gateway, connectors, and what is done to them, written down.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration::kafka::{Rebalances, Sampler};
use integration::process::Signal;
use integration::{Broker, Connector, Gateway, Launch, PATIENCE, root, unique};
use ledger_checker::plan::{self, Entry, Fault, FaultKind, Ordering, PLAN, Run, Settling, Writer};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::feed::{Feed, LANES};
use crate::scale::Scale;
use crate::tail::Tail;
use crate::{TICK, UPSTREAM_TIMEOUT};

/// The functions that every record has to reach.
const FUNCTIONS: [&str; 3] = ["bill", "ship", "thank"];
/// What everything random is drawn from.
const SEED: u64 = 20_817;
/// A second, as by default; it bounds what is called again after a kill.
const COMMIT_INTERVAL_MS: u64 = 1_000;

/// How often a long wait is spoken of.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// A setting and its value.
pub(crate) type Setting<'a> = (&'a str, &'a str);

/// A run.
pub(crate) struct Stage {
    name: &'static str,
    began: Instant,
    folder: PathBuf,
    plan: Writer,
    gateway: Gateway,
    topic: String,
    group: String,
    feed: Feed,
    tail: Tail,
    sampler: Sampler,
    launch: Launch,
    connectors: BTreeMap<String, Running>,
    started: usize,
    /// How many records are to be ready and unread.
    ahead: usize,
    lane_window: usize,
    /// How long the ledger was at the last look.
    place: u64,
    /// Nothing more is to be done to the connectors.
    finishing: bool,
}

struct Running {
    connector: Connector,
    rebalances: Rebalances,
}

impl Stage {
    /// Prepares everything but the connectors.
    pub(crate) async fn open(
        name: &'static str,
        broker: Broker,
        records: usize,
        scale: &Scale,
        ordering: Ordering,
        letters: bool,
    ) -> Self {
        let folder = root().join("var/prove").join(unique("run"));
        std::fs::create_dir_all(&folder).expect("the checkout can be written");
        let topic = broker.topic("prove", i32::try_from(LANES).expect("few")).await;
        let group = unique("prove");
        let dead_letters =
            if letters { Some(broker.topic("prove-letters", 1).await) } else { None };

        let mut plan = Writer::create(&folder.join(PLAN)).expect("the folder can be written");
        let run = Run {
            name: name.to_owned(),
            seed: SEED,
            broker: plan::Broker::Kafka {
                address: broker.address().to_owned(),
                topic: topic.clone(),
                group: group.clone(),
                dead_letters: dead_letters.clone(),
            },
            functions: FUNCTIONS.iter().map(|name| format!("{name}.openfaas-fn")).collect(),
            ordering,
            settling: Settling::Interval { ms: COMMIT_INTERVAL_MS },
            lane_window: scale.lane_window as u64,
        };
        plan.write(&[Entry::Run(run)]).expect("the plan can be written");

        let gateway = Gateway::start(Some(&folder.join(plan::LEDGER))).await;
        for function in FUNCTIONS {
            gateway.deploy(function, &topic).await;
        }
        let mut launch = Launch::new("kafka")
            .set("broker_hosts", broker.address())
            .set("group", &group)
            .set("gateway_url", gateway.url())
            .set("rebuild_interval", "1s")
            .set("ordering", if ordering == Ordering::Key { "key" } else { "partition" })
            .set("function_concurrency", "64")
            .set("max_inflight", "192")
            .set("lane_window", scale.lane_window.to_string())
            .set("commit_interval", format!("{COMMIT_INTERVAL_MS}ms"))
            .set("session_timeout", "2s")
            .set("upstream_timeout", UPSTREAM_TIMEOUT)
            .set("initial_retry_wait", "20ms")
            .set("max_retry_wait", "200ms")
            .set("max_retry_attempts", if letters { "3" } else { "-1" })
            .set("print_response", "false");
        if let Some(topic) = &dead_letters {
            launch = launch.set("dead_letter", format!("topic:{topic}"));
        }
        let letters = dead_letters.as_deref();
        let sampler = Sampler::start(&folder, broker.address(), (&topic, LANES), &group, letters);
        let tail = Tail::of(&folder.join(plan::LEDGER));
        let stage = Self {
            name,
            began: Instant::now(),
            feed: Feed::new(broker, topic.clone(), records, SEED),
            topic,
            group,
            folder,
            plan,
            gateway,
            tail,
            sampler,
            launch,
            connectors: BTreeMap::new(),
            started: 0,
            ahead: scale.at_least_unread + LANES * scale.lane_window + 4 * scale.life,
            lane_window: scale.lane_window,
            place: 0,
            finishing: false,
        };
        stage.say(&format!("{records} records, seed {SEED}"));
        stage
    }

    /// Prints what comes next.
    pub(crate) fn say(&self, what: &str) {
        println!(
            "{:6.1} s  {}: {} of {} records begun, {} calls; {what}",
            self.began.elapsed().as_secs_f64(),
            self.name,
            self.tail.events,
            self.feed.made.len(),
            self.tail.calls(),
        );
    }

    /// Every function answers well, after a while.
    pub(crate) async fn functions_answer(&self, (least, most): (u64, u64)) {
        self.each_function(|seed| json!({ "delay_ms": least, "delay_max_ms": most, "seed": seed }))
            .await;
    }

    /// Three in ten calls fail: by a status, by a reset, by never being answered.
    pub(crate) async fn functions_fail(&self, (least, most): (u64, u64)) {
        self.each_function(|seed| {
            let fault = |mut fault: Value| {
                fault["delay_ms"] = least.into();
                fault["delay_max_ms"] = most.into();
                fault
            };
            let mut all = fault(json!({ "seed": seed }));
            all["mix"] = json!([
                { "share": 0.15, "fault": fault(json!({ "status": 500 })) },
                { "share": 0.14, "fault": fault(json!({ "do": "reset" })) },
                // Each of these takes the whole timeout, and its key with it.
                { "share": 0.01, "fault": fault(json!({ "do": "hang" })) },
            ]);
            all
        })
        .await;
    }

    async fn each_function(&self, fault: impl Fn(u64) -> Value) {
        for (number, function) in (0..).zip(FUNCTIONS) {
            self.gateway.fault(function, &fault(SEED + number)).await;
        }
    }

    /// Starts a connector. Gives the name it goes by.
    pub(crate) async fn start(&mut self, settings: &[Setting<'_>]) -> String {
        self.started += 1;
        let name = format!("p{}", self.started);
        self.write(Entry::Process { name: name.clone() });
        let mut launch = self
            .launch
            .clone()
            .set("content_type", format!("application/octet-stream; process={name}"));
        for (setting, value) in settings {
            launch = launch.set(setting, *value);
        }
        let connector = launch.start().await;
        self.connectors
            .insert(name.clone(), Running { connector, rebalances: Rebalances::default() });
        self.top_up().await;
        name
    }

    /// Kills a connector in the middle of its work.
    pub(crate) async fn kill(&mut self, name: &str, scale: &Scale) {
        // More than has to be running: some may end before the signal arrives.
        let running = scale.at_least_running * 3 / 2;
        self.progress(scale.life).await;
        self.until("calls to be running", |stage| {
            stage.tail.process(name).running >= running && stage.unread() >= scale.at_least_unread
        })
        .await;
        let before = self.tail.place();
        let connector = self.take(name);
        // No word with anybody before the signal: it has to meet the state that was just seen.
        let _ended = connector.kill_now().await;
        self.tick();
        self.write(Entry::Fault(Fault {
            at_least_running: scale.at_least_running,
            at_least_unread: scale.at_least_unread,
            ..fault(FaultKind::Kill, Some(name), before, self.tail.place())
        }));
    }

    /// Has brokers hurt and mended by `work`, in the middle of everybody's work, and waits until every partition has been
    /// committed further.
    pub(crate) async fn hurt_brokers(
        &mut self,
        how: &str,
        scale: &Scale,
        work: impl Future<Output = ()>,
    ) {
        self.progress(scale.life).await;
        self.until("calls to be running", |stage| {
            stage.running() >= scale.at_least_running * 3 / 2
                && stage.unread() >= scale.at_least_unread
        })
        .await;
        self.say(how);
        let (before, began) = (self.tail.place(), Instant::now());
        let done = Cell::new(false);
        let work = async {
            work.await;
            done.set(true);
        };
        // Both go on until both have ended: what is being written to the topic meanwhile has to be written.
        tokio::join!(work, self.until("the brokers to be back", |_| done.get()));
        let then = self.sampler.latest();
        self.until("every partition to be committed further", |stage| {
            let now = stage.sampler.latest();
            now.iter().zip(&then).all(|(now, then)| now > then)
        })
        .await;
        self.say(&format!("all partitions go on after {:.1} s", began.elapsed().as_secs_f64()));
        self.write(Entry::Fault(Fault {
            how: Some(how.to_owned()),
            at_least_running: scale.at_least_running,
            at_least_unread: scale.at_least_unread,
            ..fault(FaultKind::BrokerOutage, None, before, self.tail.place())
        }));
    }

    /// The topic.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The consumer group.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Produces no more than has been produced.
    pub(crate) fn no_more(&mut self) {
        self.feed.close();
    }

    /// Ends a connector in good order.
    pub(crate) async fn terminate(&mut self, name: &str) {
        let before = self.tail.place();
        let connector = self.take(name);
        connector.signal(Signal::Terminate);
        let ended = self.meanwhile(connector.exited()).await;
        assert_eq!(ended.code, Some(0), "{name} ends well:\n{}", ended.lines.join("\n"));
        self.tick();
        self.write(Entry::Fault(fault(FaultKind::Leave, Some(name), before, self.tail.place())));
    }

    /// Stops the gateway for a while, and waits until calls come in again.
    pub(crate) async fn stop_gateway(&mut self, scale: &Scale) {
        let name = self.connectors.keys().next().expect("a connector runs").clone();
        self.until("calls to be running", |stage| {
            stage.tail.process(&name).running >= scale.at_least_running
        })
        .await;
        let before = self.tail.place();
        self.gateway.stop(scale.gateway_down.as_millis()).await;
        self.until("calls to be cut", |stage| stage.tail.process(&name).running == 0).await;
        let silent = (self.tail.place(), Instant::now());
        self.write(Entry::Fault(Fault {
            at_least_running: scale.at_least_running,
            ..fault(FaultKind::GatewayOutage, None, before, silent.0)
        }));
        self.until("the gateway to be called again", |stage| stage.tail.place() > silent.0).await;
        self.say(&format!("called again after {:.1} s", silent.1.elapsed().as_secs_f64()));
    }

    /// Waits until `more` records have been begun since now.
    pub(crate) async fn progress(&mut self, more: usize) {
        let wanted = self.tail.events + more;
        self.until("records to be called", |stage| stage.tail.events >= wanted).await;
    }

    /// Waits until two connectors work side by side.
    pub(crate) async fn both_call(&mut self, first: &str, second: &str, calls: usize) {
        self.until("the second to be called", |stage| stage.tail.process(second).calls > 0).await;
        let first_before = self.tail.process(first).calls;
        self.until("both to call", |stage| {
            stage.tail.process(second).calls >= calls
                && stage.tail.process(first).calls >= first_before + calls
        })
        .await;
    }

    /// Lets everything be called, and ends everything in good order. Gives the folder to be judged.
    pub(crate) async fn finish(mut self) -> PathBuf {
        self.finishing = true;
        while !self.feed.is_empty() {
            let produced = self.feed.produce(10_000, &mut self.plan);
            self.meanwhile(produced).await;
        }
        let ends = self.feed.ends.to_vec();
        self.until("everything to be committed", |stage| stage.sampler.latest() == ends).await;
        self.say("everything is committed");
        let names: Vec<_> = self.connectors.keys().cloned().collect();
        for name in names {
            self.terminate(&name).await;
        }
        self.sampler.end();
        self.gateway.end().await;
        self.folder
    }

    /// Looks again and again until `reached`.
    ///
    /// # Panics
    /// When nothing is called any more, long before.
    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let (mut calls, mut since) = (self.tail.calls(), Instant::now());
        let mut said = Instant::now();
        loop {
            self.tick();
            if reached(self) {
                return;
            }
            if said.elapsed() > SAY_EVERY {
                said = Instant::now();
                self.say(&format!("waiting for {what}"));
            }
            if self.tail.calls() > calls {
                (calls, since) = (self.tail.calls(), Instant::now());
            }
            let dry = self.feed.is_empty() && self.tail.events == self.feed.made.len();
            assert!(
                !dry || self.finishing,
                "the records are used up while waiting for {what}: more are needed, or slower functions"
            );
            if since.elapsed() > PATIENCE {
                self.say(&format!("waiting for {what} in vain"));
                panic!(
                    "waited {PATIENCE:?} without a call for {what}: {} unread, committed {:?} of {:?}",
                    self.unread(),
                    self.sampler.latest(),
                    self.feed.ends
                );
            }
            self.top_up().await;
            sleep(TICK).await;
        }
    }

    /// Does `work`, and keeps looking meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(TICK) => self.tick(),
            }
        }
    }

    /// Takes note of what has happened since the last look.
    fn tick(&mut self) {
        self.tail.catch_up(&self.feed);
        // Whatever the log tells now happened after the last look.
        let before = std::mem::replace(&mut self.place, self.tail.place());
        let mut faults = Vec::new();
        for (name, running) in &mut self.connectors {
            let over = running.rebalances.look(&running.connector, before, self.place);
            faults.extend(over.into_iter().map(|fault| fault.of(name)));
        }
        for fault in faults {
            self.write(Entry::Fault(fault));
        }
    }

    /// Takes a connector that is about to end out of those that are looked at.
    fn take(&mut self, name: &str) -> Connector {
        let mut running = self.connectors.remove(name).expect("it runs");
        if let Some(fault) = running.rebalances.over(self.tail.place()) {
            self.write(Entry::Fault(fault.of(name)));
        }
        running.connector
    }

    async fn top_up(&mut self) {
        let unread = self.unread();
        if unread < self.ahead && !self.feed.is_empty() {
            let produced = self.feed.produce(self.ahead / 4, &mut self.plan);
            self.meanwhile(produced).await;
        }
    }

    /// How many calls run, of all connectors.
    fn running(&self) -> usize {
        self.connectors.keys().map(|name| self.tail.process(name).running).sum()
    }

    fn unread(&self) -> usize {
        self.tail.unread(&self.feed, self.lane_window)
    }

    fn write(&mut self, entry: Entry) {
        self.plan.write(&[entry]).expect("the plan can be written");
    }
}

fn fault(kind: FaultKind, process: Option<&str>, before: u64, after: u64) -> Fault {
    Fault { process: process.map(str::to_owned), ..Fault::new(kind, before, after) }
}
