//! Every fault at once, each at a connector of its own: every alert fires in its fault and at no
//! other connector, none in calm, and every panel shows what there is.
//!
//! `SOURCE=kafka` has only those connectors, for whoever works on one of them.

use std::time::Duration;

use futures_util::future::join_all;
use golden::golden;
use integration::Prometheus;
use integration::prometheus::Sample;
use tokio::time::{Instant, sleep};

use crate::expected::{self, CALM, LESS, MORE, SLOW, kind, query};
use crate::samples::{self, Samples};
use crate::scene::{self, Fired, KINDS, Scene};
use crate::{alerts, dashboard, reference};

/// Longer than the longest time that an alert waits, and than the longest range of a query.
const CALM_FOR: Duration = Duration::from_secs(45);

/// How long the faults are watched at most.
const WATCHED: Duration = Duration::from_secs(240);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes: make prove-monitoring"]
async fn every_alert_fires_in_its_fault_and_every_panel_shows_it() {
    let only = std::env::var("SOURCE").ok().filter(|it| !it.is_empty());
    let kinds: Vec<_> = only.as_deref().map_or_else(|| KINDS.to_vec(), |only| vec![only]);
    let mut watched = Watched::begin(&kinds).await;

    let calm = watched.calm().await;
    for scene in &watched.scenes {
        for station in scene.stations() {
            reference::is_described(kind(station.job), &station.connector).await;
        }
    }
    shows_calm(&calm);

    let (fault, fired) = watched.faults(&kinds).await;
    let missing: Vec<_> = kinds.iter().flat_map(|kind| expected::left(kind, &fired)).collect();
    assert!(missing.is_empty(), "these did not fire: {missing:?}");
    let others = expected::unexpected(&fired);
    assert!(others.is_empty(), "these fired and should not: {others:?}");
    shows_faults(&kinds, &calm, &fault);
    if only.is_none() {
        let shows = |query: &&str| calm.of(query).is_some() || fault.of(query).is_some();
        let empty: Vec<_> = dashboard::queries().filter(|query| !shows(query)).collect();
        assert!(empty.is_empty(), "these never showed anything: {empty:#?}");
        if std::env::var_os("BLESS").is_some() {
            golden("docs/monitoring-samples.md", &samples::table(&calm, &fault, &fired));
        }
    }
    for scene in watched.scenes {
        scene.end().await;
    }
}

/// Panels show of calm what is known of it.
fn shows_calm(calm: &Samples) {
    for (place, wanted) in CALM {
        // A query about other connectors than there are shows nothing.
        let Some((low, high)) = calm.of(query(place)) else { continue };
        let within = wanted.contains(&low) && wanted.contains(&high);
        assert!(within, "{place:?} is {low} to {high} in calm, and not {wanted:?}");
    }
}

/// Panels that are about the trouble of these kinds of connectors tell of it.
fn shows_faults(kinds: &[&str], calm: &Samples, fault: &Samples) {
    // Before its first event a counter with labels has no series, which is as good as 0.
    let of = |samples: &Samples, place| samples.of(query(place)).unwrap_or_default();
    let theirs = |(_, kind): &&(_, &str)| kinds.contains(kind);
    for (place, _) in LESS.iter().filter(theirs) {
        let ((calm, _), (now, _)) = (of(calm, place), of(fault, place));
        assert!(now < calm, "{place:?}: {calm} in calm, {now} now");
    }
    for (place, _) in MORE.iter().filter(theirs) {
        let ((_, calm), (_, now)) = (of(calm, place), of(fault, place));
        assert!(now > calm, "{place:?}: {calm} in calm, {now} now");
    }
}

/// Connectors, and the Prometheus that scrapes them.
struct Watched {
    scenes: Vec<Box<dyn Scene>>,
    prometheus: Prometheus,
}

impl Watched {
    async fn begin(kinds: &[&str]) -> Self {
        let (mut scenes, mut targets) = (Vec::new(), Vec::new());
        for kind in kinds {
            let scene = scene::set(kind).await;
            for station in scene.stations() {
                targets.push((station.job, station.connector.admin_address().await));
            }
            targets.extend(scene.latecomer());
            scenes.push(scene);
        }
        let prometheus = Prometheus::start(&targets, &alerts::sixty_times_as_fast()).await;
        Self { scenes, prometheus }
    }

    /// Has events come in for a while, which is no reason for any alert.
    async fn calm(&self) -> Samples {
        let (mut calm, begun) = (Samples::default(), Instant::now());
        while begun.elapsed() < CALM_FOR {
            for scene in &self.scenes {
                scene.publish().await;
            }
            calm.take(&self.prometheus).await;
            assert_eq!(self.firing(false).await, Fired::new(), "nothing is wrong yet");
            sleep(LOOK).await;
        }
        calm
    }

    /// Begins every fault, and watches until everything expected has fired. Gives what fired.
    #[expect(clippy::print_stdout, reason = "which comes when is for who reads the test's output")]
    async fn faults(&mut self, kinds: &[&str]) -> (Samples, Fired) {
        let (mut fault, mut fired) = (Samples::default(), Fired::new());
        let begin = join_all(self.scenes.iter_mut().map(|scene| scene.begin()));
        let look = async {
            // Some of them are over before the last has begun.
            loop {
                fault.take(&self.prometheus).await;
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            _ = begin => {}
            () = look => {}
        }
        let begun = Instant::now();
        loop {
            fault.take(&self.prometheus).await;
            let slow = self.firing(true).await.into_iter();
            let slow = slow.filter(|(alert, _)| SLOW.contains(&alert.as_str()));
            for new in slow.chain(self.firing(false).await) {
                if fired.insert(new.clone()) {
                    println!("{:>3} s: {} fires for {}", begun.elapsed().as_secs(), new.0, new.1);
                }
            }
            let mut left = kinds.iter().flat_map(|kind| expected::left(kind, &fired));
            if left.next().is_none() || begun.elapsed() > WATCHED {
                return (fault, fired);
            }
            for scene in &mut self.scenes {
                scene.press(&fired).await;
            }
            sleep(LOOK).await;
        }
    }

    /// The alerts that fire or have fired, each with its job; and those too that waited for their
    /// time.
    async fn firing(&self, pending: bool) -> Fired {
        let states = if pending { "" } else { "{alertstate=\"firing\"}" };
        let query = format!("group by (alertname, job) (last_over_time(ALERTS{states}[1h]))");
        let label = |sample: &Sample, name| sample.labels.get(name).cloned().unwrap_or_default();
        let alerts = self.prometheus.query(&query).await.into_iter();
        alerts.map(|it| (label(&it, "alertname"), label(&it, "job"))).collect()
    }
}
