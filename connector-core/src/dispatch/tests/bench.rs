//! What the tests of dispatch stand on: the process without a broker, a settable map, a fake
//! letterbox.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::gateway::{Act, Gateway, Seen};
use crate::conditions::Conditions;
use crate::dead_letter::Letter;
use crate::event::{Event, EventId, FunctionName, OrderKey};
use crate::gateway::Progress;
use crate::invoke::Invoker;
use crate::lane::{Intake, Lane, LaneOptions};
use crate::metrics::Metrics;
use crate::platform;
use crate::run::{Assembly, assemble, reach, rules};
use crate::settings::{self, Setting, Values};
use crate::settlement::Settlement;
use crate::source::{Letterbox, Source, SourceConfig, SourceError, StoreError};
use crate::topics::{Catalog, Function, Pattern, Rules, TopicMap, Unused};

/// A letterbox that refuses while it is told to.
#[derive(Default)]
pub(super) struct Letters {
    pub(super) refuses: AtomicBool,
    /// It takes only letters without long notes.
    pub(super) is_small: AtomicBool,
    pub(super) tried: AtomicUsize,
    stored: Mutex<Vec<Letter>>,
}

impl Letters {
    pub(super) fn stored(&self) -> Vec<Letter> {
        self.stored.lock().expect("no panic").clone()
    }
}

impl Letterbox for Letters {
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.tried.fetch_add(1, Ordering::Relaxed);
            if self.refuses.load(Ordering::Relaxed) {
                return Err(StoreError::Failed("the topic refuses".to_owned()));
            }
            if self.is_small.load(Ordering::Relaxed) && letter.notes().len() > 3 {
                return Err(StoreError::TooLarge("the topic is small".to_owned()));
            }
            self.stored.lock().expect("no panic").push(letter.clone());
            Ok(())
        })
    }
}

/// A source without a broker: tests submit events by hand.
struct ByHand;

struct NoSettings;

impl SourceConfig for NoSettings {
    const SETTINGS: &'static [Setting] = &[];

    fn read(_: &mut Values) -> Self {
        Self
    }
}

impl Source for ByHand {
    const KIND: &'static str = "test";
    const ATTRIBUTE_PREFIX: &'static str = "X-Test-";
    const ATTRIBUTES: Option<(&'static str, &'static str)> = None;
    const ITEMS: &'static str = "";
    const LETTER_SCHEME: Option<&'static str> = Some("topic");
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("upstream_timeout", "1m")];
    type Config = NoSettings;

    fn pattern(_: &NoSettings, item: &str) -> Result<Pattern, Unused> {
        Ok(Pattern::Exact(item.into()))
    }

    async fn connect(_: Arc<NoSettings>, _: Intake) -> Result<Self, SourceError> {
        Ok(Self)
    }

    async fn run(self) -> Result<(), SourceError> {
        Ok(())
    }

    fn letterbox(_: &Arc<NoSettings>, _: &Intake, _: &str) -> Result<Arc<dyn Letterbox>, String> {
        Err("tests open their own".to_owned())
    }
}

/// A function, its topics, and its further annotations.
type Mapped<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Everything one test needs.
pub(super) struct Bench {
    pub(super) gateway: Arc<Gateway>,
    pub(super) intake: Intake,
    pub(super) letters: Arc<Letters>,
    publish: watch::Sender<Arc<TopicMap>>,
    rules: Rules,
}

impl Bench {
    /// Settings as the environment has them, and what the gateway does with each call. The map is
    /// complete, and function `f` is mapped to topic `t`.
    pub(super) async fn new(
        settings: &[(&str, &str)],
        script: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let gateway = Gateway::new(script);
        tokio::spawn(Arc::clone(&gateway).serve(listener));
        Self::at(url, gateway, settings)
    }

    /// The same with a map that is believed complete only after `left`; every answer is 200.
    pub(super) async fn incomplete(settings: &[(&str, &str)], left: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let gateway = Gateway::new(|_| super::gateway::status(200));
        tokio::spawn(Arc::clone(&gateway).serve(listener));
        Self::complete_after(url, gateway, settings, left)
    }

    /// The same with a gateway that listens elsewhere, or nowhere.
    pub(super) fn at(url: String, gateway: Arc<Gateway>, settings: &[(&str, &str)]) -> Self {
        Self::complete_after(url, gateway, settings, Duration::ZERO)
    }

    fn complete_after(
        url: String,
        gateway: Arc<Gateway>,
        settings: &[(&str, &str)],
        left: Duration,
    ) -> Self {
        let mut env = vec![("gateway_url".to_owned(), url)];
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let loaded = match settings::load::<ByHand>(Vec::new(), env) {
            Ok(loaded) => loaded,
            Err(outcome) => panic!("{}", outcome.text()),
        };
        let config = Arc::new(loaded.core);
        let (client, way) = reach::<ByHand>(&config).expect("an http gateway");
        let rules = rules::<ByHand>(&config, &Arc::new(NoSettings));
        let (publish, topics) = watch::channel(Arc::new(TopicMap::empty()));
        let metrics = Arc::new(Metrics::new("test", "0.0.0"));
        let conditions = Conditions::new();
        let now = Instant::now();
        let first = now + left - config.unmap_after;
        let listed = Progress { listings: 1, first: Some(first), last: Some(now), unlisted: 0 };
        // Dropped at once: tests never list again.
        let (_, listings) = watch::channel(listed);
        let gateway_url = config.gateway_url.parse().expect("an address");
        let probe = platform::probe(client, &gateway_url);
        let invoker = Invoker::new(way, config.max_inflight, config.upstream_timeout);
        let parts = Assembly { config, probe, invoker, topics, listings, conditions, metrics };
        let intake = assemble::<ByHand>(parts);
        let letters = Arc::new(Letters::default());
        let letterbox = Arc::clone(&letters);
        intake.0.dispatcher.letters.opens_with(Box::new(move |_| {
            let letterbox: Arc<dyn Letterbox> = Arc::<Letters>::clone(&letterbox);
            Ok(letterbox)
        }));
        let bench = Self { gateway, intake, letters, publish, rules };
        bench.map(&[("f", "t", &[])]);
        bench
    }

    /// Publishes a map.
    pub(super) fn map(&self, functions: &[Mapped<'_>]) {
        let catalog = functions.iter().map(|(name, topics, more)| {
            let mut annotations: BTreeMap<String, String> =
                more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            annotations.insert("topic".to_owned(), (*topics).to_owned());
            Function { name: FunctionName::new(*name), annotations: Arc::new(annotations) }
        });
        let map = TopicMap::build(&catalog.collect::<Catalog>(), &self.rules);
        self.publish.send_replace(Arc::new(map));
    }

    pub(super) fn lane(&self, change: impl FnOnce(&mut LaneOptions)) -> Lane {
        let mut options = LaneOptions::new("t/0", NonZeroUsize::new(1000).expect("not zero"));
        change(&mut options);
        self.intake.lane(options)
    }

    /// What was counted, by the names of invariant 14.
    pub(super) fn came(&self, outcome: &str) -> u64 {
        self.counted(&format!("tributary_events_total{{outcome=\"{outcome}\"}} "))
    }

    pub(super) fn counted(&self, line: &str) -> u64 {
        let page = self.intake.metrics().encode();
        let value = page.lines().find_map(|l| l.strip_prefix(line));
        value.and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// How many events are in holds.
    pub(super) fn held_events(&self) -> usize {
        let holds = self.intake.0.dispatcher.holds.list();
        holds.iter().map(|(_, _, hold)| hold.waiting()).sum()
    }

    /// Why the process is not ready, if it is not.
    pub(super) fn unready(&self) -> String {
        match self.intake.conditions().ready() {
            Ok(()) => String::new(),
            Err(why) => why.iter().map(|(s, why)| format!("{}: {why}\n", s.0)).collect(),
        }
    }

    /// Waits until `reached`, letting the clock run; fails after an hour of its time.
    pub(super) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !reached(self) {
            assert!(began.elapsed() < Duration::from_secs(3600), "never: {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Bench {
    /// Invariant 14, at the end of every test.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let outcomes =
            ["delivered", "dead_lettered", "dropped", "unmatched", "repeated", "released"];
        let ended: u64 = outcomes.iter().map(|outcome| self.came(outcome)).sum();
        let in_flight = self.counted("tributary_events_in_flight ");
        assert_eq!(self.counted("tributary_events_received_total "), ended + in_flight);
    }
}

/// An event of topic `t` with this id and key.
pub(super) fn event(id: &str, key: Option<&str>) -> Event {
    let mut event = Event::new(
        EventId::new(format!("test:{id}")),
        "t".into(),
        Bytes::copy_from_slice(id.as_bytes()),
    );
    event.order_key = key.map(|key| OrderKey::with("t", Some(0), Some(key.as_bytes())));
    event
}

pub(super) async fn submit(lane: &Lane, event: Event) -> Settlement {
    lane.slot(event.payload.len()).await.expect("the lane lives").submit(event)
}
