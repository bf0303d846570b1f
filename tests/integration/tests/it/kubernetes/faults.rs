//! What becomes of ticks while the replica that calls is killed or frozen, or the API server is out of reach, again and again.

use std::ops::Range;
use std::time::Duration;

use futures_util::future::join_all;
use integration::faults::turn_of_a_second;
use integration::proxy::{Proxy, Weather};
use integration::size::{number, seed};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::sleep;

use super::account::Account;
use super::replicas::{Books, Replicas};
use super::stand_in::{ApiServer, TOKEN, launch};

/// How many groups of replicas there are at a time, each at an API server of its own.
const GROUPS: usize = 4;
/// How long the API server is out of reach, in milliseconds: from a moment to three times a lease.
const OUTAGE: Range<u64> = 200..6_000;

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGSTOP for the replica that calls, until another does.
    Suspended,
    /// The weather on the way to the API server.
    OutOfReach(Weather),
}

const KINDS: [Fault; 4] = [
    Fault::Suspended,
    Fault::OutOfReach(Weather::Closed),
    Fault::OutOfReach(Weather::Silent),
    Fault::OutOfReach(Weather::Refusing),
];

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_whose_leader_is_killed_again_and_again_call_each_tick_once() {
    let kills = number("KILLS", 20);
    let account = Account::new(TOKEN, None);
    let mut replicas = Replicas::start(launch(&ApiServer::start().await, &account)).await;
    for _ in 0..kills {
        replicas.kill_leader().await;
    }
    println!("{:?}, {kills} leaders killed", replicas.books().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_call_each_tick_once_whatever_comes_between_them_and_the_api_server() {
    let rounds = number("ROUNDS", 1);
    let mut random = StdRng::seed_from_u64(seed());
    let faults: Vec<_> = (0..rounds)
        .flat_map(|_| {
            let mut round = KINDS;
            round.shuffle(&mut random);
            round
        })
        .collect();
    let groups = (0..GROUPS).map(|number| {
        let dealt = faults.iter().skip(number).step_by(GROUPS).copied().collect::<Vec<_>>();
        survive(dealt, StdRng::seed_from_u64(seed() + number as u64))
    });
    let books = join_all(groups).await.into_iter().fold(Books::default(), Books::and);
    println!("{books:?}, {rounds} times each of {KINDS:?}, SEED={}", seed());
}

async fn survive(faults: Vec<Fault>, mut random: StdRng) -> Books {
    let account = Account::new(TOKEN, None);
    let link = Proxy::listen().await;
    link.leads_to(&ApiServer::start().await);
    let replicas = Replicas::start(launch(&link.address(), &account)).await;
    for fault in faults {
        replicas.ready().await;
        // A tick is claimed when it falls due: half of what breaks is to break that.
        turn_of_a_second(&mut random).await;
        match fault {
            Fault::Suspended => replicas.suspend_leader().await,
            Fault::OutOfReach(weather) => {
                link.set(weather);
                sleep(Duration::from_millis(random.random_range(OUTAGE))).await;
                link.set(Weather::Fair);
            }
        }
    }
    replicas.ready().await;
    replicas.books().await
}
