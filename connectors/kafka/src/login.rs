//! Proving who we are: what a client is given for it, and given anew.
//!
//! A password is read from its files when a client is made, and again whenever the broker refuses
//! it. A token is fetched by us (librdkafka could only do so with a second HTTP client), and again
//! before it ends. A client takes either while it runs: its next connections use it.

#[cfg(feature = "msk-iam")]
mod aws;
mod oauth;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use connector_core::conditions::{Conditions, Subject};
use connector_core::log::Chain;
use connector_core::secret::{Secret, SecretError};
use connector_core::source::SourceError;
use rdkafka::ClientConfig;
use rdkafka::bindings::rd_kafka_t;
use tokio::sync::Notify;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::config::{Credentials, KafkaConfig, Login, Pair};
use crate::raw;

/// How soon a token is asked for again that could not be had, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

const SUBJECT: Subject = Subject::new("broker credentials");

/// What proves who we are, at one time.
#[derive(Clone)]
pub(crate) enum Proof {
    /// Nothing needs to be proven.
    Nothing,
    /// By the SASL mechanism of this name.
    Password(&'static str, Credentials),
    /// By OAUTHBEARER.
    Token(Token),
}

/// A bearer token.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: Secret,
    pub(crate) ends: SystemTime,
    /// What the broker is told beside it.
    pub(crate) extensions: Vec<(String, String)>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is nothing to prove who we are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("no token from the token endpoint")]
    Endpoint(#[source] Cause),
    #[error("no token from AWS credentials")]
    Aws(#[source] Cause),
    #[error("reading secrets failed")]
    Panic(#[from] JoinError),
}

impl From<LoginError> for SourceError {
    fn from(error: LoginError) -> Self {
        Self::Refused(Chain(&error).to_string())
    }
}

impl Proof {
    /// Reads the files, or fetches a token.
    pub(crate) async fn obtain(config: &KafkaConfig) -> Result<Self, LoginError> {
        match &config.login {
            Login::Open => Ok(Self::Nothing),
            Login::Password(mechanism, pair) => Ok(Self::Password(mechanism, read(pair).await?)),
            Login::ClientCredentials(pair, endpoint) => {
                let client = read(pair).await?;
                let token = oauth::token(endpoint, &client).await;
                token.map(Self::Token).map_err(|error| LoginError::Endpoint(error.into()))
            }
            Login::Aws(region) => {
                let token = aws::token(region.as_deref(), SystemTime::now()).await;
                token.map(Self::Token).map_err(|error| LoginError::Aws(error.into()))
            }
        }
    }

    /// Whether SASL is spoken at all.
    pub(crate) fn is_needed(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Sets what a new client begins with. A token cannot be among it: see [`give`](Self::give).
    pub(crate) fn set(&self, properties: &mut ClientConfig) {
        match self {
            Self::Nothing => {}
            Self::Password(mechanism, credentials) => {
                properties
                    .set("sasl.mechanism", *mechanism)
                    .set("sasl.username", credentials.username.expose())
                    .set("sasl.password", credentials.password.expose());
            }
            Self::Token(_) => {
                properties.set("sasl.mechanism", "OAUTHBEARER");
            }
        }
    }

    /// Gives it to a running client. A new one waits for its token before it connects.
    ///
    /// # Errors
    /// What the client has against it.
    pub(crate) fn give(&self, client: *mut rd_kafka_t) -> Result<(), String> {
        match self {
            Self::Nothing => Ok(()),
            Self::Password(_, Credentials { username, password }) => {
                raw::set_credentials(client, username.expose(), password.expose())
            }
            Self::Token(token) => raw::set_token(client, token),
        }
    }

    /// When it is to be replaced although nobody has refused it: after three quarters of its life,
    /// but not at once, however short that is.
    fn renewal(&self) -> Option<Instant> {
        let Self::Token(token) = self else { return None };
        let left = token.ends.duration_since(SystemTime::now()).unwrap_or_default();
        Some(Instant::now() + left.mul_f64(0.75).max(AGAIN))
    }

    /// Whether a client that has it comes in no more.
    fn has_ended(&self) -> bool {
        matches!(self, Self::Token(token) if token.ends <= SystemTime::now())
    }

    fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Password(_, one), Self::Password(_, other)) => one.differ(other),
            (Self::Nothing, Self::Nothing) => false,
            _ => true,
        }
    }
}

/// Keeps the proof of one running client good, for ever. Returns at once where none is needed.
///
/// `refused` is notified by whoever hears that the broker refuses it; `give` gives the client a
/// new one. While there is none the client goes on with the old one, and the process is ready as
/// long as that is good.
pub(crate) async fn keep(
    config: Arc<KafkaConfig>,
    conditions: Conditions,
    mut proof: Proof,
    refused: Arc<Notify>,
    give: impl Fn(&Proof) -> Result<(), String>,
) {
    if !proof.is_needed() {
        return;
    }
    // Whatever an earlier client lacked, this one has.
    conditions.well(&SUBJECT);
    let mut due = proof.renewal();
    let mut wait = AGAIN;
    loop {
        tokio::select! {
            () = refused.notified() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        match Proof::obtain(&config).await {
            Ok(now) => {
                if now.differs(&proof) {
                    replace(&now, &give);
                    proof = now;
                }
                due = proof.renewal();
                wait = AGAIN;
                conditions.well(&SUBJECT);
            }
            Err(error) => {
                conditions.unwell(&SUBJECT, &Chain(&error).to_string(), proof.has_ended());
                // A password is looked at again when it is refused again.
                due = due.map(|_| Instant::now() + wait);
                wait = (wait * 2).min(LONGEST);
            }
        }
    }
}

/// What there is of AWS in a build without it: the settings refuse what would ask for a token.
#[cfg(not(feature = "msk-iam"))]
mod aws {
    use std::time::SystemTime;

    use super::Token;

    pub(super) async fn token(_: Option<&str>, _: SystemTime) -> Result<Token, &'static str> {
        Err("this binary was built without the feature msk-iam")
    }
}

async fn read(pair: &Pair) -> Result<Credentials, LoginError> {
    let pair = pair.clone();
    Ok(spawn_blocking(move || pair.credentials()).await??)
}

fn replace(proof: &Proof, give: &impl Fn(&Proof) -> Result<(), String>) {
    match give(proof) {
        Ok(()) if matches!(proof, Proof::Password(..)) => {
            tracing::info!("the credentials have changed; connecting with the new ones");
        }
        Ok(()) => tracing::debug!("the broker's client has a new token"),
        Err(why) => tracing::warn!(why, "the new credentials cannot be used"),
    }
}

/// Text as a query or a form takes it (RFC 3986, section 2.3: what is not unreserved is encoded).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
        encoded
    })
}
