//! What every source must do alike: one list of cases, which a source passes by showing how its
//! broker is handled ([`Stage`]) and what it can do ([`Capabilities`]).
//!
//! `conformance!(stage::MyStage);` in a module of tests makes one test of each case. A case that
//! asks for something the source cannot do says so and passes. The cases see the source only as
//! its users do: through its binary, the calls at the gateway, and what the broker would deliver
//! again.

pub mod delivery;
pub mod failure;
pub mod life;
pub mod mapping;

use std::fmt;

use dev_gateway::{Config, DevGateway, Function};

use crate::{Launch, until};

/// What a source can do; the cases that need more are passed over.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// What is not settled is delivered again, to this process or the next.
    pub redelivers: bool,
    /// Dead letters can be stored at its broker.
    pub dead_letters: bool,
    /// The broker keeps what nobody is mapped to.
    pub holds: bool,
    /// Topics follow annotations, without a setting.
    pub follows_annotations: bool,
    /// Several instances share the events.
    pub shares: bool,
    /// The broker can be killed and started again with its data.
    pub restarts: bool,
    /// The largest payload its broker takes in the tests.
    pub largest_payload: usize,
}

/// What a case needs of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but events.
    Nothing,
    /// [`Capabilities::redelivers`].
    Redelivery,
    /// [`Capabilities::dead_letters`].
    DeadLetters,
    /// [`Capabilities::holds`].
    Holding,
    /// [`Capabilities::follows_annotations`].
    Annotations,
    /// [`Capabilities::shares`].
    Sharing,
    /// [`Capabilities::restarts`].
    Restarts,
}

impl Capabilities {
    /// Whether a case that needs this is for the source.
    #[must_use]
    pub fn meet(&self, needs: Needs) -> bool {
        match needs {
            Needs::Nothing => true,
            Needs::Redelivery => self.redelivers,
            Needs::DeadLetters => self.dead_letters && self.redelivers,
            Needs::Holding => self.holds,
            Needs::Annotations => self.follows_annotations && self.holds,
            Needs::Sharing => self.shares,
            Needs::Restarts => self.restarts,
        }
    }
}

/// What a case wants to find at the broker.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// How many lanes the topic has, where that can be chosen.
    pub lanes: usize,
    /// Whether the broker will be hurt: it must be nobody else's.
    pub private: bool,
    /// Whether the place for dead letters refuses them, until [`Stage::accept_letters`].
    pub refuses_letters: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { lanes: 2, private: false, refuses_letters: false }
    }
}

/// A message as a case publishes it, and finds it again as a dead letter.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// What orders it, where the source has keys.
    pub key: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A dead letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// The message, which must be unchanged.
    pub message: Message,
    /// The reason.
    pub reason: String,
}

/// One source's broker, with a topic that belongs to the case alone.
#[expect(async_fn_in_trait, reason = "the cases run on one thread each")]
pub trait Stage: Sized {
    /// What the source can do.
    const CAPABILITIES: Capabilities;

    /// Makes what the case needs, under names of its own.
    async fn set(setup: Setup) -> Self;

    /// What functions are to be mapped to.
    fn topic(&self) -> &str;

    /// The connector with short intervals, everything set but the gateway: it calls events of
    /// different keys at the same time, consumes [`topic`](Self::topic), and stores dead letters.
    fn launch(&self) -> Launch;

    /// Publishes; returns when the broker has it. Equal keys go to the same lane, in order.
    async fn publish(&self, messages: &[Message]);

    /// Publishes to a topic that nobody has heard of yet, and gives its name.
    async fn publish_elsewhere(&self, messages: &[Message]) -> String;

    /// How many of the published messages the broker would deliver again, were the connector gone.
    async fn unsettled(&self) -> usize;

    /// The letters stored so far.
    async fn letters(&self) -> Vec<StoredLetter>;

    /// Lets the place for dead letters accept them.
    async fn accept_letters(&self);

    /// Kills the broker and starts it again. Only after [`Setup::private`].
    async fn restart_broker(&self);
}

/// A stage with a gateway.
pub struct Play<S> {
    /// The broker's side.
    pub stage: S,
    /// The functions' side.
    pub gateway: DevGateway,
}

/// The function that most cases call.
pub const FUNCTION: &str = "conforming";

impl<S: Stage> Play<S> {
    /// Sets the stage, with [`FUNCTION`] mapped to its topic.
    pub async fn new(setup: Setup) -> Self {
        let play = Self::without_function(setup).await;
        play.deploy(Function::named(FUNCTION));
        play
    }

    /// Sets the stage, with no function yet.
    pub async fn without_function(setup: Setup) -> Self {
        let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
        Self { stage: S::set(setup).await, gateway }
    }

    /// Deploys a function on the stage's topic.
    pub fn deploy(&self, function: Function) {
        self.gateway.deploy(function.topic(self.stage.topic()));
    }

    /// The connector, pointed at the gateway.
    pub fn launch(&self) -> Launch {
        self.stage.launch().set("gateway_url", self.gateway.url())
    }

    /// Waits until each of these messages has been answered well by [`FUNCTION`].
    pub async fn delivered(&self, messages: &[Message]) {
        let what = format!("{} messages to be answered well", messages.len());
        let ledger = self.gateway.ledger();
        ledger
            .wait_for(&what, |calls| {
                let well: std::collections::HashSet<_> = calls
                    .of(FUNCTION)
                    .filter(|call| call.answered_well())
                    .filter_map(|call| call.body.as_deref())
                    .collect();
                messages.iter().all(|message| well.contains(message.payload.as_slice()))
            })
            .await;
    }

    /// Waits until the broker would deliver nothing again.
    pub async fn settled(&self) {
        let look = async || self.stage.unsettled().await;
        until("everything to be settled", look, |unsettled| *unsettled == 0).await;
    }

    /// How often [`FUNCTION`] was called for this message.
    pub fn calls_for(&self, message: &Message) -> usize {
        self.gateway.ledger().with(|calls| {
            calls.of(FUNCTION).filter(|c| c.body.as_deref() == Some(&*message.payload)).count()
        })
    }

    /// Asserts that [`FUNCTION`] was called exactly once for each message.
    ///
    /// # Panics
    /// When it was not.
    pub fn assert_called_once_each(&self, messages: &[Message]) {
        for message in messages {
            assert_eq!(self.calls_for(message), 1, "calls for {message:?}");
        }
    }
}

impl Message {
    /// A message of this key and text.
    #[must_use]
    pub fn new(key: &str, text: &str) -> Self {
        Self { key: key.into(), payload: text.into() }
    }

    /// So many messages with different keys and payloads; `name` tells them from other ones.
    #[must_use]
    pub fn many(name: &str, count: usize) -> Vec<Self> {
        (0..count).map(|n| Self::new(&format!("{name}-{n}"), &format!("{name} {n}"))).collect()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.payload[..self.payload.len().min(40)];
        write!(f, "{} ({} bytes)", start.escape_ascii(), self.payload.len())
    }
}

/// Whether the case is for this source; says so where it is not.
#[must_use]
#[expect(clippy::print_stdout, reason = "the test harness shows it with the test")]
pub fn applies<S: Stage>(needs: Needs) -> bool {
    let applies = S::CAPABILITIES.meet(needs);
    if !applies {
        println!("not a case for this source: it has no {needs:?}");
    }
    applies
}

/// Makes a test of each case for a [`Stage`].
#[macro_export]
macro_rules! conformance {
    ($stage:ty) => {
        $crate::conformance!(@cases $stage,
            delivery::delivered_once: Nothing,
            delivery::payloads_are_unchanged: Nothing,
            delivery::every_header_is_in_the_reference: Nothing,
            delivery::idle_lanes_do_not_hold_up_a_busy_one: Nothing,
            failure::a_transient_failure_is_retried: Nothing,
            failure::exhausted_is_stored: DeadLetters,
            failure::a_letter_that_is_refused_is_held_then_stored: DeadLetters,
            failure::a_failing_event_is_not_lost_behind_later_ones: Redelivery,
            life::a_crash_before_the_verdict_redelivers: Redelivery,
            life::a_drain_under_load_loses_and_repeats_nothing: Redelivery,
            life::a_restarted_broker_is_found_again: Restarts,
            life::two_instances_share: Sharing,
            life::a_member_that_joins_midway_loses_nothing: Sharing,
            mapping::an_unmapped_topic_is_held_until_mapped: Holding,
            mapping::a_new_topic_is_called_after_one_listing: Annotations,
            mapping::a_missing_listing_changes_nothing: Nothing,
            mapping::a_function_removed_for_good_holds_its_topic: Holding,
        );
    };
    (@cases $stage:ty, $($file:ident :: $case:ident : $needs:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                if $crate::conformance::applies::<$stage>($crate::conformance::Needs::$needs) {
                    $crate::conformance::$file::$case::<$stage>().await;
                }
            }
        )*
    };
}
