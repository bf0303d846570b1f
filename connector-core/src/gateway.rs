//! The gateway as a directory: which functions there are, and what their annotations ask for.
//!
//! [`Gateway::list`] asks once. [`poll`] asks again and again, and keeps the topic map up to date
//! for everybody else ([`LiveMap`]). Calling functions is another module's affair, but both talk
//! to the same server, so what they have in common is made here.
//!
//! A gateway that is away, refuses, or answers nonsense changes nothing: the last map stays. What
//! is wrong is said in one sentence for whoever has to mend it.

pub(crate) mod answer;
mod live;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

#[cfg(any(test, feature = "testing"))]
pub(crate) use self::answer::read_listing;
use self::answer::{Answer, FunctionStatus};
pub use self::live::{LiveMap, Progress, poll};
use crate::event::FunctionName;
use crate::log::Chain;
use crate::roster::Listing;
use crate::secret::{Secret, SecretFile};
use crate::settings::CoreConfig;
use crate::topics::{Function, is_function_name};

/// The files of the gateway's credentials, under `secret_mount_path`.
const USER_FILE: &str = "basic-auth-user";
const PASSWORD_FILE: &str = "basic-auth-password";

/// How long the gateway may take to take a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection to the gateway is kept while nothing uses it: under the idle time of any
/// gateway, so that it is rarely cut while it is being used, and short enough that a gateway which
/// moved is found at its new address.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The HTTP client for what goes to the gateway beside calls of functions. Cheap to clone.
///
/// It follows no redirects, repeats nothing by itself, and obeys `http_proxy`, `https_proxy` and
/// `no_proxy` as the upstream connectors do.
///
/// # Errors
/// The client cannot be set up.
pub fn client(tls: ClientConfig, user_agent: &HeaderValue) -> reqwest::Result<Client> {
    Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .tls_backend_preconfigured(tls)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent(user_agent)
        .build()
}

/// What TLS to the gateway trusts: the certificates of the system, or those that `SSL_CERT_FILE`
/// names.
///
/// # Errors
/// There are none. Cannot happen for `http://`, which trusts nobody.
pub fn tls(gateway_url: &str) -> Result<ClientConfig, rustls::Error> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    let builder = if gateway_url.starts_with("https:") {
        builder.with_platform_verifier()?
    } else {
        // Loading the system's certificates costs memory, and fails where there are none.
        builder.with_root_certificates(RootCertStore::empty())
    };
    let mut tls = builder.with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// The gateway as a directory of functions.
#[derive(Debug, Clone)]
pub struct Gateway {
    client: Client,
    options: GatewayOptions,
}

/// Where the gateway is, and what is asked of it.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Its address, without a slash at the end. May have a path.
    pub url: String,
    /// User and password; `None`: the gateway is asked without.
    pub credentials: Option<Credentials>,
    /// The namespaces to list. Empty: all there are.
    pub namespaces: Vec<String>,
    /// The limit of one request. A listing takes one for the namespaces and one for each.
    pub timeout: Duration,
    /// The most that one answer may have, in bytes.
    pub largest: usize,
}

/// The two parts of the gateway's credentials.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user.
    pub user: Credential,
    /// The password.
    pub password: Credential,
}

/// Where one part of the credentials is from.
#[derive(Debug, Clone)]
pub enum Credential {
    /// It stands in the settings.
    Given(Secret),
    /// It is read from this file, at each listing: a rotated password is used at once.
    File(SecretFile),
}

/// A listing failed. The text is one sentence and names what has to be mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// There is no answer: it heals itself when the gateway comes back.
    #[error("{0}")]
    Unreachable(String),
    /// The credentials are missing or wrong: a person must act.
    #[error("{0}")]
    Refused(String),
    /// There is an answer, but no list.
    #[error("{0}")]
    Answer(String),
}

impl GatewayOptions {
    /// The most that an answer may have unless told otherwise: a hundred thousand functions.
    pub const LARGEST: usize = 64 << 20;

    /// What the settings say.
    #[must_use]
    pub fn new(config: &CoreConfig) -> Self {
        let file = |name: &str| {
            Credential::File(SecretFile::new(name, config.secret_mount_path.join(name)))
        };
        let given = |secret: &Secret| Credential::Given(secret.clone());
        let user = config.gateway_user.as_ref().map(Secret::new);
        let credentials = Credentials {
            user: user.as_ref().map_or_else(|| file(USER_FILE), given),
            password: config.gateway_password.as_ref().map_or_else(|| file(PASSWORD_FILE), given),
        };
        let is_set = config.basic_auth || config.gateway_password.is_some();
        Self {
            url: config.gateway_url.clone(),
            credentials: is_set.then_some(credentials),
            namespaces: config.namespaces.clone(),
            timeout: config.rebuild_timeout,
            largest: Self::LARGEST,
        }
    }
}

impl Gateway {
    /// The directory behind `options`, asked through `client`.
    #[must_use]
    pub fn new(client: Client, options: GatewayOptions) -> Self {
        Self { client, options }
    }

    /// Lists the functions of all namespaces, or of those that the options name.
    ///
    /// A namespace that cannot be listed is survived as long as another can. Where the provider
    /// knows of no namespaces, there is one plain listing.
    ///
    /// Cancel-safe: nothing is remembered from one listing to the next.
    ///
    /// # Errors
    /// Nothing could be listed. Whatever the reason, asking again later is right.
    pub async fn list(&self) -> Result<Listing, ListError> {
        let credentials = self.credentials().await?;
        let wanted: BTreeSet<String> = self.options.namespaces.iter().cloned().collect();
        // Named namespaces are listed directly: a token that may list one of them need not be
        // allowed to list their names.
        let namespaces = match wanted.is_empty() {
            true => self.namespaces(credentials.as_ref()).await?,
            false => wanted.clone(),
        };
        let mut listing = Listing::default();
        if namespaces.is_empty() {
            let functions = self.functions(credentials.as_ref(), None).await?;
            take(functions, None, &wanted, &mut listing);
            return Ok(listing);
        }
        let mut first_error = None;
        for namespace in &namespaces {
            match self.functions(credentials.as_ref(), Some(namespace)).await {
                Ok(functions) => take(functions, Some(namespace), &wanted, &mut listing),
                Err(error @ ListError::Refused(_)) => return Err(error),
                Err(error) => {
                    listing.unlisted.insert(namespace.clone(), error.to_string());
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if listing.unlisted.len() == namespaces.len() => Err(error),
            _ => Ok(listing),
        }
    }

    /// The namespaces that the provider knows; empty where it does not know of any.
    async fn namespaces(
        &self,
        credentials: Option<&(Secret, Secret)>,
    ) -> Result<BTreeSet<String>, ListError> {
        let answer = self.ask("/system/namespaces", None, credentials).await?;
        if answer.is_unknown_route() || answer.is_empty() {
            return Ok(BTreeSet::new());
        }
        let names: Option<Vec<Option<String>>> = self.read(&answer, "namespaces")?;
        let names = names.into_iter().flatten().flatten();
        Ok(names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
    }

    async fn functions(
        &self,
        credentials: Option<&(Secret, Secret)>,
        namespace: Option<&str>,
    ) -> Result<Vec<FunctionStatus>, ListError> {
        let answer = self.ask("/system/functions", namespace, credentials).await?;
        let functions: Option<Vec<FunctionStatus>> = self.read(&answer, "functions")?;
        Ok(functions.unwrap_or_default())
    }

    async fn ask(
        &self,
        path: &'static str,
        namespace: Option<&str>,
        credentials: Option<&(Secret, Secret)>,
    ) -> Result<Answer, ListError> {
        let mut url = Url::parse(&format!("{}{path}", self.options.url)).map_err(|error| {
            ListError::Answer(format!("gateway_url is not an address: {error}"))
        })?;
        if let Some(namespace) = namespace {
            url.query_pairs_mut().append_pair("namespace", namespace);
        }
        let mut request = self.client.get(url).timeout(self.options.timeout);
        if let Some((user, password)) = credentials {
            request = request.basic_auth(user.expose(), Some(password.expose()));
        }
        let unreachable = |error| ListError::Unreachable(self.unreachable(path, &error));
        let response = request.send().await.map_err(unreachable)?;
        let answer = Answer::read(path, response, self.options.largest).await;
        let answer = answer.map_err(unreachable)?;
        if answer.asks_for_credentials() {
            return Err(ListError::Refused(self.refused(&answer)));
        }
        Ok(answer)
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        answer: &Answer,
        what: &str,
    ) -> Result<T, ListError> {
        answer
            .json(what)
            .map_err(|why| ListError::Answer(format!("the gateway at {} {why}", self.options.url)))
    }

    /// User and password as they are now.
    async fn credentials(&self) -> Result<Option<(Secret, Secret)>, ListError> {
        let Some(Credentials { user, password }) = &self.options.credentials else {
            return Ok(None);
        };
        Ok(Some((user.read().await?, password.read().await?)))
    }

    fn refused(&self, answer: &Answer) -> String {
        let url = &self.options.url;
        let status = answer.status();
        let Some(Credentials { user, password }) = &self.options.credentials else {
            return format!(
                "the gateway at {url} asks for credentials ({status}): set basic_auth to true and put {USER_FILE} and {PASSWORD_FILE} into the folder that secret_mount_path names"
            );
        };
        let (user, password) = (user.place(), password.place());
        format!(
            "the gateway at {url} refuses the credentials from {user} and {password} ({status})"
        )
    }

    fn unreachable(&self, path: &str, error: &reqwest::Error) -> String {
        let Self { options, .. } = self;
        let url = &options.url;
        if error.is_timeout() && error.is_connect() {
            return format!("the gateway at {url} took no connection within {CONNECT_TIMEOUT:?}");
        }
        if error.is_timeout() {
            let timeout = options.timeout;
            return format!("the gateway at {url} did not answer {path} within {timeout:?}");
        }
        let cause = innermost(error);
        if error.is_connect() {
            return format!("the gateway at {url} cannot be reached: {cause}");
        }
        format!("the gateway at {url} broke off while it was asked for {path}: {cause}")
    }
}

impl Credential {
    async fn read(&self) -> Result<Secret, ListError> {
        let file = match self {
            Self::Given(secret) => return Ok(secret.clone()),
            Self::File(file) => file.clone(),
        };
        let refused = |why: &dyn std::fmt::Display| {
            ListError::Refused(format!("the gateway's credentials are incomplete: {why}"))
        };
        match tokio::task::spawn_blocking(move || file.read()).await {
            Ok(Ok(secret)) => Ok(Secret::new(secret.expose().trim())),
            Ok(Err(error)) => Err(refused(&Chain(&error))),
            // The runtime is being shut down.
            Err(error) => Err(refused(&error)),
        }
    }

    /// Where it is from, for whoever has to correct it.
    fn place(&self) -> String {
        match self {
            Self::Given(_) => "the settings".to_owned(),
            Self::File(file) => file.path().display().to_string(),
        }
    }
}

/// Adds what one answer lists. `asked`: the namespace it was asked for; `wanted`: those that may be
/// listed at all, empty for any.
fn take(
    functions: Vec<FunctionStatus>,
    asked: Option<&str>,
    wanted: &BTreeSet<String>,
    listing: &mut Listing,
) {
    for FunctionStatus { name, namespace, annotations } in functions {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            continue;
        };
        // The function's own word counts: a provider without namespaces ignores what it is asked
        // for, and lists the same functions each time.
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        let namespace = namespace.as_deref().or(asked);
        if namespace.is_some_and(|it| !wanted.is_empty() && !wanted.contains(it)) {
            continue;
        }
        let full = match namespace {
            Some(namespace) => format!("{name}.{namespace}"),
            None => name,
        };
        if !is_function_name(&full) {
            listing.misnamed.insert(full);
            continue;
        }
        let annotations = Arc::new(annotations.0);
        listing.functions.push(Function { name: FunctionName::new(full), annotations });
    }
}

/// The cause that names what happened: all around it only says that a request failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
