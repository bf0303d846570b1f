//! `/system/...` and `/healthz`: what a connector asks the gateway about itself.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde::Serialize;

use crate::functions::{DEFAULT_NAMESPACE, Function, qualified, split_name};
use crate::gateway::{Credentials, State};
use crate::platform::{HealthFault, ListingFault};
use crate::server::{Answer, Break, empty, json, text, with_type};

pub(crate) async fn route(
    state: &Arc<State>,
    request: &Request<Incoming>,
) -> Result<Answer, Break> {
    let path = request.uri().path();
    let lists_functions = path == "/system/functions";
    if lists_functions {
        state.listings.send_modify(|count| *count += 1);
    }
    if !state.admits(credentials(request.headers()).as_ref()) {
        return Ok(unauthorized());
    }
    if path == "/system/info" {
        return Ok(json(StatusCode::OK, &Info::default()));
    }
    if let Some(fault) = listing_fault(state, lists_functions) {
        return fail(fault).await;
    }
    if request.method() != Method::GET {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    state.refresh_stack();
    let namespace = query_value(request.uri().query(), "namespace");
    match path {
        "/system/namespaces" => Ok(namespaces(state)),
        "/system/functions" => Ok(functions(state, namespace.as_deref())),
        _ => match path.strip_prefix("/system/function/") {
            Some(name) => Ok(function(state, name, namespace.as_deref())),
            None => Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
        },
    }
}

pub(crate) async fn health(state: &State) -> Result<Answer, Break> {
    state.health_checks.send_modify(|count| *count += 1);
    let fault = state.platform().health.clone();
    match fault {
        None => Ok(empty(StatusCode::OK)),
        Some(HealthFault::Status(status)) => Ok(empty(status_or_500(status))),
        Some(HealthFault::Hang) => pending().await,
        Some(HealthFault::Close) => Err(Break::Close),
    }
}

fn namespaces(state: &State) -> Answer {
    let platform = state.platform();
    if let Some(status) = platform.namespaces_status {
        return text(status_or_500(status), "namespaces are not supported");
    }
    let mut names = state.catalog().namespaces();
    for bad in &platform.bad_namespaces {
        if !names.contains(bad) {
            names.push(bad.clone());
        }
    }
    for twice in &platform.twice {
        names.push(twice.clone());
    }
    json(StatusCode::OK, &names)
}

fn functions(state: &State, namespace: Option<&str>) -> Answer {
    let namespace = namespace.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAMESPACE);
    let mut platform = state.platform_mut();
    if platform.bad_namespaces.contains(namespace) {
        return text(StatusCode::BAD_REQUEST, "namespace not valid");
    }
    let catalog = state.catalog();
    let mut listed = Vec::new();
    for function in catalog.iter().filter(|function| function.namespace == namespace) {
        if !hides(&mut platform.hidden, &function.qualified_name()) {
            listed.push(FunctionStatus::of(function));
        }
    }
    json(StatusCode::OK, &listed)
}

fn function(state: &State, name: &str, namespace: Option<&str>) -> Answer {
    let qualified = match namespace.filter(|name| !name.is_empty()) {
        Some(namespace) => format!("{}.{namespace}", split_name(name).0),
        None => qualified(name),
    };
    match state.catalog().get(&qualified) {
        Some(function) => json(StatusCode::OK, &FunctionStatus::of(&function)),
        None => empty(StatusCode::NOT_FOUND),
    }
}

/// Counts one listing off a function's absence, if it is absent.
fn hides(hidden: &mut BTreeMap<String, u32>, name: &str) -> bool {
    let Some(key) = hidden.keys().find(|key| qualified(key) == name).cloned() else {
        return false;
    };
    let Some(left) = hidden.get_mut(&key) else {
        return false;
    };
    let hides = *left > 0;
    *left = left.saturating_sub(1);
    if *left == 0 {
        hidden.remove(&key);
    }
    hides
}

fn listing_fault(state: &State, counts: bool) -> Option<ListingFault> {
    let mut platform = state.platform_mut();
    if platform.listing.is_some() && platform.listing_times == Some(0) {
        platform.listing = None;
        platform.listing_times = None;
    }
    let fault = platform.listing.clone()?;
    if counts && let Some(left) = &mut platform.listing_times {
        *left -= 1;
    }
    Some(fault)
}

async fn fail(fault: ListingFault) -> Result<Answer, Break> {
    const JSON: &str = "application/json";
    Ok(match fault {
        ListingFault::Status(status) => text(status_or_500(status), "listing failed as scripted"),
        ListingFault::Html => with_type(
            StatusCode::OK,
            "text/html; charset=utf-8",
            "<!doctype html><title>Welcome</title>\n",
        ),
        ListingFault::Hang => pending().await,
        ListingFault::Close => return Err(Break::Close),
        ListingFault::InvalidJson => with_type(StatusCode::OK, JSON, r#"[{"name":"#),
        ListingFault::Unauthorized => unauthorized(),
        ListingFault::Empty => with_type(StatusCode::OK, JSON, "[]"),
        ListingFault::Null => with_type(StatusCode::OK, JSON, "null"),
    })
}

fn unauthorized() -> Answer {
    let mut answer = text(StatusCode::UNAUTHORIZED, "invalid credentials");
    let challenge = HeaderValue::from_static(r#"Basic realm="Restricted""#);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials::new(user, password))
}

/// Namespaces need no percent-decoding.
fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// A scripted status that is none is a mistake of the script, told by a 500.
fn status_or_500(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A function as listed. What is empty is absent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionStatus<'a> {
    name: &'a str,
    image: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env_vars: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    replicas: u32,
    available_replicas: u32,
    created_at: String,
}

impl<'a> FunctionStatus<'a> {
    fn of(function: &'a Function) -> Self {
        Self {
            name: &function.name,
            image: &function.image,
            namespace: &function.namespace,
            env_vars: &function.environment,
            labels: &function.labels,
            annotations: &function.annotations,
            replicas: 1,
            available_replicas: 1,
            created_at: function.created_at.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Info {
    provider: Provider,
    version: Version,
    arch: &'static str,
}

#[derive(Serialize)]
struct Provider {
    provider: &'static str,
    orchestration: &'static str,
    version: Version,
}

#[derive(Serialize)]
struct Version {
    commit_message: &'static str,
    sha: &'static str,
    release: &'static str,
}

impl Default for Info {
    fn default() -> Self {
        let version =
            || Version { commit_message: "", sha: "", release: env!("CARGO_PKG_VERSION") };
        Self {
            provider: Provider {
                provider: "dev-gateway",
                orchestration: "none",
                version: version(),
            },
            version: version(),
            arch: std::env::consts::ARCH,
        }
    }
}
