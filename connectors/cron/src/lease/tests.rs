//! Replicas on a virtual clock, with a Lease that takes one of two writes upon one version, as the
//! API server does. They are killed, suspended and cut off; no tick may be called twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use connector_core::FunctionName;
use connector_core::conditions::Conditions;
use connector_core::metrics::Metrics;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::election::{Election, Store, StoreError};
use super::record::{self, Kept, Record};
use super::tenure::{Standing, Tenure};
use super::turn::Turn;
use super::*;
use crate::clock::Clock;
use crate::metrics::CronMetrics;
use crate::timetable::{Due, Tick};

const DURATION: Duration = Duration::from_secs(15);

/// The one Lease.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<(Option<Value>, u64)>>);

impl Shelf {
    fn read(&self) -> Option<Kept> {
        self.0.lock().unwrap().0.clone().map(Kept::read)
    }

    fn holder(&self) -> String {
        self.read().map_or_else(String::new, |kept| kept.record.holder)
    }

    fn write(
        &self,
        basis: Option<&Kept>,
        record: &Record,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        let (object, version) = &mut *self.0.lock().unwrap();
        let kept = object.clone().map(Kept::read);
        if kept.map(|kept| kept.version) != basis.map(|kept| kept.version.clone()) {
            return Err(StoreError::Conflict);
        }
        *version += 1;
        let mut written = match basis {
            Some(kept) => kept.replaced(record, now),
            None => record::object("openfaas", "cron", record, now),
        };
        written["metadata"]["resourceVersion"] = version.to_string().into();
        *object = Some(written.clone());
        Ok(Kept::read(written))
    }
}

/// How the way to the Lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Nothing gets there.
    Cut,
    /// What is written gets there, and no answer comes back.
    Mute,
}

struct Road {
    shelf: Shelf,
    way: Arc<Mutex<Way>>,
}

impl Road {
    async fn travel(&self) -> Way {
        sleep(Duration::from_millis(5)).await;
        *self.way.lock().unwrap()
    }
}

fn silence() -> StoreError {
    StoreError::Unreachable("cut off".to_owned())
}

impl Store for Road {
    async fn get(&self) -> Result<Option<Kept>, StoreError> {
        match self.travel().await {
            Way::Open => Ok(self.shelf.read()),
            Way::Cut | Way::Mute => Err(silence()),
        }
    }

    async fn put(
        &self,
        basis: Option<&Kept>,
        record: &Record,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        match self.travel().await {
            Way::Open => self.shelf.write(basis, record, now),
            Way::Cut => Err(silence()),
            Way::Mute => self.shelf.write(basis, record, now).and_then(|_| Err(silence())),
        }
    }
}

/// The virtual clock, off by so much.
#[derive(Debug)]
struct Wall {
    began: Instant,
    off: SignedDuration,
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        start + SignedDuration::try_from(self.began.elapsed()).unwrap() + self.off
    }
}

/// What became of ticks, for all replicas together.
#[derive(Default)]
struct Ledger {
    called: BTreeMap<Timestamp, Vec<String>>,
    passed_over: u32,
}

/// One replica, whose only function has a tick each second.
struct Replica {
    name: String,
    metrics: Arc<CronMetrics>,
    way: Arc<Mutex<Way>>,
    suspended: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    stop: Option<watch::Sender<()>>,
}

struct World {
    shelf: Shelf,
    ledger: Arc<Mutex<Ledger>>,
    began: Instant,
    born: u32,
}

impl World {
    fn new() -> Self {
        Self { shelf: Shelf::default(), ledger: Arc::default(), began: Instant::now(), born: 0 }
    }

    fn replica(&mut self, off: SignedDuration) -> Replica {
        self.born += 1;
        let name = format!("replica-{}", self.born);
        let way = Arc::new(Mutex::new(Way::Open));
        let clock: Arc<dyn Clock> = Arc::new(Wall { began: self.began, off });
        let metrics = CronMetrics::of(&Metrics::new("cron", "0.0.0"));
        let (election, seat) = Election::new(
            Road { shelf: self.shelf.clone(), way: Arc::clone(&way) },
            Tenure::new(name.clone(), DURATION),
            DURATION,
            Arc::clone(&clock),
            Conditions::new(),
            Arc::clone(&metrics),
        );
        let (suspended, is_suspended) = watch::channel(false);
        let (stop, mut stopped) = watch::channel(());
        let election = election.run(async move { drop(stopped.changed().await) });
        let ticking = tick(
            Turn::shared(seat, Arc::clone(&metrics)),
            clock,
            name.clone(),
            Arc::clone(&self.ledger),
        );
        let tasks = [
            tokio::spawn(suspendable(election, is_suspended.clone())),
            tokio::spawn(suspendable(ticking, is_suspended)),
        ];
        Replica { name, metrics, way, suspended, tasks, stop: Some(stop) }
    }

    fn called(&self) -> usize {
        self.ledger.lock().unwrap().called.len()
    }

    fn assert_none_twice(&self) {
        for (instant, by) in &self.ledger.lock().unwrap().called {
            assert_eq!(by.len(), 1, "{instant} was called by {by:?}");
        }
    }
}

impl Replica {
    fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Ends as a process does that is asked to.
    async fn end(mut self) {
        self.suspended.send_replace(false);
        drop(self.stop.take());
        (&mut self.tasks[0]).await.unwrap();
        self.kill();
    }

    fn leads(&self, world: &World) -> bool {
        world.shelf.holder() == self.name
    }
}

/// What the ticker does, without calling anybody.
async fn tick(mut turn: Turn, clock: Arc<dyn Clock>, name: String, ledger: Arc<Mutex<Ledger>>) {
    let mut last = clock.now();
    loop {
        let now = clock.now();
        let due = (last.as_second() + 1..=now.as_second()).map(due).collect();
        last = now;
        for due in turn.take(due).await {
            let ledger = &mut *ledger.lock().unwrap();
            ledger.called.entry(due.tick.instant).or_default().push(name.clone());
            ledger.passed_over += due.passed_over;
        }
        let left = 1_000_000_000 - clock.now().subsec_nanosecond();
        tokio::select! {
            () = turn.changed() => {}
            () = sleep(Duration::from_nanos(u64::try_from(left).unwrap())) => {}
        }
    }
}

fn due(second: i64) -> Due {
    let instant = Timestamp::from_second(second).unwrap();
    let function = FunctionName::new("report.openfaas-fn");
    let schedule = "* * * * * *".into();
    Due { tick: Tick { function, schedule, instant, era: 0, number: 0 }, passed_over: 0 }
}

/// Runs something, but for the time in which it is suspended.
async fn suspendable(running: impl Future<Output = ()>, mut suspended: watch::Receiver<bool>) {
    tokio::pin!(running);
    loop {
        tokio::select! {
            biased;
            Ok(_) = suspended.wait_for(|it| *it) => {}
            () = &mut running => return,
        }
        if suspended.wait_for(|it| !*it).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_three_calls_each_tick() {
    let mut world = World::new();
    let replicas = [0, 2, -3].map(|off| world.replica(SignedDuration::from_secs(off)));
    sleep(Duration::from_secs(100)).await;
    world.assert_none_twice();
    assert!(world.called() >= 97, "{}", world.called());
    assert_eq!(replicas.iter().filter(|replica| replica.leads(&world)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_ends_hands_over_at_once() {
    let mut world = World::new();
    let first = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_secs(20)).await;
    let second = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_secs(10)).await;
    assert!(first.leads(&world));
    first.end().await;
    assert_eq!(world.shelf.holder(), "");
    sleep(Duration::from_secs(4)).await;
    assert!(second.leads(&world), "within one look at the lease");
    assert_eq!(second.metrics.in_doubt.get(), 0);
    world.assert_none_twice();
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_is_followed_after_the_duration_and_its_ticks_are_made_up() {
    let mut world = World::new();
    let first = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_secs(20)).await;
    let second = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_millis(10_500)).await;
    first.kill();
    let before = world.called();
    sleep(Duration::from_secs(14)).await;
    assert_eq!(world.called(), before, "it may only be slow");
    // Counted from the last look at which the lease had changed.
    sleep(Duration::from_secs(5)).await;
    assert!(second.leads(&world));
    world.assert_none_twice();
    let passed_over = world.ledger.lock().unwrap().passed_over;
    let known = world.called() as u64 + u64::from(passed_over);
    // The tick in doubt was called, or it was not.
    let in_doubt = second.metrics.in_doubt.get();
    assert!(in_doubt <= 1 && known <= 49 && known + in_doubt >= 49, "{known} {in_doubt}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_suspended_calls_nothing_of_what_another_did() {
    let mut world = World::new();
    let first = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_secs(5)).await;
    let second = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_secs(5)).await;
    first.suspended.send_replace(true);
    sleep(Duration::from_secs(40)).await;
    assert!(second.leads(&world));
    first.suspended.send_replace(false);
    sleep(Duration::from_secs(20)).await;
    assert!(second.leads(&world));
    world.assert_none_twice();
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_claimed_again() {
    let mut world = World::new();
    let only = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_millis(9_500)).await;
    let before = world.called();
    *only.way.lock().unwrap() = Way::Mute;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.called(), before, "nothing is called that may not be ours");
    *only.way.lock().unwrap() = Way::Open;
    sleep(Duration::from_secs(5)).await;
    world.assert_none_twice();
    let passed_over = world.ledger.lock().unwrap().passed_over as usize;
    assert!(world.called() + passed_over >= 19, "{} {passed_over}", world.called());
    assert_eq!(only.metrics.in_doubt.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_removed_is_made_again_with_what_it_said() {
    let mut world = World::new();
    let leader = world.replica(SignedDuration::ZERO);
    sleep(Duration::from_secs(20)).await;
    let _followers = [2, -3].map(|off| world.replica(SignedDuration::from_secs(off)));
    for _ in 0..10 {
        sleep(Duration::from_millis(3_300)).await;
        world.shelf.0.lock().unwrap().0 = None;
        sleep(Duration::from_secs(4)).await;
        assert!(leader.leads(&world), "nobody was gone");
    }
    world.assert_none_twice();
    // Now the one that would make it again is gone as well.
    leader.kill();
    world.shelf.0.lock().unwrap().0 = None;
    let before = world.called();
    sleep(Duration::from_secs(30)).await;
    assert!(world.called() > before);
    world.assert_none_twice();
}

/// Whatever happens to three replicas for ten minutes, no tick is called twice, and hardly one of
/// those in which somebody could call is lost.
#[tokio::test(start_paused = true)]
async fn no_tick_is_called_twice_whatever_happens() {
    for seed in 0..40 {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let mut replicas: Vec<Replica> = Vec::new();
        for _ in 0..120 {
            while replicas.len() < 3 {
                let off = SignedDuration::from_millis(chance.random_range(-3000..3000));
                replicas.push(world.replica(off));
            }
            sleep(Duration::from_millis(chance.random_range(0..10_000))).await;
            let index = chance.random_range(0..3);
            let way = |way| *replicas[index].way.lock().unwrap() = way;
            match chance.random_range(0..8) {
                0 => replicas.remove(index).kill(),
                1 => replicas.remove(index).end().await,
                2 => _ = replicas[index].suspended.send_replace(true),
                3 => way(Way::Cut),
                4 => way(Way::Mute),
                _ => {
                    way(Way::Open);
                    replicas[index].suspended.send_replace(false);
                }
            }
            world.assert_none_twice();
        }
        assert!(world.called() > 100, "seed {seed}: {}", world.called());
        replicas.into_iter().for_each(Replica::kill);
    }
}

#[test]
fn what_others_wrote_into_the_lease_stays() {
    let object = serde_json::json!({
        "metadata": { "resourceVersion": "7", "labels": { "team": "payments" } },
        "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": 30 },
    });
    let kept = Kept::read(object);
    assert_eq!(kept.record.duration, Duration::from_secs(30));
    assert_eq!(kept.record.claimed, Timestamp::UNIX_EPOCH);
    let now = "2026-03-01T12:00:00.5Z".parse().unwrap();
    let written = kept.replaced(&Record { holder: "us".to_owned(), ..kept.record.clone() }, now);
    assert_eq!(written["metadata"]["labels"]["team"], "payments");
    assert_eq!(written["metadata"]["resourceVersion"], "7");
    assert_eq!(written["spec"]["holderIdentity"], "us");
    assert_eq!(written["spec"]["renewTime"], "2026-03-01T12:00:00.500000Z");
    assert_eq!(Kept::read(written).record.holder, "us");
}

#[test]
fn a_lease_that_is_none_is_written_like_a_new_one() {
    use serde_json::json;
    let now = Timestamp::UNIX_EPOCH;
    for object in [
        json!([]),
        json!({ "spec": "mine", "metadata": 1 }),
        json!({ "metadata": { "annotations": [] } }),
        json!({ "spec": { "leaseDurationSeconds": u64::MAX, "leaseTransitions": u64::MAX } }),
    ] {
        let shown = object.to_string();
        let mut tenure = Tenure::new("us".to_owned(), DURATION);
        let kept = Kept::read(object);
        tenure.read(Some(kept.clone()), Instant::now());
        assert!(tenure.expires().is_some(), "{shown}");
        let record = tenure.renewal(Instant::now()).expect("nobody leads");
        let written = Kept::read(kept.replaced(&record, now));
        assert_eq!((written.record.holder.as_str(), written.record.duration), ("us", DURATION));
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_does_not_count_as_called() {
    let shelf = Shelf::default();
    let mut tenure = Tenure::new("us".to_owned(), DURATION);
    let now = Instant::now();
    let instant = |second| Timestamp::from_second(second).unwrap();
    let write = |tenure: &Tenure, record: Record| {
        shelf.write(tenure.basis(), &record, Timestamp::UNIX_EPOCH).unwrap()
    };
    let kept = write(&tenure, tenure.renewal(now).unwrap());
    tenure.wrote(kept, now);
    let kept = write(&tenure, tenure.claim(instant(10)).unwrap());
    tenure.wrote(kept, now);
    tenure.granted(instant(10));

    write(&tenure, tenure.claim(instant(20)).unwrap());
    tenure.read(shelf.read(), now);
    for record in [tenure.renewal(now), tenure.release(), tenure.claim(instant(30))] {
        let record = record.expect("it leads");
        assert!(record.claimed >= instant(20));
        assert_eq!(record.called, instant(10), "nobody has called those up to 20");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_from_when_it_saw_the_last_change() {
    let shelf = Shelf::default();
    let mut tenure = Tenure::new("us".to_owned(), DURATION);
    let start = Instant::now();
    let first = Record {
        holder: "them".to_owned(),
        duration: Duration::from_secs(10),
        claimed: Timestamp::UNIX_EPOCH,
        called: Timestamp::UNIX_EPOCH,
        transitions: 3,
    };
    let kept = shelf.write(None, &first, Timestamp::UNIX_EPOCH).unwrap();
    tenure.read(Some(kept.clone()), start);
    assert_eq!(tenure.renewal(start + Duration::from_secs(9)), None);
    let kept = shelf.write(Some(&kept), &first, Timestamp::UNIX_EPOCH).unwrap();
    tenure.read(Some(kept), start + Duration::from_secs(9));
    assert_eq!(tenure.renewal(start + Duration::from_secs(18)), None);
    let taken = tenure.renewal(start + Duration::from_secs(19)).unwrap();
    assert_eq!((taken.holder.as_str(), taken.duration, taken.transitions), ("us", DURATION, 4));
    assert_eq!(tenure.claim(Timestamp::UNIX_EPOCH), None, "not before it is written");
    assert!(matches!(tenure.standing(), Standing::Follows(_)));
}
