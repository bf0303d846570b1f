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
use serde::Serialize;
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

/// Asks all of them at once. Takes two seconds at most; the order is that of the addresses.
///
/// Cancel-safe: nothing is left behind.
pub async fn ask(client: &Client, addresses: &[Authority]) -> Vec<Member> {
    join_all(addresses.iter().map(|address| async move {
        let answer = tokio::time::timeout(TIMEOUT, status(client, address)).await;
        let answer = answer.unwrap_or_else(|_| Err("gives no answer".to_owned()));
        let (status, error) = match answer {
            Ok(status) => (Some(status), None),
            Err(why) => (None, Some(why)),
        };
        Member { address: address.to_string(), status, error }
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
    serde_json::from_slice(&body).map_err(|_| "does not answer as a connector does".to_owned())
}
