//! The fleet: the status of the other connectors of a host or namespace, for the one whose page
//! somebody looks at.
//!
//! A browser reaches one port of a cluster at best, so the connector asks the others for it. It
//! does so only when it is asked itself.

use std::time::Duration;

use futures_util::future::join_all;
use http::uri::Authority;
use http_body_util::{BodyExt as _, Limited};
use reqwest::Client;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::invoke::innermost;

/// How long one of them may take. The page asks again soon.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The most that one may answer, in bytes.
const LARGEST: usize = 8 << 20;

/// One of the fleet: its status, or why there is none.
#[derive(Debug, Serialize)]
pub struct Member {
    /// Where it was asked.
    pub address: String,
    /// Its `/status`, as it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<RawValue>>,
    /// Why there is no status, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Member {
    pub(crate) fn of(address: String, answer: Result<Box<RawValue>, String>) -> Self {
        match answer {
            Ok(status) => Self { address, status: Some(status), error: None },
            Err(why) => Self { address, status: None, error: Some(why) },
        }
    }
}

/// Asks all of them at once. Takes two seconds at most; the order is that of the addresses.
///
/// Cancel-safe: nothing is left behind.
pub async fn ask(client: &Client, addresses: &[Authority]) -> Vec<Member> {
    join_all(addresses.iter().map(|address| async move {
        let answer = tokio::time::timeout(TIMEOUT, status(client, address)).await;
        let answer = answer.unwrap_or_else(|_| Err("gives no answer".to_owned()));
        Member::of(address.to_string(), answer)
    }))
    .await
}

async fn status(client: &Client, address: &Authority) -> Result<Box<RawValue>, String> {
    let asked = client.get(format!("http://{address}/status")).send().await;
    let answer = asked.map_err(|error| innermost(&error))?;
    if !answer.status().is_success() {
        return Err(format!("answers {}", answer.status()));
    }
    let body = Limited::new(reqwest::Body::from(answer), LARGEST).collect().await;
    let body = body.map_err(|error| format!("breaks off: {error}"))?.to_bytes();
    read(&body)
}

/// Reads an answer. Whatever else listens at an address may answer with JSON too, and the page would
/// stumble over it.
pub(crate) fn read(body: &[u8]) -> Result<Box<RawValue>, String> {
    let read = serde_json::from_slice::<Known>(body).and_then(|_| serde_json::from_slice(body));
    read.map_err(|_| "does not answer as a connector does".to_owned())
}

/// What the page reads of the status of another connector, of whatever version that is.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether it is there counts")]
struct Known {
    connector: String,
    functions: Vec<IgnoredAny>,
    events: KnownEvents,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether it is there counts")]
struct KnownEvents {
    received: u64,
    in_flight: u64,
    ended: KnownEnds,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether it is there counts")]
struct KnownEnds {
    dead_lettered: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_connectors_status_is_told_apart() {
        let status = r#"{"connector":"kafka","functions":[],"more":1,
            "events":{"received":7,"in_flight":0,"ended":{"dead_lettered":0}}}"#;
        assert_eq!(read(status.as_bytes()).expect("a status").get(), status);
        for other in ["", "42", "{}", "[]", r#"{"connector":"kafka"}"#, "<html>"] {
            assert!(read(other.as_bytes()).is_err(), "{other}");
        }
    }
}
