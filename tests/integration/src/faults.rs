//! What is broken when, for how long: all of it from one number.
//!
//! Faults come in rounds. Each round has every kind once, in an order of its own, so that however short a run is, no kind
//! is much rarer than another.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dev_gateway::Fault;
use ledger_checker::plan::FaultKind;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::sleep;

use crate::proxy::Weather;

/// Where a link leads, seen from the connector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// To the broker.
    Broker,
    /// To the gateway.
    Gateway,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The weather on a link.
    Link(Link, Weather),
    /// SIGKILL for the connector, and another is started at once.
    Kill,
    /// SIGTERM for the connector, and another is started when it has ended.
    Replace,
    /// SIGSTOP for the connector, longer than any session or lease lasts.
    Freeze,
    /// The broker is ended and started again.
    RestartBroker,
    /// SIGSTOP for the broker.
    FreezeBroker,
    /// The broker's disk is full; then it is not, and the broker is started again.
    FillDisk,
    /// The broker does not let the connector do anything.
    RevokeRights,
    /// The gateway closes its port and every connection.
    RestartGateway,
    /// Three answers in ten are a 500, a reset, or a 503.
    BadAnswers,
    /// Every answer takes long.
    SlowAnswers,
    /// A function is replaced by its next version: for a moment 503 at once, and not listed.
    RollingUpdate,
    /// A function is scaled up from nothing: the first calls take long.
    ColdStart,
    /// The like, as long as a cluster takes that has to start a machine first. Only where it is asked for by its name, since
    /// answers are waited for as long then.
    LongColdStart,
    /// The gateway cannot tell which functions there are.
    NoListing,
    /// The connector's wall clock is an hour ahead, and right again.
    ClockAhead,
    /// It is an hour behind, and right again.
    ClockBehind,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// How long after the one before has healed it begins.
    pub after: Duration,
    /// What is done.
    pub kind: Kind,
    /// How long it is left so.
    pub lasts: Duration,
}

/// Which faults are wanted, by parts of their names as the table has them: `SIGKILL`, `link to the broker`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// These alone; empty, all.
    pub only: Vec<String>,
    /// Not these.
    pub without: Vec<String>,
}

impl Choice {
    /// Whether this one is wanted.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        let name = kind.to_string();
        let is_one_of = |parts: &[String]| parts.iter().any(|part| name.contains(part));
        match kind {
            Kind::LongColdStart => self.has_long_calls(),
            _ => (self.only.is_empty() || is_one_of(&self.only)) && !is_one_of(&self.without),
        }
    }

    /// Whether calls have to be waited for much longer than usual.
    #[must_use]
    pub fn has_long_calls(&self) -> bool {
        self.only.contains(&Kind::LongColdStart.to_string())
    }
}

/// The faults of a run, without end.
pub struct Schedule {
    random: StdRng,
    kinds: Vec<Kind>,
    round: Vec<Kind>,
    rounds: usize,
}

const LATE: Duration = Duration::from_millis(150);
/// So narrow that a batch of events takes a while, and no call or lease runs out.
const NARROW: u32 = 256 * 1024;
/// How long the first calls of a cold function take: a tenth of what a scaled-down cluster may take, within the timeout.
const COLD: Duration = Duration::from_millis(2_500);
/// How long they take where a machine has to be started first.
const LONG_COLD: Duration = Duration::from_secs(90);

impl Schedule {
    /// With every kind that is wanted, but those that this source's broker cannot stand.
    #[must_use]
    pub fn new(seed: u64, wanted: &Choice, unfit: &[Kind]) -> Self {
        let weathers = [
            Weather::Closed,
            Weather::Reset,
            Weather::Silent,
            Weather::Slow(LATE),
            Weather::Narrow(NARROW),
        ];
        let links = [Link::Broker, Link::Gateway]
            .into_iter()
            .flat_map(|link| weathers.map(|weather| Kind::Link(link, weather)));
        let others = [
            Kind::Kill,
            Kind::Replace,
            Kind::Freeze,
            Kind::RestartBroker,
            Kind::FreezeBroker,
            Kind::FillDisk,
            Kind::RevokeRights,
            Kind::RestartGateway,
            Kind::BadAnswers,
            Kind::SlowAnswers,
            Kind::RollingUpdate,
            Kind::ColdStart,
            Kind::LongColdStart,
            Kind::NoListing,
            Kind::ClockAhead,
            Kind::ClockBehind,
        ];
        let kinds = links.chain(others).filter(|kind| !unfit.contains(kind) && wanted.has(*kind));
        Self {
            random: StdRng::seed_from_u64(seed),
            kinds: kinds.collect(),
            round: Vec::new(),
            rounds: 0,
        }
    }

    /// How many rounds are over, once the fault that was given last is.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            self.round.shuffle(&mut self.random);
        }
        let kind = self.round.pop()?;
        self.rounds += usize::from(self.round.is_empty());
        let (least, most) = kind.lasts_ms();
        let mut between =
            |least, most| Duration::from_millis(self.random.random_range(least..=most));
        Some(Planned { after: between(50, 500), kind, lasts: between(least, most) })
    }
}

impl Kind {
    /// How long it lasts, in milliseconds.
    fn lasts_ms(self) -> (u64, u64) {
        match self {
            Self::Link(_, Weather::Silent) | Self::FreezeBroker => (500, 4_000),
            // Longer than any session or lease of a run.
            Self::Freeze => (4_500, 6_000),
            Self::Kill | Self::Replace | Self::RestartBroker => (0, 0),
            Self::FillDisk => (1_000, 3_000),
            Self::LongColdStart => (95_000, 100_000),
            Self::Link(..) | Self::RestartGateway | Self::RollingUpdate => (100, 1_500),
            Self::BadAnswers
            | Self::SlowAnswers
            | Self::ColdStart
            | Self::NoListing
            | Self::ClockAhead
            | Self::ClockBehind
            | Self::RevokeRights => (500, 2_000),
        }
    }

    /// What the calls of a function meet while it lasts, of which at most `running` run at a time; `None`: nothing that the
    /// gateway would do to them.
    #[must_use]
    pub fn of_calls(self, running: u32) -> Option<Fault> {
        match self {
            Self::BadAnswers => Some(Fault::mix([
                (0.1, Fault::status(500)),
                (0.1, Fault::status(503)),
                (0.1, Fault::reset()),
            ])),
            Self::SlowAnswers => {
                let [least, most] = [100, 400].map(Duration::from_millis);
                Some(Fault::none().delay_between(least, most))
            }
            Self::RollingUpdate => Some(Fault::status(503)),
            Self::ColdStart => Some(Fault::slow(COLD).times(running)),
            Self::LongColdStart => Some(Fault::slow(LONG_COLD).times(running)),
            _ => None,
        }
    }

    /// What it is to the judge.
    #[must_use]
    pub fn judged_as(self) -> FaultKind {
        match self {
            Self::Kill => FaultKind::Kill,
            Self::Replace => FaultKind::Leave,
            Self::Freeze => FaultKind::Freeze,
            Self::Link(_, Weather::Slow(_) | Weather::Narrow(_) | Weather::Fair) => {
                FaultKind::Strain
            }
            Self::Link(Link::Broker, _)
            | Self::RestartBroker
            | Self::FreezeBroker
            | Self::FillDisk
            | Self::RevokeRights => FaultKind::BrokerOutage,
            Self::Link(Link::Gateway, _) | Self::RestartGateway => FaultKind::GatewayOutage,
            Self::BadAnswers | Self::SlowAnswers | Self::RollingUpdate => FaultKind::Strain,
            Self::ColdStart | Self::LongColdStart | Self::NoListing => FaultKind::Strain,
            Self::ClockAhead | Self::ClockBehind => FaultKind::Strain,
        }
    }
}

/// Every other time, waits for the turn of a second, when ticks fall due: until just before, or just after it.
pub async fn turn_of_a_second(random: &mut StdRng) {
    if random.random() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into());
        let before = Duration::from_millis(10);
        let after = Duration::from_millis(random.random_range(0..50));
        sleep((left + after).saturating_sub(before)).await;
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Link(link, weather) = self {
            let link = match link {
                Link::Broker => "broker",
                Link::Gateway => "gateway",
            };
            let weather = match weather {
                Weather::Fair => "fair",
                Weather::Slow(_) => "slow",
                Weather::Narrow(_) => "narrow",
                Weather::Silent => "half-open",
                Weather::Closed => "cut",
                Weather::Reset => "reset",
                Weather::Refusing => "refusing",
            };
            return write!(f, "link to the {link} {weather}");
        }
        f.write_str(match self {
            Self::Kill => "connector SIGKILL",
            Self::Replace => "connector replaced",
            Self::Freeze => "connector SIGSTOP",
            Self::RestartBroker => "broker restarted",
            Self::FreezeBroker => "broker SIGSTOP",
            Self::FillDisk => "broker's disk full",
            Self::RevokeRights => "rights revoked",
            Self::RestartGateway => "gateway restarted",
            Self::BadAnswers => "bad answers",
            Self::SlowAnswers => "slow answers",
            Self::RollingUpdate => "rolling update",
            Self::ColdStart => "cold start",
            Self::LongColdStart => "cold start of 90 s",
            Self::ClockAhead => "clock an hour ahead",
            Self::ClockBehind => "clock an hour behind",
            Self::NoListing | Self::Link(..) => "no listing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64, wanted: &Choice) -> Schedule {
        Schedule::new(seed, wanted, &[Kind::RestartBroker])
    }

    fn of(seed: u64) -> Vec<Planned> {
        schedule(seed, &Choice::default()).take(60).collect()
    }

    #[test]
    fn a_seed_repeats_its_faults_and_another_has_others() {
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn a_round_has_every_kind_once() {
        let mut names: Vec<_> = of(1).iter().take(24).map(|one| one.kind.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 24);
        assert!(!names.contains(&Kind::RestartBroker.to_string()));
    }

    #[test]
    fn faults_are_chosen_by_parts_of_their_names() {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let links = Choice { only: words("link to"), without: words("slow,narrow,broker") };
        let mut links = schedule(1, &links);
        let mut names: Vec<_> =
            links.by_ref().take(6).map(|planned| planned.kind.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        let all = ["cut", "half-open", "reset"].map(|how| format!("link to the gateway {how}"));
        assert_eq!(names, all);
        assert_eq!(links.rounds(), 2);
        let long = Choice { only: words("cold start of 90 s"), ..Choice::default() };
        assert_eq!(
            schedule(1, &long).next().map(|planned| planned.kind),
            Some(Kind::LongColdStart)
        );
        let unknown = Choice { only: words("sunshine"), ..Choice::default() };
        assert_eq!(schedule(1, &unknown).next(), None);
    }
}
