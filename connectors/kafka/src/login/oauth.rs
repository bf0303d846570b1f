//! Tokens for a client's id and secret (OAuth 2.0, client credentials: RFC 6749, section 4.4).

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector_core::secret::Secret;
use reqwest::{Certificate, Client, Response};
use serde::Deserialize;

use super::Token;
use crate::config::{Credentials, Endpoint};

/// How long the endpoint may take.
const ANSWER: Duration = Duration::from_secs(10);
/// No answer with a token is longer.
const MOST_BYTES: usize = 256 * 1024;

/// Why an endpoint gave no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum OauthError {
    #[error("cannot read {0}")]
    Authorities(String, #[source] std::io::Error),
    #[error("it cannot be asked")]
    Request(#[source] reqwest::Error),
    /// What the endpoint says in its own words is left out: it may repeat what it was sent.
    #[error("it answers {0}{1}")]
    Status(u16, String),
    #[error("its answer is longer than {MOST_BYTES} bytes")]
    TooLong,
    #[error("its answer has no access_token")]
    NoToken,
    #[error("its answer does not say when the token ends")]
    Endless,
}

impl From<reqwest::Error> for OauthError {
    fn from(error: reqwest::Error) -> Self {
        // Which may hold a secret in its query.
        Self::Request(error.without_url())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<u64>,
    error: Option<String>,
}

/// The part of a JSON web token that says when it ends, in seconds since 1970.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

/// Asks for a token.
///
/// # Errors
/// The endpoint cannot be asked, or does not give one. Heals when it does, or when the files are
/// put right.
pub(super) async fn token(endpoint: &Endpoint, client: &Credentials) -> Result<Token, OauthError> {
    let mut form = "grant_type=client_credentials".to_owned();
    if let Some(scope) = &endpoint.scope {
        form = form + "&scope=" + &super::encoded(scope);
    }
    let asked = SystemTime::now();
    let request = http_client(endpoint.ca_file.as_deref())
        .await?
        .post(&endpoint.url)
        // Not encoded first, as the RFC would have it: neither do Kafka's own clients.
        .basic_auth(client.username.expose(), Some(client.password.expose()))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Accept", "application/json")
        .body(form);
    let response = request.send().await?;
    let status = response.status();
    let answer: Answer = serde_json::from_slice(&body(response).await?).unwrap_or_default();
    if !status.is_success() {
        let code = answer.error.filter(|code| is_error_code(code));
        let said = code.map(|code| format!(": {code}")).unwrap_or_default();
        return Err(OauthError::Status(status.as_u16(), said));
    }
    let value = answer.access_token.ok_or(OauthError::NoToken)?;
    let ends = answer
        .expires_in
        .and_then(|seconds| asked.checked_add(Duration::from_secs(seconds)))
        .or_else(|| end_of(&value))
        .ok_or(OauthError::Endless)?;
    Ok(Token { value: Secret::new(value), ends, extensions: endpoint.extensions.clone() })
}

/// Made for each question: they are rare, and the authorities may have changed.
async fn http_client(authorities: Option<&Path>) -> Result<Client, OauthError> {
    let mut builder = Client::builder().timeout(ANSWER).redirect(reqwest::redirect::Policy::none());
    if let Some(path) = authorities {
        let pem = tokio::fs::read(path)
            .await
            .map_err(|error| OauthError::Authorities(path.display().to_string(), error))?;
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem)?);
    }
    Ok(builder.build()?)
}

async fn body(mut response: Response) -> Result<Vec<u8>, OauthError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(OauthError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A code such as `invalid_client` (section 5.2), and nothing that could be a secret.
fn is_error_code(code: &str) -> bool {
    code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// When a JSON web token ends, by its own word. Nobody checks its signature here: the broker does.
fn end_of(token: &str) -> Option<SystemTime> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_itself_when_it_ends() {
        let token = |claims: &str| format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims));
        let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(end_of(&token(r#"{"sub":"a","exp":1700000000}"#)), Some(ends));
        for none in [&token(r#"{"sub":"a"}"#), &token(r#"{"exp":-1}"#), "opaque", "", "a.b.c"] {
            assert_eq!(end_of(none), None, "{none}");
        }
    }

    #[test]
    fn only_codes_are_repeated() {
        assert!(is_error_code("invalid_client"));
        assert!(!is_error_code("the secret hunter2 is wrong"));
    }
}
