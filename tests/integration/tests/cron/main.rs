//! One process of cron-connector while everything around it breaks, and the account of every tick that it owed.
//!
//! [`scene`] has the process between a gateway, a link to it and a clock, breaks these and ends the process; [`evidence`]
//! is what is known of it afterwards, [`books`] judges that by what docs/cron.md promises. Replicas that share a Lease are
//! elsewhere: what becomes of the gateway is the same for them.
//!
//! What is broken when comes from a seed. It is dealt out to several scenes, because most of the time is waited.

mod books;
mod evidence;
mod scene;

use futures_util::future::join_all;
use integration::faults::{Choice, Kind, Planned, Schedule};
use integration::size::{number, seed, words};

use self::books::Books;
use self::scene::Scene;

/// How many processes there are at a time, each with a gateway of its own.
const SCENES: usize = 4;
/// What has no meaning without a broker, by its name, and what has a test of its own.
const ELSEWHERE: [&str; 3] = ["broker", "rights", "SIGKILL"];

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_is_called_or_counted_whatever_breaks() {
    let rounds = number("ROUNDS", 1);
    let without = ELSEWHERE.map(str::to_owned).to_vec();
    let mut schedule = Schedule::new(seed(), &Choice { only: words("FAULTS"), without }, &[]);
    let mut faults = Vec::new();
    while schedule.rounds() < rounds {
        faults.push(schedule.next().expect("there are faults of such names"));
    }
    survive(&faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_takes_no_tick_with_it_but_the_last() {
    let kill = Choice { only: vec![Kind::Kill.to_string()], without: Vec::new() };
    let faults: Vec<_> = Schedule::new(seed(), &kill, &[]).take(number("KILLS", 8)).collect();
    survive(&faults).await;
}

/// Has all of them happen, and looks at the books.
#[expect(clippy::print_stdout, reason = "the test harness shows it with the failed test")]
async fn survive(faults: &[Planned]) {
    println!("{} faults; the same again by SEED={}", faults.len(), seed());
    let scenes = (0..SCENES.min(faults.len())).map(|number| {
        let dealt = faults.iter().skip(number).step_by(SCENES).copied().collect::<Vec<_>>();
        async move {
            let mut scene = Scene::open(number as u64).await;
            for fault in dealt {
                scene.suffer(fault).await;
            }
            scene.end().await.judge()
        }
    });
    let books = join_all(scenes).await.into_iter().fold(Books::default(), Books::and);
    println!("{books}");
    assert!(books.violations.is_empty(), "{:#?}", books.violations);
}
