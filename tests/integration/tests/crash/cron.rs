//! The same for ticks, which nobody publishes and no broker keeps: each is called at most once, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use connector_core::fail_point::Step;
use dev_gateway::{Call, Calls, Config, DevGateway, Fault, Function};
use integration::{Connector, Launch, until};

use crate::judge::Judgement;
use crate::run::die;
use crate::source::Kind;
use crate::work::{FLAKY, FUNCTIONS, REFUSED};

const LETTERS: &str = "letters";
/// How many ticks of each function are called at least before a connector is ended.
const TICKS: usize = 3;

pub(crate) async fn run(step: Step, passing: usize) -> Judgement {
    let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
    for function in FUNCTIONS {
        let function = Function::named(function).topic("cron-function");
        gateway.deploy(function.annotation("schedule", "* * * * * *"));
    }
    gateway.deploy(Function::named(LETTERS));
    gateway.fault(FLAKY, Fault::status(REFUSED));
    let launch = Launch::new("cron")
        .set("gateway_url", gateway.url())
        .set("cron_seconds", "true")
        .set("dead_letter", format!("function:{LETTERS}"))
        .set("print_response", "false");
    let connector = launch.clone().failing(format!("{}={passing}", step.name())).start().await;
    let mut died = None;
    if Kind::Cron.has(step) {
        die(connector, &gateway).await;
        died = Some(seconds(SystemTime::now()));
    } else {
        finish(connector, &gateway).await;
    }
    finish(launch.ready().await, &gateway).await;
    gateway.ledger().with(|calls| judge(calls, died))
}

/// How often a step is passed within the first ticks.
pub(crate) fn passings(step: Step) -> usize {
    match step {
        Step::DeadLettered => TICKS,
        // Two functions, and the one that takes the letters.
        Step::Called => 3 * TICKS,
        _ => 2 * TICKS,
    }
}

/// Ends a connector in good order when it has called some more ticks.
async fn finish(connector: Connector, gateway: &DevGateway) {
    let count = || gateway.ledger().with(|calls| calls.of(LETTERS).count());
    let before = count();
    until("some more ticks", async || count(), |now| *now >= before + TICKS).await;
    connector.end().await;
}

/// `died` is the second of the death: something was due then, whether anything was called before or not.
fn judge(calls: &Calls, died: Option<u64>) -> Judgement {
    let mut judgement = Judgement::default();
    for function in FUNCTIONS {
        let ticks: Vec<&Call> = calls.of(function).collect();
        let mut times_called = BTreeMap::<u64, usize>::new();
        for tick in &ticks {
            *times_called.entry(second(tick)).or_default() += 1;
        }
        let ended: BTreeSet<u64> = ticks
            .iter()
            .filter(|call| call.ended.is_some_and(|end| end.status != 0))
            .map(|call| second(call))
            .collect();
        let first = times_called.keys().next().copied().into_iter().chain(died).min();
        let last = times_called.keys().next_back().copied();
        let due = first.zip(last).map_or(0..0, |(first, last)| first..last + 1);
        judgement.events += due.clone().count();
        judgement.lost += due.filter(|second| !ended.contains(second)).count();
        judgement.again += times_called.values().filter(|times| **times > 1).count();
    }
    let letters: Vec<_> = calls.of(LETTERS).map(|call| &call.event_id).collect();
    let stored: BTreeSet<_> = letters.iter().collect();
    judgement.letters_again = letters.len() - stored.len();
    if judgement.again + judgement.letters_again > 0 {
        judgement.violations.push("a tick was called again".to_owned());
    }
    judgement
}

/// The second that a tick was due, since 1970.
fn second(call: &Call) -> u64 {
    let scheduled = call.header("x-cron-scheduled").expect("a tick says when it was due");
    seconds(humantime::parse_rfc3339(scheduled).expect("in RFC 3339"))
}

fn seconds(instant: SystemTime) -> u64 {
    instant.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
