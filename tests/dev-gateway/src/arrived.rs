//! A request on its way to a function: read whole, named, stamped with the gateway's headers.

use std::str::FromStr;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::calls::{Call, Mode, Moment};
use crate::functions::{Reply, Request, is_legal_name, split_name};
use crate::gateway::State;
use crate::headers::Headers;
use crate::server::{Answer, BODY_LIMIT, Connection, empty, text, unix_nanos};

pub(crate) const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
pub(crate) const START_TIME: HeaderName = HeaderName::from_static("x-start-time");
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Dropped on the way to the function, as every proxy must.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request that has been read whole and is about to be a call.
pub(crate) struct Arrived {
    connection: Connection,
    pub(crate) name: String,
    pub(crate) qualified: String,
    method: Method,
    path: String,
    query: String,
    /// As received, and a call id. What else the gateway adds is put in by [`Arrived::into_request`], so that the ledger
    /// shows the caller's own.
    pub(crate) headers: HeaderMap,
    /// The call id that the gateway made up, for want of one.
    made_up: Option<HeaderValue>,
    start_time: HeaderValue,
    pub(crate) body: Bytes,
}

impl Arrived {
    pub(crate) async fn take(
        connection: Connection,
        rest: &str,
        request: http::Request<Incoming>,
        methods: &[Method],
    ) -> Result<Self, Box<Answer>> {
        let (name, path) = match rest.split_once('/') {
            Some((name, path)) => (name, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        if !is_legal_name(name) {
            return Err(Box::new(text(StatusCode::NOT_FOUND, "404 page not found\n")));
        }
        let (head, body) = request.into_parts();
        if !methods.contains(&head.method) {
            return Err(Box::new(empty(StatusCode::METHOD_NOT_ALLOWED)));
        }
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Box::new(text(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "request body too large",
                )));
            }
            Err(error) => return Err(Box::new(text(StatusCode::BAD_REQUEST, error.to_string()))),
        };
        let made_up = if head.headers.contains_key(CALL_ID) { None } else { Some(new_call_id()) };
        let mut headers = head.headers;
        if let Some(call_id) = &made_up {
            headers.insert(CALL_ID, call_id.clone());
        }
        let (function, namespace) = split_name(name);
        Ok(Self {
            connection,
            qualified: format!("{function}.{namespace}"),
            name: name.to_owned(),
            method: head.method,
            path,
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers,
            made_up,
            start_time: nanos_value(),
            body,
        })
    }

    pub(crate) fn as_call(&self, mode: Mode) -> Call {
        let header = |name: &str| {
            self.headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let path = if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        };
        Call {
            number: 0,
            mode,
            function: self.qualified.clone(),
            call_id: header("x-call-id").unwrap_or_default(),
            topic: header("x-topic"),
            event_id: header("x-event-id"),
            attempt: number(&self.headers, "x-event-attempt"),
            key: header("x-kafka-key"),
            partition: number(&self.headers, "x-kafka-partition"),
            offset: number(&self.headers, "x-kafka-offset"),
            caller: header("user-agent"),
            peer: self.connection.peer,
            connection: self.connection.number,
            method: self.method.clone(),
            path,
            headers: Headers::of(&self.headers),
            body: None,
            body_length: self.body.len(),
            body_hash: fnv1a(&self.body),
            started: Moment { monotonic_ns: 0, wall_ns: 0 },
            ended: None,
        }
    }

    /// What cuts the call other than its caller: a queued one outlives the gateway's stops.
    pub(crate) fn stop(&self, mode: Mode, state: &State) -> CancellationToken {
        match mode {
            Mode::Async => state.ended.clone(),
            Mode::Sync | Mode::Queued => self.connection.stop.clone(),
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen { made_up: self.made_up.clone(), start_time: self.start_time.clone() }
    }

    /// The request as the function gets it.
    pub(crate) fn into_request(self) -> Request {
        let mut headers = self.headers;
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        headers.append(START_TIME, self.start_time);
        if let Some(host) = headers.get(http::header::HOST).cloned() {
            headers.entry("x-forwarded-host").or_insert(host);
        }
        if let Ok(peer) = HeaderValue::from_str(&self.connection.peer.to_string()) {
            headers.entry("x-forwarded-for").or_insert(peer);
        }
        Request {
            method: self.method,
            path: self.path,
            query: self.query,
            headers,
            body: self.body,
        }
    }
}

/// What the answer takes over from the request.
pub(crate) struct Seen {
    made_up: Option<HeaderValue>,
    start_time: HeaderValue,
}

impl Seen {
    pub(crate) fn answer(self, reply: Reply) -> Answer {
        let mut answer = Answer::new(Full::new(reply.body));
        *answer.status_mut() = reply.status;
        *answer.headers_mut() = reply.headers;
        let headers = answer.headers_mut();
        if let Some(call_id) = self.made_up {
            headers.insert(CALL_ID, call_id);
        }
        headers.insert(START_TIME, self.start_time);
        headers.insert(
            SERVED_BY,
            HeaderValue::from_static(concat!("openfaas-ce/dev-", env!("CARGO_PKG_VERSION"))),
        );
        answer
    }
}

fn number<T: FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn new_call_id() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("hexadecimal digits and hyphens are legal in a header")
}

pub(crate) fn nanos_value() -> HeaderValue {
    HeaderValue::from_str(&unix_nanos().to_string()).expect("digits are legal in a header")
}

/// FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
