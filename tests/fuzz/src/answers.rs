//! What others answer when they are asked: gateways, functions, connectors, queues, Kubernetes.

use std::time::SystemTime;

use bytes::Bytes;
use connector_core::invoke::{Answer, Judged, judge};
use connector_core::retry::{RetryPolicy, parse_retry_after};
use connector_core::testing::{Listed, read_listing, read_member};
use cron_connector::testing::lease_again;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqs_connector::testing::redrive_policy;

use crate::{assert_readable, halves};

/// A listing of functions.
pub(crate) fn listing(data: &[u8]) {
    let functions = match read_listing(data) {
        Ok(functions) => functions,
        Err(why) => return assert_readable(&why, 700),
    };
    let object = |(name, namespace, annotations): &Listed| json!({ "name": name, "namespace": namespace, "annotations": annotations });
    let written = Value::Array(functions.iter().map(object).collect()).to_string();
    assert_eq!(read_listing(written.as_bytes()), Ok(functions), "{written}");
}

/// A function's answer. Input: the status, and below it the body.
pub(crate) fn function(data: &[u8]) {
    let cut = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let status = StatusCode::from_bytes(data[..cut].trim_ascii());
    let Ok(status) = status else { return };
    let body = Bytes::copy_from_slice(data.get(cut + 1..).unwrap_or_default());
    let answer = Ok(Answer { status, headers: HeaderMap::new(), body });
    for asynchronous in [false, true] {
        let judged = judge(&answer, asynchronous, &RetryPolicy::never(), SystemTime::UNIX_EPOCH);
        let well = if asynchronous { status == 202 } else { status.is_success() };
        match judged {
            Judged::Well => assert!(well, "{status} is no good answer"),
            Judged::Retry { why, .. } | Judged::Misconfigured(why) | Judged::Refused(why) => {
                assert!(!well, "{status} is a good answer");
                assert_readable(&why, 300);
            }
        }
    }
}

/// An answer's `Retry-After`.
pub(crate) fn retry_after(data: &[u8]) {
    let Some(wait) = parse_retry_after(data, SystemTime::UNIX_EPOCH) else { return };
    let number = data.trim_ascii();
    if number.len() < 20 && number.iter().all(u8::is_ascii_digit) {
        let seconds: u64 = String::from_utf8_lossy(number).parse().expect("digits that fit");
        assert_eq!(wait.as_secs(), seconds);
    }
}

/// What a connector of the fleet answers, or whatever else listens there.
pub(crate) fn member(data: &[u8]) {
    let member: Value = serde_json::from_str(&read_member(data)).expect("/fleet is JSON");
    let (status, error) = (&member["status"], &member["error"]);
    assert!(status.is_null() != error.is_null(), "{member}");
    if status.is_null() {
        return;
    }
    // What the page reads of each, without asking whether it is there.
    assert!(status["connector"].is_string() && status["functions"].is_array(), "{member}");
    let events = &status["events"];
    for number in [&events["received"], &events["in_flight"], &events["ended"]["dead_lettered"]] {
        assert!(number.is_u64(), "{member}");
    }
}

/// A Lease of Kubernetes, which somebody may have made by hand.
pub(crate) fn lease(data: &[u8]) {
    let Ok(object) = serde_json::from_slice::<Value>(data) else { return };
    let now = Timestamp::UNIX_EPOCH;
    let (again, taken) = lease_again(object.clone(), now);
    for part in ["metadata", "spec"] {
        for (name, value) in object[part].as_object().into_iter().flatten() {
            let ours = matches!(
                name.as_str(),
                "annotations" | "holderIdentity" | "leaseDurationSeconds" | "leaseTransitions"
            ) || name.ends_with("Time");
            assert!(ours || again[part][name] == *value, "{name} is not kept: {again}");
        }
    }
    if let Some(taken) = taken {
        assert_eq!(taken["spec"]["holderIdentity"], "us", "{taken}");
    }
    // The API server takes no more than 32 bits.
    for number in [&again["spec"]["leaseDurationSeconds"], &again["spec"]["leaseTransitions"]] {
        assert!(number.as_u64().is_some_and(|it| it <= i32::MAX.cast_unsigned().into()), "{again}");
    }
    assert_eq!(lease_again(again.clone(), now).0, again, "it reads as another");
}

/// A queue's rule about messages that keep coming back.
pub(crate) fn redrive(data: &[u8]) {
    let Some((first, rest)) = halves(data) else { return };
    let text = format!("{first}\n{rest}");
    let read = redrive_policy(&text);
    // As a parser of JSON reads it, where nothing is escaped or said twice.
    let once = |name| text.matches(name).count() == 1;
    if text.contains('\\') || !once("\"deadLetterTargetArn\"") || !once("\"maxReceiveCount\"") {
        return;
    }
    let Ok(Value::Object(policy)) = serde_json::from_str(&text) else { return };
    let (Some(target), Some(count)) =
        (policy.get("deadLetterTargetArn").and_then(Value::as_str), policy.get("maxReceiveCount"))
    else {
        return;
    };
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
    if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
        assert_eq!(read, Some((target.to_owned(), count)), "{text}");
    }
}
