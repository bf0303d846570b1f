//! The topic map, kept up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Gateway;
use crate::conditions::{Conditions, Subject};
use crate::roster::{Listing, Roster};
use crate::settings::CoreConfig;
use crate::topics::{Rules, Skipped, TopicMap};

const SUBJECT: Subject = Subject::new("gateway");

/// The first wait while nothing has been listed yet: at the start of a host the gateway comes up
/// within seconds, and nothing can be done before.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// However often a listing is asked for, the gateway is left alone this long: each one costs it a
/// question to its provider and one to Prometheus.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// How many of the annotations that were skipped are logged when they change.
const SKIPPED_LOGGED: usize = 20;

/// The topic map as it is now, and what is known of its age. Cheap to clone.
///
/// It stays as it is when the polling task ends.
#[derive(Debug, Clone)]
pub struct LiveMap {
    topics: watch::Receiver<Arc<TopicMap>>,
    progress: watch::Receiver<Progress>,
    wanted: Arc<Notify>,
    unmap_after: Duration,
}

/// What has been listed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many listings were successful.
    pub listings: u64,
    /// When the first one was.
    pub first: Option<Instant>,
    /// When the last one was.
    pub last: Option<Instant>,
    /// How many namespaces the last one had to leave out.
    pub unlisted: usize,
}

impl LiveMap {
    /// The map, live: it changes only when the catalog does. Empty before the first listing.
    #[must_use]
    pub fn topics(&self) -> watch::Receiver<Arc<TopicMap>> {
        self.topics.clone()
    }

    /// The map as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<TopicMap> {
        Arc::clone(&self.topics.borrow())
    }

    /// What has been listed, live: changes with each successful listing, whether or not it brought
    /// something new. For asking again for what the broker refused or did not know.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Resolves when there has been a listing.
    ///
    /// Cancel-safe.
    pub async fn loaded(&self) {
        let mut progress = self.progress.clone();
        if progress.wait_for(|it| it.listings > 0).await.is_err() {
            // Nobody polls any more, so it will never be.
            std::future::pending::<()>().await;
        }
    }

    /// How long ago the last successful listing was. `None` before the first.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.progress.borrow().last.map(|last| last.elapsed())
    }

    /// Whether `unmap_after` has passed since the first listing: before, no event counts as
    /// unmatched, because functions may still be coming back one by one.
    #[must_use]
    pub fn settled(&self) -> bool {
        let first = self.progress.borrow().first;
        first.is_some_and(|first| first.elapsed() >= self.unmap_after)
    }

    /// Resolves when the map has [`settled`](Self::settled).
    ///
    /// Cancel-safe.
    pub async fn until_settled(&self) {
        self.loaded().await;
        let first = self.progress.borrow().first;
        if let Some(first) = first {
            tokio::time::sleep_until(first + self.unmap_after).await;
        }
    }

    /// Has the functions listed soon, out of turn. Not more often than once a second, however
    /// often it is called.
    pub fn refresh(&self) {
        self.wanted.notify_one();
    }
}

/// The live map, and the task that keeps it: it lists at once, then every `rebuild_interval`, and
/// never ends. The map stops changing when the task is dropped.
///
/// Trouble is told to `conditions`, and keeps the process from being ready only while there has
/// been no listing at all.
pub fn poll(
    gateway: Gateway,
    rules: Rules,
    config: &CoreConfig,
    conditions: Conditions,
) -> (LiveMap, impl Future<Output = ()> + Send + 'static + use<>) {
    let pace = Pace {
        interval: config.rebuild_interval,
        unmap_after: config.unmap_after,
        print_sync: config.print_sync,
    };
    start(gateway, rules, pace, conditions)
}

/// The settings that concern polling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) unmap_after: Duration,
    pub(super) print_sync: bool,
}

pub(super) fn start(
    gateway: Gateway,
    rules: Rules,
    pace: Pace,
    conditions: Conditions,
) -> (LiveMap, impl Future<Output = ()> + Send + 'static + use<>) {
    conditions.expect(&SUBJECT);
    let (publish, topics) = watch::channel(Arc::new(TopicMap::empty()));
    let (report, progress) = watch::channel(Progress::default());
    let wanted = Arc::new(Notify::new());
    let live =
        LiveMap { topics, progress, wanted: Arc::clone(&wanted), unmap_after: pace.unmap_after };
    let polling = Polling {
        gateway,
        rules,
        pace,
        conditions,
        roster: Roster::new(pace.unmap_after),
        publish,
        report,
        wanted,
        told: Told::default(),
    };
    (live, polling.run())
}

struct Polling {
    gateway: Gateway,
    rules: Rules,
    pace: Pace,
    conditions: Conditions,
    roster: Roster,
    publish: watch::Sender<Arc<TopicMap>>,
    report: watch::Sender<Progress>,
    wanted: Arc<Notify>,
    told: Told,
}

/// What has been logged, so that it is logged once.
#[derive(Default)]
struct Told {
    skipped: BTreeSet<Skipped>,
    unlisted: BTreeMap<String, String>,
    misnamed: BTreeSet<String>,
}

impl Polling {
    async fn run(mut self) {
        let interval = self.pace.interval;
        let mut first_waits = ExponentialBuilder::new()
            .with_min_delay(FIRST_WAIT.min(interval))
            .with_max_delay(interval)
            .without_max_times()
            .build();
        loop {
            match self.gateway.list().await {
                Ok(listing) => {
                    self.absorb(listing);
                    self.conditions.well(&SUBJECT);
                }
                Err(error) => {
                    let is_empty = self.roster.first().is_none();
                    self.conditions.unwell(&SUBJECT, &error.to_string(), is_empty);
                }
            }
            if self.roster.first().is_none() {
                sleep(first_waits.next().unwrap_or(interval)).await;
                continue;
            }
            let least = LEAST_WAIT.min(interval);
            sleep(least).await;
            // Whether somebody asked or the time has come is all the same.
            timeout(interval - least, self.wanted.notified()).await.ok();
        }
    }

    fn absorb(&mut self, listing: Listing) {
        let now = Instant::now();
        let unlisted = listing.unlisted.len();
        self.told.listing(&listing);
        let is_first = self.roster.first().is_none();
        if self.roster.absorb(listing, now) || is_first {
            let map = TopicMap::build(&self.roster.catalog(), &self.rules);
            tracing::info!(
                functions = map.functions_count(),
                topics = map.wishes().len(),
                skipped = map.skipped().len(),
                "topic map changed"
            );
            self.told.skipped(&map);
            self.publish.send_replace(Arc::new(map));
        }
        if self.pace.print_sync {
            let functions = self.publish.borrow().functions_count();
            tracing::info!(functions, "Syncing topic map");
        }
        // After the map, so that whoever hears of the listing finds it.
        self.report.send_modify(|progress| {
            progress.listings += 1;
            progress.first = self.roster.first();
            progress.last = Some(now);
            progress.unlisted = unlisted;
        });
    }
}

impl Told {
    /// Logs what is new about the listing itself.
    fn listing(&mut self, listing: &Listing) {
        for (namespace, why) in &listing.unlisted {
            if self.unlisted.get(namespace) != Some(why) {
                tracing::warn!(namespace, why, "namespace cannot be listed");
            }
        }
        for namespace in self.unlisted.keys() {
            if !listing.unlisted.contains_key(namespace) {
                tracing::info!(namespace, "namespace is listed again, or gone");
            }
        }
        for name in listing.misnamed.difference(&self.misnamed) {
            tracing::warn!(name, "function cannot be called: the gateway takes no such name");
        }
        self.unlisted.clone_from(&listing.unlisted);
        self.misnamed.clone_from(&listing.misnamed);
    }

    /// Logs which annotations are newly skipped.
    fn skipped(&mut self, map: &TopicMap) {
        let skipped = map.skipped().iter().filter(|it| !it.foreign).cloned();
        let skipped: BTreeSet<Skipped> = skipped.collect();
        let news: Vec<_> = skipped.difference(&self.skipped).collect();
        for it in news.iter().take(SKIPPED_LOGGED) {
            tracing::info!(
                function = %it.function,
                annotation = it.annotation,
                item = it.item,
                reason = it.reason,
                "annotation skipped"
            );
        }
        if let Some(more) = news.len().checked_sub(SKIPPED_LOGGED).filter(|it| *it > 0) {
            tracing::info!(more, "more annotations skipped; the status page shows all");
        }
        self.skipped = skipped;
    }
}
