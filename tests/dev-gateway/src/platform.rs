//! What can go wrong with the gateway as a whole: its listings, its health check, its own timeout, its queue.
//!
//! Plain data, set by a test or over `/_dev/platform`, and read by the routes. Stopping the gateway altogether is in
//! `gateway`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::faults::Fault;

/// The state of the gateway as a whole. The default is a healthy one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    /// What is wrong with the answers of `/system/namespaces`, `/system/functions` and `/system/function/...`.
    pub listing: Option<ListingFault>,
    /// After how many listings of functions `listing` ends; without it it stays.
    pub listing_times: Option<u32>,
    /// `/system/namespaces` alone answers with this status: 404 or 501 as old providers do.
    pub namespaces_status: Option<u16>,
    /// Namespaces that `/system/namespaces` names twice.
    pub twice: BTreeSet<String>,
    /// Namespaces that are named, but whose listing is refused with 400 `namespace not valid`.
    pub bad_namespaces: BTreeSet<String>,
    /// Functions missing from the next N listings of their namespace, by `name` or `name.namespace`. They still run.
    pub hidden: BTreeMap<String, u32>,
    /// What is wrong with `/healthz`.
    pub health: Option<HealthFault>,
    /// Met by every call of every function, known or not, before the function's own fault. Its `times`, `then` and
    /// `mix` are not looked at: it is the state of the platform, not a script.
    pub calls: Option<Fault>,
    /// After this many milliseconds the gateway gives a call up, while the function runs on.
    pub upstream_timeout_ms: Option<u64>,
    /// What the caller sees then.
    pub timeout_answer: TimeoutAnswer,
    /// The gateway has no queue: `/async-function/...` is 404.
    pub async_off: bool,
}

/// How a listing fails.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListingFault {
    /// This status with a line of text.
    Status(u16),
    /// 200 with a page of HTML, as a misplaced reverse proxy answers.
    Html,
    /// No answer.
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// 200 with JSON that breaks off.
    InvalidJson,
    /// 401, whatever the credentials.
    Unauthorized,
    /// 200 with `[]`.
    Empty,
    /// 200 with `null`.
    Null,
}

/// How the health check fails.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthFault {
    /// This status; 502 is a gateway whose provider is down.
    Status(u16),
    /// No answer.
    Hang,
    /// The connection is closed without an answer.
    Close,
}

/// What a caller sees when the gateway's own timeout ends its call.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutAnswer {
    /// 502 with an empty body.
    #[default]
    Empty502,
    /// The connection is closed without an answer, as the server's write timeout does it.
    Close,
}
