//! How much is done, in the two sizes there are.

use std::time::Duration;

/// A size.
pub(crate) struct Scale {
    /// How many records are called in the order of their keys, with every fault there is.
    pub(crate) records: usize,
    /// How many in the order of their partitions.
    pub(crate) partition_records: usize,
    /// How many with dead letters.
    pub(crate) letters_records: usize,
    /// How often the connector is killed.
    pub(crate) kills: usize,
    /// How many calls have to be running then.
    pub(crate) at_least_running: usize,
    /// How many records have to be unread then.
    pub(crate) at_least_unread: usize,
    /// How many events the connector receives in advance, for each partition.
    pub(crate) lane_window: usize,
    /// How many more records have to be begun before the next fault.
    pub(crate) life: usize,
    /// How long the gateway is down.
    pub(crate) gateway_down: Duration,
    /// Whether some connectors are started with the session timeout they have by default.
    pub(crate) usual_session: bool,
    /// What bounds all of it.
    pub(crate) limit: Duration,
}

impl Scale {
    /// A minute, on two cores, with unoptimised binaries.
    pub(crate) const SMALL: Self = Self {
        records: 12_000,
        partition_records: 1_200,
        letters_records: 1_500,
        kills: 4,
        at_least_running: 20,
        at_least_unread: 500,
        lane_window: 50,
        life: 250,
        gateway_down: Duration::from_secs(3),
        usual_session: false,
        limit: Duration::from_secs(6 * 60),
    };

    /// What the documentation promises.
    pub(crate) const FULL: Self = Self {
        records: 100_000,
        partition_records: 10_000,
        letters_records: 30_000,
        kills: 20,
        at_least_running: 20,
        at_least_unread: 5_000,
        lane_window: 500,
        life: 1_000,
        gateway_down: Duration::from_secs(30),
        usual_session: true,
        limit: Duration::from_secs(40 * 60),
    };
}
