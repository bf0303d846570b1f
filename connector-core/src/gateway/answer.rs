//! What the gateway answers, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;

use http::StatusCode;
use http::header::LOCATION;
use reqwest::Response;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// How much of an answer is shown when it is not what was asked for, in characters.
const SHOWN: usize = 200;

/// One function, as far as it concerns us. All of it may be missing or null.
#[derive(Debug, Deserialize)]
pub(crate) struct FunctionStatus {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) annotations: Annotations,
}

/// The annotations of a function; those without a value are as good as absent.
#[derive(Debug, Default)]
pub(super) struct Annotations(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Read straight into its last form: of a large listing this is most of the work.
        deserializer.deserialize_option(Present).map(Self)
    }
}

/// Reads an object of strings, where null may stand for each value and for the whole.
struct Present;

impl<'de> Visitor<'de> for Present {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, object: D) -> Result<Self::Value, D::Error> {
        object.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut annotations = BTreeMap::new();
        while let Some((name, text)) = object.next_entry::<String, Option<String>>()? {
            if let Some(text) = text {
                annotations.insert(name, text);
            }
        }
        Ok(annotations)
    }
}

/// An answer that has been received.
#[derive(Debug)]
pub(super) struct Answer {
    path: &'static str,
    status: StatusCode,
    location: Option<String>,
    body: Vec<u8>,
    /// There was more of the body than anybody should send.
    cut: bool,
}

impl Answer {
    /// Receives the answer, its body up to `largest` bytes.
    pub(super) async fn read(
        path: &'static str,
        mut response: Response,
        largest: usize,
    ) -> reqwest::Result<Self> {
        let location = response.headers().get(LOCATION);
        let mut answer = Self {
            path,
            status: response.status(),
            location: location.map(|it| shown(it.as_bytes())),
            body: Vec::new(),
            cut: false,
        };
        while let Some(chunk) = response.chunk().await? {
            if answer.body.len() + chunk.len() > largest {
                answer.cut = true;
                break;
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The provider does not know what it was asked for.
    pub(super) fn is_unknown_route(&self) -> bool {
        matches!(self.status, StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED)
    }

    /// All went well and there is nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.status.is_success() && self.body.trim_ascii().is_empty()
    }

    pub(super) fn asks_for_credentials(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Reads the body as a list of `what`.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the gateway.
    pub(super) fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T, String> {
        let Self { path, status, .. } = self;
        let is_page = self.body.trim_ascii_start().starts_with(b"<");
        let page = "a web page: gateway_url does not lead to an OpenFaaS gateway";
        if !status.is_success() {
            if is_page {
                return Err(format!("answered {status} to {path} with {page}"));
            }
            let to = self.location.as_ref().map(|to| format!(" (to {to})"));
            let to = to.unwrap_or_default();
            return Err(format!("answered {status}{to} to {path}: {}", shown(&self.body)));
        }
        if self.cut {
            return Err(format!("answered {path} with far too much"));
        }
        if is_page {
            return Err(format!("answered {path} with {page}"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let body = shown(&self.body);
            format!("answered {path} with something that is no list of {what} ({error}): {body}")
        })
    }
}

/// Reads the body of a listing.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn read_listing(body: &[u8]) -> Result<Vec<crate::testing::Listed>, String> {
    let answer = Answer {
        path: "/system/functions",
        status: StatusCode::OK,
        location: None,
        body: body.to_vec(),
        cut: false,
    };
    let functions: Option<Vec<FunctionStatus>> = answer.json("functions")?;
    let functions = functions.unwrap_or_default().into_iter();
    Ok(functions
        .map(|FunctionStatus { name, namespace, annotations }| (name, namespace, annotations.0))
        .collect())
}

/// The beginning of a text on one line.
fn shown(text: &[u8]) -> String {
    // Four bytes make a character at most; one more tells whether something follows.
    let text = text.get(..4 * SHOWN + 4).unwrap_or(text);
    let text = String::from_utf8_lossy(text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = words.chars().take(SHOWN).collect();
    shown.retain(|c| !c.is_control());
    if shown.is_empty() {
        shown.push_str("(nothing)");
    }
    shown
}
