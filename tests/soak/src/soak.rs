//! One run: a broker, a gateway and a connector with proxies between them, and what is done to all of these.
//!
//! What is broken is mended, and the next thing is broken once the connector gets on again. If it does not, the run has
//! failed there and then; everything else is the judge's.

mod counts;
mod inflict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration::faults::{Choice, Kind, Planned, Schedule};
use integration::kafka::{Rebalances, Sampler};
use integration::proxy::Proxy;
use integration::{Connector, Gateway, Launch, WallClock, judged, root, unique};
use ledger_checker::notes::Notes;
use ledger_checker::plan::{Fault, FaultKind, Run};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::feed::{Pace, Rate, SharedNotes, feed};
use crate::memory::Memory;
use crate::overload::CALM;
use crate::source::{CONCURRENCY, Disk, Source};
use crate::tail::Tail;
use counts::Counts;

/// The functions that every event has to reach.
pub(crate) const FUNCTIONS: [&str; 2] = ["bill", "ship"];
/// How long a call may take; one whose answer is lost does.
const UPSTREAM_TIMEOUT: &str = "6s";
/// The same, where functions start for longer than that.
const LONG_UPSTREAM_TIMEOUT: &str = "2m";
/// How many pairs have to be answered well before the next fault.
const LIFE: usize = 200;
/// How long nothing may get on.
const PATIENCE: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(10);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How much is done: all of it, so that what is reached first goes on until the rest is.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub(crate) seed: u64,
    /// How long events are sent and things are broken, at least.
    pub(crate) lasts: Duration,
    /// How many events are sent, at least, and after how many the tenths begin of which memory is told.
    pub(crate) events: usize,
    pub(crate) warm_up: usize,
    /// How many rounds of faults there are, at least.
    pub(crate) rounds: usize,
    /// What is broken.
    pub(crate) faults: Choice,
    /// How long nothing is broken between two faults, beside a moment that the seed says.
    pub(crate) pause: Duration,
    /// Breaks nothing, and sends ten times as many events as can be called.
    pub(crate) overload: bool,
    /// Has functions refuse some events, which become dead letters.
    pub(crate) dead_letters: bool,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) kept: bool,
    /// What the judge said, and what else was seen.
    pub(crate) said: String,
}

/// Runs one.
pub(crate) async fn run<S: Source>(size: Size) -> Outcome {
    let mut soak = Soak::<S>::open(&size).await;
    // What had to be built first took its time.
    soak.began = Instant::now();
    if size.overload {
        return soak.flood(size.lasts).await;
    }
    let feeding = soak.feed(soak.source.rate()).await;
    soak.break_everything(&size).await;
    soak.finish(feeding).await
}

pub(crate) struct Soak<S> {
    began: Instant,
    pub(crate) source: S,
    to_broker: Proxy,
    to_gateway: Proxy,
    pub(crate) gateway: Gateway,
    launch: Launch,
    /// What time it is for the connector, where that is to be changed.
    clock: Option<WallClock>,
    notes: SharedNotes,
    folder: PathBuf,
    pub(crate) tail: Tail,
    sampler: Option<Sampler>,
    pace: Arc<Pace>,
    connector: Option<Running>,
    memory: Memory,
    warm_up: usize,
    /// Whether functions refuse some events while all is well.
    refusing: bool,
    faults: usize,
    pub(crate) doing: String,
    said: Instant,
}

struct Running {
    name: String,
    connector: Connector,
    rebalances: Rebalances,
    counts: Counts,
}

impl<S: Source> Soak<S> {
    async fn open(size: &Size) -> Self {
        let (to_broker, to_gateway) = (Proxy::listen().await, Proxy::listen().await);
        let is_wanted =
            |kinds: &[Kind]| !size.overload && kinds.iter().any(|kind| size.faults.has(*kind));
        let disk = if is_wanted(&[Kind::FillDisk]) { Disk::Own } else { Disk::Shared };
        let mut source = S::start(&to_broker, disk).await;
        let letters = match size.dead_letters {
            true => {
                source.letterbox().await.expect("what this source loses is no dead letter either")
            }
            false => "drop".to_owned(),
        };
        let promise = source.promise();
        let run = Run {
            name: promise.name.to_owned(),
            seed: size.seed,
            broker: promise.broker,
            functions: FUNCTIONS.iter().map(|name| format!("{name}.openfaas-fn")).collect(),
            ordering: promise.ordering,
            settling: promise.settling,
            lane_window: promise.lane_window as u64,
        };
        let folder = root().join("var/soak").join(unique("run"));
        let mut notes = Notes::begin(&folder, run).expect("the checkout can be written");
        let gateway = Gateway::start(Some(&notes.ledger())).await;
        let address = gateway.url().strip_prefix("http://").expect("it speaks plain HTTP");
        to_gateway.leads_to(address);
        for function in FUNCTIONS {
            gateway.deploy(function, &source.topic()).await;
        }
        if size.overload
            && let Some((topic, _)) = source.calm()
        {
            notes.beside(&format!("{CALM}.openfaas-fn")).expect("the plan can be written");
            gateway.deploy(CALM, &topic).await;
        }
        // What is late on a busy machine is not to look like a fault.
        let is_long = size.faults.has_long_calls() || size.overload;
        let timeout = if is_long { LONG_UPSTREAM_TIMEOUT } else { UPSTREAM_TIMEOUT };
        let launch = Launch::new(S::CONNECTOR)
            .set("gateway_url", format!("http://{}", to_gateway.address()))
            .set("rebuild_interval", "1s")
            .set("function_concurrency", CONCURRENCY.to_string())
            .set("upstream_timeout", timeout)
            .set("initial_retry_wait", "20ms")
            .set("max_retry_wait", "500ms")
            .set("max_retry_attempts", "-1")
            .set("dead_letter", letters)
            .set("print_response", "false");
        let clock = is_wanted(&[Kind::ClockAhead, Kind::ClockBehind]).then(WallClock::new);
        let launch = match &clock {
            Some(clock) => clock.of(launch),
            None => launch,
        };
        let mut soak = Self {
            began: Instant::now(),
            launch: source.settings(launch),
            clock,
            sampler: source.watch(&folder),
            tail: Tail::of(&notes.ledger(), CALM),
            source,
            to_broker,
            to_gateway,
            gateway,
            notes: SharedNotes::new(notes),
            folder,
            pace: Arc::default(),
            connector: None,
            memory: Memory::default(),
            warm_up: size.warm_up,
            refusing: size.dead_letters,
            faults: 0,
            doing: "nothing is broken".to_owned(),
            said: Instant::now(),
        };
        soak.functions_are_well().await;
        soak.start().await;
        // A broker keeps events only for whom it knows.
        soak.running().connector.ready().await;
        if let Some(clock) = &soak.clock {
            clock.is_read_by(soak.running().connector.pid());
        }
        soak
    }

    /// Begins to send events.
    pub(crate) async fn feed(&self, rate: Rate) -> JoinHandle<()> {
        let publisher = self.source.publisher().await;
        tokio::spawn(feed(publisher, rate, self.notes.clone(), Arc::clone(&self.pace)))
    }

    /// Breaks one thing after the other, until all that was asked for has been reached.
    async fn break_everything(&mut self, size: &Size) {
        let unfit = self.unfit(&size.faults);
        let mut schedule = Schedule::new(size.seed, &size.faults, &unfit);
        self.gets_on().await;
        while self.began.elapsed() < size.lasts
            || self.pace.made() < size.warm_up + size.events
            || schedule.rounds() < size.rounds
        {
            let planned = schedule.next().expect("faults that this source can have were asked for");
            self.wait(planned.after + size.pause).await;
            self.suffer(planned).await;
        }
        "nothing is broken any more".clone_into(&mut self.doing);
    }

    /// The faults that cannot be had here.
    fn unfit(&mut self, faults: &Choice) -> Vec<Kind> {
        let mut unfit = self.source.unfit().to_vec();
        let has_disk = self.source.process().disk() == Disk::Own;
        if faults.has(Kind::FillDisk) && !unfit.contains(&Kind::FillDisk) && !has_disk {
            println!("no disk is filled: no file system can be mounted here");
            unfit.push(Kind::FillDisk);
        }
        unfit
    }

    /// One fault, from before it begins until the connector gets on again.
    async fn suffer(&mut self, Planned { kind, lasts, .. }: Planned) {
        self.faults += 1;
        self.doing = kind.to_string();
        self.tick();
        self.count_drops().await;
        let (before, produced_before) = (self.tail.moment(), self.pace.made());
        let process = self.running().name.clone();
        let forgotten = self.source.unread();
        self.inflict(kind, lasts).await;
        self.tick();
        let mended = self.tail.moment();
        self.gets_on().await;
        let kind_judged = kind.judged_as();
        // A broker is told nothing until the connector has found it again, and what was received before keeps functions
        // busy long before that.
        if kind_judged == FaultKind::BrokerOutage {
            self.settles_further().await;
        }
        let after =
            if kind_judged == FaultKind::BrokerOutage { self.tail.moment() } else { mended };
        let fault = Fault::new(kind_judged, before, after).of(&process);
        let how = Some(kind.to_string());
        self.note(Fault { how, forgotten, produced_before: Some(produced_before), ..fault });
        self.count_drops().await;
    }

    async fn start(&mut self) {
        let (name, content_type) = self.notes.lock().process().expect("the plan can be written");
        let connector = self.launch.clone().set("content_type", content_type).start().await;
        let (rebalances, counts) = (Rebalances::default(), Counts::since(self.pace.made()));
        self.connector = Some(Running { name, connector, rebalances, counts });
    }

    fn running(&self) -> &Running {
        self.connector.as_ref().expect("one runs")
    }

    /// Takes the connector out of what is looked at.
    fn take(&mut self) -> Running {
        self.tick();
        let mut running = self.connector.take().expect("one runs");
        if let Some(fault) = running.rebalances.over(self.tail.moment()) {
            self.note(named(fault, &running.name));
        }
        running
    }

    /// Waits until a good deal has been answered well since. There is always more to do while things are broken.
    async fn gets_on(&mut self) {
        self.tick();
        let (enough, since) = (self.tail.well() + LIFE, Instant::now());
        while self.tail.well() < enough {
            self.gets_on_in_time(since);
            self.wait(TICK).await;
        }
    }

    /// Waits until every lane has been settled further, or all of them to their ends, where that is watched. That
    /// everything is answered well is not enough: whoever has not been given its lanes back settles nothing of it when
    /// it is ended.
    async fn settles_further(&mut self) {
        let Some(then) = self.sampler.as_ref().map(Sampler::latest) else { return };
        let since = Instant::now();
        while let Some(now) = self.sampler.as_ref().map(Sampler::latest)
            && now.iter().zip(&then).any(|(now, then)| now <= then)
            && now.iter().sum::<i64>() < i64::try_from(self.pace.made()).unwrap_or(i64::MAX)
        {
            self.gets_on_in_time(since);
            self.wait(TICK).await;
        }
    }

    /// Waits until the broker has nothing left, where it can be asked; whether that comes is the judge's to say. An event that
    /// was refused is not at its end before its letter is known to be stored: if an outage kept that from the connector for
    /// longer than a lease lasts, it comes again.
    async fn settles_all(&mut self) {
        let since = Instant::now();
        while self.source.unsettled().await.is_some_and(|left| left > 0) {
            if since.elapsed() > PATIENCE {
                return;
            }
            self.wait(TICK * 10).await;
        }
    }

    /// Whether there are events, and all have been answered well.
    fn is_done(&self) -> bool {
        self.pace.made() > 0 && self.tail.well() >= self.pace.made() * FUNCTIONS.len()
    }

    fn gets_on_in_time(&mut self, since: Instant) {
        if since.elapsed() <= PATIENCE {
            return;
        }
        let broker =
            if self.source.process().has_ended() { "; the broker has ended by itself" } else { "" };
        let log = self.connector.as_ref().map(|it| it.connector.lines()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(40)..];
        panic!(
            "nothing gets on since {PATIENCE:?}, after: {}{broker}; see {}\n{}",
            self.doing,
            self.folder.display(),
            tail.join("\n")
        );
    }

    pub(crate) async fn wait(&mut self, lasts: Duration) {
        let until = Instant::now() + lasts;
        loop {
            self.tick();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(TICK)).await;
        }
    }

    /// Takes note of what has happened since the last look.
    fn tick(&mut self) {
        let before = self.tail.moment();
        self.tail.catch_up();
        self.pace.tell_begun(self.tail.begun());
        let now = self.tail.moment();
        let mut faults = Vec::new();
        if let Some(running) = &mut self.connector {
            let over = running.rebalances.look(&running.connector, before, now);
            faults.extend(over.into_iter().map(|fault| named(fault, &running.name)));
            self.memory.look(running.connector.pid(), self.tail.begun() >= self.warm_up);
        }
        for fault in faults {
            self.note(fault);
        }
        if self.said.elapsed() > SAY_EVERY {
            self.said = Instant::now();
            self.say();
        }
    }

    fn note(&mut self, fault: Fault) {
        self.notes.lock().fault(fault).expect("the plan can be written");
    }

    fn say(&self) {
        let (made, begun) = (self.pace.made(), self.tail.begun());
        println!(
            "{:6.0} s  {made} published, {} not yet called, {} calls ({} running), {} faults, {}; {}",
            self.began.elapsed().as_secs_f64(),
            made.saturating_sub(begun),
            self.tail.calls(),
            self.tail.running(),
            self.faults,
            self.memory,
            self.doing,
        );
    }

    /// Lets everything be called, ends everything in good order, and has it judged.
    pub(crate) async fn finish(mut self, feeding: JoinHandle<()>) -> Outcome {
        self.pace.close();
        while !feeding.is_finished() {
            self.wait(TICK).await;
        }
        feeding.await.expect("whatever cannot be sent is sent again");
        let promise = self.source.promise();
        let (mut well, mut since) = (self.tail.well(), Instant::now());
        while !self.is_done() {
            if self.tail.well() > well {
                (well, since) = (self.tail.well(), Instant::now());
            }
            // What is never settled may be lost, and nobody knows how much.
            if promise.settling == ledger_checker::plan::Settling::Never
                && since.elapsed() > Duration::from_secs(5)
            {
                break;
            }
            self.gets_on_in_time(since);
            self.wait(TICK).await;
        }
        if self.refusing {
            self.settles_all().await;
        }
        self.say();
        self.count_drops().await;
        let _ended = self.take().connector.end().await;
        if let Some(sampler) = self.sampler.take() {
            sampler.end();
        }
        self.gateway.end().await;
        let left = self.source.left().await;
        let letters = if self.refusing { self.source.letters().await } else { Vec::new() };
        self.notes.end(left, letters);
        let (kept, said) = judged(&self.folder).await;
        if kept {
            // Some hundred megabytes. What failed is kept to be looked at.
            std::fs::remove_dir_all(&self.folder).expect("the folder is ours");
        }
        let kept_in =
            if kept { String::new() } else { format!("  see {}\n", relative(&self.folder)) };
        Outcome { kept, said: format!("{said}  {}\n{kept_in}", self.memory.tenths()) }
    }
}

fn relative(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    format!("var/soak/{}", name.to_string_lossy())
}

/// A rebalance is named by itself in the table.
fn named(fault: Fault, process: &str) -> Fault {
    let how = if fault.kind == FaultKind::Lose { "lanes lost" } else { "rebalance" };
    Fault { how: Some(how.to_owned()), ..fault.of(process) }
}
