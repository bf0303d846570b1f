//! What a soak has to know of each source: how its broker is started and hurt, how events are sent to it, what it has in
//! the end, and what the judge may hold against the connector.
//!
//! Events are sent past the proxy, by clients that are not the connector's where there is a choice.

pub(crate) mod kafka;
pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod sqs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use integration::faults::Kind;
use integration::kafka::Sampler;
use integration::process::{Signal, resident, send};
use integration::proxy::Proxy;
use integration::{Launch, script, unique};
use ledger_checker::plan::{Broker, Message, Ordering, Settling, TRAVEL_MS};
use tokio::task::JoinHandle;

use crate::feed::{KEYS, Rate};
use crate::overload::Flood;

/// How long a lease lasts, where there are any: shorter than any freeze of a run.
pub(crate) const LEASE_SECONDS: u64 = 4;
/// How many calls of one function run.
pub(crate) const CONCURRENCY: usize = 32;

/// A source under test.
pub(crate) trait Source: Sized {
    /// The kind of its connector.
    const CONNECTOR: &str;

    /// How events are sent to it.
    type Publisher: Publisher + 'static;

    /// How its connector counts what it drops, where it may drop anything.
    const DROPS: Option<Drops> = None;

    /// Starts the broker, behind the proxy; on a disk of its own, if that is to be filled.
    async fn start(proxy: &Proxy, disk: Disk) -> Self;

    /// Makes a place for dead letters that can be read in the end: what the setting `dead_letter` calls it. Asked before
    /// anything below. `None`: there is none.
    async fn letterbox(&mut self) -> Option<String> {
        None
    }

    /// What the judge has to know.
    fn promise(&self) -> Promise;

    /// The topic that functions ask for.
    fn topic(&self) -> String;

    /// The connector's settings that concern the source.
    fn settings(&self, launch: Launch) -> Launch;

    /// The broker's process.
    fn process(&mut self) -> &mut Process;

    /// Takes away what the connector may do at the broker, or gives it back.
    async fn permit(&mut self, permitted: bool, link: &Proxy);

    /// The faults that this broker itself cannot stand.
    fn unfit(&self) -> &[Kind] {
        &[]
    }

    /// How fast events are sent, unless there are to be too many.
    fn rate(&self) -> Rate {
        Rate::Called
    }

    /// What is too much for it.
    fn flood(&self) -> Flood {
        Flood::USUAL
    }

    /// A topic with a lane of its own and who sends to it, where this source's connector has more than one lane in a run.
    fn calm(&self) -> Option<(String, Self::Publisher)> {
        None
    }

    /// A client that receives past the proxy and the connector, and who sends to it, where there is
    /// [`calm`](Self::calm) to compare it with. It begins at once.
    async fn bare(&self) -> Option<(Self::Publisher, Bare)> {
        None
    }

    /// A client that sends events.
    async fn publisher(&self) -> Self::Publisher;

    /// Watches what is settled, from now on.
    fn watch(&self, _folder: &Path) -> Option<Sampler> {
        None
    }

    /// How many settlements have been sent that the broker has not read. A connection that ends now takes them with it.
    fn unread(&self) -> usize {
        0
    }

    /// How many events are not settled, where that can be asked while a connector runs.
    async fn unsettled(&self) -> Option<u64> {
        None
    }

    /// How many events are not settled, after the connector has ended.
    async fn left(&self) -> u64;

    /// What is in its [letterbox](Self::letterbox), where the judge does not ask the broker itself.
    async fn letters(&self) -> Vec<Message> {
        Vec::new()
    }
}

/// A metric of what a connector drops because its promise allows it.
pub(crate) struct Drops {
    pub(crate) metric: &'static str,
    /// The values of its label `why`.
    pub(crate) reasons: &'static [&'static str],
}

/// A count that goes up in one task and is read in another.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A client that receives from the broker as the connector does, and calls nobody.
pub(crate) struct Bare {
    pub(crate) receiving: JoinHandle<()>,
    /// How many events it has received and settled.
    pub(crate) received: Tally,
}

/// What the judge has to know.
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    pub(crate) broker: Broker,
    pub(crate) ordering: Ordering,
    pub(crate) settling: Settling,
    pub(crate) lane_window: usize,
}

/// Each event is settled on its own.
fn single() -> Settling {
    Settling::Single { lease_ms: LEASE_SECONDS * 1_000, travel_ms: TRAVEL_MS }
}

/// Sends events.
pub(crate) trait Publisher: Send {
    /// Sends events, and returns when the broker has them.
    fn publish(&mut self, events: Vec<Event>) -> impl Future<Output = Result<(), Unsure>> + Send;
}

/// The broker may have these or not.
pub(crate) struct Unsure(pub(crate) Vec<Event>);

/// One event.
pub(crate) struct Event {
    pub(crate) number: usize,
    pub(crate) key: String,
    pub(crate) payload: String,
}

impl Event {
    pub(crate) fn number(number: usize) -> Self {
        let key = number % KEYS;
        let padding = "x".repeat(number * 7 % 200);
        Self { number, key: format!("k{key}"), payload: format!("event {number} {padding}") }
    }

    /// None, one or two, which are found in its dead letter again.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let tag = |n| (format!("Tag-{n}"), format!("{n} of {}", self.number));
        (0..self.number % 3).map(tag).collect()
    }
}

/// What a broker keeps its data on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disk {
    /// The machine's.
    Shared,
    /// One that nobody else suffers from, in memory.
    Own,
}

/// How large one is: no run has as many events.
const DISK: &str = "4g";

/// A broker's process of this run alone.
pub(crate) struct Process {
    kind: &'static str,
    name: String,
    pid: u32,
    address: String,
    folder: PathBuf,
    disk: Disk,
}

impl Process {
    /// Starts it. `settings` are lines of its configuration.
    pub(crate) fn start(kind: &'static str, disk: Disk, settings: &[String]) -> Self {
        let name = unique("soak");
        let disk: &[_] = if disk == Disk::Own { &["--disk", DISK] } else { &[] };
        let settings = settings.iter().flat_map(|line| ["--set", line.as_str()]);
        let said = script(kind, "up", &name, disk.iter().copied().chain(settings));
        let pid = said["PID"].parse().expect("a pid is a number");
        let (address, folder) = (said["ADDRESS"].clone(), said["DIR"].clone().into());
        // Not everybody may mount one.
        let disk = if said["DISK"].is_empty() { Disk::Shared } else { Disk::Own };
        Self { kind, name, pid, address, folder, disk }
    }

    /// What its data are on.
    pub(crate) fn disk(&self) -> Disk {
        self.disk
    }

    /// Leaves no space on its disk, or as much as it had.
    pub(crate) async fn fill_disk(&self, full: bool) {
        self.script(if full { "fill" } else { "free" }, &[]).await;
    }

    /// `host:port`, past the proxy.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends it in good order, and starts it again with its data and at its port.
    pub(crate) async fn restart(&mut self) {
        let (kind, name) = (self.kind, self.name.clone());
        let restarted = tokio::task::spawn_blocking(move || {
            script(kind, "down", &name, []);
            script(kind, "up", &name, [])
        });
        let said = restarted.await.expect("the script says so if it fails");
        self.pid = said["PID"].parse().expect("a pid is a number");
    }

    /// Whether it has died, and nobody ended it.
    pub(crate) fn has_ended(&self) -> bool {
        resident(self.pid).is_none()
    }

    /// Where its configuration and its data are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs one of its tools.
    pub(crate) async fn tool(&self, arguments: &[&str]) {
        self.script("tool", arguments).await;
    }

    async fn script(&self, verb: &'static str, arguments: &[&str]) {
        let (kind, name) = (self.kind, self.name.clone());
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let run = move || script(kind, verb, &name, arguments.iter().map(String::as_str));
        tokio::task::spawn_blocking(run).await.expect("the script says so if it fails");
    }

    /// Changes a file that it has read, and has it read again.
    pub(crate) fn reconfigure(&self, file: &str, change: impl FnOnce(String) -> String) {
        let file = self.folder.join(file);
        let text = std::fs::read_to_string(&file).expect("it has read the file");
        std::fs::write(&file, change(text)).expect("the folder is ours");
        send(self.pid, Signal::HangUp);
    }

    pub(crate) fn freeze(&self) {
        send(self.pid, Signal::Stop);
    }

    pub(crate) fn thaw(&self) {
        send(self.pid, Signal::Continue);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        script(self.kind, "wipe", &self.name, []);
    }
}
