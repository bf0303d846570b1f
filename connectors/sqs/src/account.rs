//! The way to AWS: credentials, regions, endpoints, and a client for each pair of the latter two.
//!
//! The SDK keeps credentials and fetches them anew before they end. Those that end too early, are
//! replaced in their file, or were wrong from the start it would keep; so when the service refuses
//! them, everything is loaded again ([`Account::renew`]). What is in flight meanwhile is kept: SQS
//! has no connections, only requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::ProvideCredentials as _;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use connector_core::EventId;
use connector_core::log::Chain;
use tokio::time::Instant;

use crate::config::SqsConfig;
use crate::message::DataTypes;
use crate::queue::QueueRef;
use crate::trouble::{Kind, Trouble};

/// How long one request may take that does not wait for messages.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long the search for credentials may take: it asks services that may not be there.
const CREDENTIALS: Duration = Duration::from_secs(20);
/// Refused credentials are looked for again at most this often.
const RENEWAL: Duration = Duration::from_secs(5);
/// What servers that are not AWS are told when nobody has named a region.
const ANY_REGION: &str = "us-east-1";

/// The way to AWS of this process.
#[derive(Debug)]
pub(crate) struct Account {
    endpoint: Option<String>,
    region: Option<String>,
    state: Mutex<State>,
    /// Held while loading, so that many refusals lead to one search.
    renewing: tokio::sync::Mutex<()>,
    /// What messages in flight have told about their attributes, for their dead letters.
    pub(crate) types: Mutex<HashMap<EventId, DataTypes>>,
}

#[derive(Debug)]
struct State {
    sdk: SdkConfig,
    loaded: Instant,
    /// Counts the loads.
    generation: u64,
    clients: HashMap<(String, Option<String>), Client>,
}

/// Which load of the credentials a client stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Account {
    /// Looks for credentials.
    pub(crate) async fn load(config: &SqsConfig) -> Result<Arc<Self>, Trouble> {
        // Web identity asks STS of a region, so one that a queue tells is better than none.
        let told = config.orders.iter().find_map(|(_, queue)| queue.as_ref().ok()?.region());
        let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|name| is_set(name));
        let region = config.region.clone().or_else(|| (!named).then(|| told.map(str::to_owned))?);
        let sdk = load(region.clone()).await?;
        let state = State { sdk, loaded: Instant::now(), generation: 0, clients: HashMap::new() };
        Ok(Arc::new(Self {
            endpoint: config.endpoint.clone(),
            region,
            state: Mutex::new(state),
            renewing: tokio::sync::Mutex::default(),
            types: Mutex::default(),
        }))
    }

    /// The client for a queue.
    pub(crate) fn client(&self, queue: &QueueRef) -> Result<(Client, Generation), Trouble> {
        let mut state = self.lock();
        // The settings of the AWS tools win over the queue's URL, which may name the service as
        // others see it.
        let elsewhere = is_set("AWS_ENDPOINT_URL_SQS") || state.sdk.endpoint_url().is_some();
        let endpoint = match &self.endpoint {
            Some(endpoint) => Some(endpoint.clone()),
            None if elsewhere => None,
            None => queue.endpoint().map(str::to_owned),
        };
        let region = queue.region().or_else(|| state.sdk.region().map(Region::as_ref));
        let region = match region {
            Some(region) => region.to_owned(),
            None if endpoint.is_some() || elsewhere => ANY_REGION.to_owned(),
            None => {
                let why =
                    "no region is known: set region or AWS_REGION, or give the queue's URL or ARN";
                return Err(Trouble::new(Kind::Setup, why));
            }
        };
        let generation = Generation(state.generation);
        let key = (region, endpoint);
        if let Some(client) = state.clients.get(&key) {
            return Ok((client.clone(), generation));
        }
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
        let mut config = aws_sdk_sqs::config::Builder::from(&state.sdk)
            .region(Region::new(key.0.clone()))
            // Who waits and how long is decided where the request is made.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        if let Some(endpoint) = &key.1 {
            config = config.endpoint_url(endpoint);
        }
        let client = Client::from_conf(config.build());
        state.clients.insert(key, client.clone());
        Ok((client, generation))
    }

    /// Loads credentials anew, unless somebody has since `refused` was made, or just tried.
    pub(crate) async fn renew(&self, refused: Generation) {
        let _renewing = self.renewing.lock().await;
        {
            let mut state = self.lock();
            if state.generation != refused.0 || state.loaded.elapsed() < RENEWAL {
                return;
            }
            state.loaded = Instant::now();
        }
        match load(self.region.clone()).await {
            Ok(sdk) => {
                let mut state = self.lock();
                state.sdk = sdk;
                state.generation += 1;
                state.clients.clear();
                tracing::debug!("the credentials were loaded anew");
            }
            Err(trouble) => tracing::debug!(%trouble, "no new credentials"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Where the environment points the search for credentials to: the SDK says that a file is missing,
/// but not which.
fn pointers() -> String {
    let all = [
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let set = all.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
    if set.is_empty() { String::new() } else { format!(" (with {})", set.join(", ")) }
}

/// Loads the settings of the AWS tools, and proves that there are credentials.
async fn load(region: Option<String>) -> Result<SdkConfig, Trouble> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    let sdk = loader.load().await;
    let none = |why: String| {
        Trouble::new(Kind::Credentials, format!("no credentials: {why}{}", pointers()))
    };
    let Some(provider) = sdk.credentials_provider() else {
        return Err(none("there is nothing to get them from".to_owned()));
    };
    match tokio::time::timeout(CREDENTIALS, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(sdk),
        Ok(Err(error)) => Err(none(Chain(&error).to_string())),
        Err(_) => Err(none("the search for them does not end".to_owned())),
    }
}
