//! The Lease at the API server of Kubernetes, over HTTP.
//!
//! Three requests, so no client of Kubernetes is linked: one that does more than this would be
//! larger than the whole connector.

use std::path::Path;
use std::time::Duration;

use connector_core::SourceError;
use connector_core::log::Chain;
use connector_core::secret::SecretFile;
use http::StatusCode;
use jiff::Timestamp;
use reqwest::{Certificate, Client, Method};
use serde_json::Value;

use super::LeaseOptions;
use super::election::{Store, StoreError};
use super::record::{self, Kept, Record};

/// The Lease at an API server.
pub(crate) struct Leases {
    client: Client,
    /// That of all Leases of the namespace.
    url: String,
    namespace: String,
    name: String,
    /// Read at each request: Kubernetes replaces it every hour.
    token: SecretFile,
}

impl Leases {
    /// Reads what a pod is given of its cluster.
    ///
    /// # Errors
    /// It is not there: the process does not run in a pod, or its service account is not mounted.
    pub(crate) fn new(options: &LeaseOptions) -> Result<Self, SourceError> {
        let file = |name: &str| SecretFile::new("kubernetes_account", options.account.join(name));
        let namespace = match &options.namespace {
            Some(namespace) => namespace.clone(),
            None => text(&file("namespace"))?,
        };
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            // A leader must know in time that it cannot renew, and try again.
            .timeout(options.duration.min(Duration::from_secs(15)) / 3);
        if options.api.starts_with("https:") {
            let authorities = text(&file("ca.crt"))?;
            let authorities = Certificate::from_pem_bundle(authorities.as_bytes());
            builder = builder.tls_certs_only(
                authorities.map_err(|error| broken(&options.account.join("ca.crt"), &error))?,
            );
        } else {
            builder = builder.tls_certs_only([]);
        }
        let client =
            builder.build().map_err(|error| SourceError::Broken(Chain(&error).to_string()))?;
        let api = options.api.trim_end_matches('/');
        let url = format!("{api}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        Ok(Self { client, url, namespace, name: options.name.clone(), token: file("token") })
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value), StoreError> {
        let token =
            self.token.read().map_err(|error| StoreError::Refused(Chain(&error).to_string()))?;
        let mut request = self.client.request(method, url).bearer_auth(token.expose());
        if let Some(body) = body {
            request = request
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            StoreError::Unreachable(format!("the API server does not answer: {}", Chain(&error)))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn of_one(&self) -> String {
        format!("{}/{}", self.url, self.name)
    }
}

impl Store for Leases {
    async fn get(&self) -> Result<Option<Kept>, StoreError> {
        let (status, body) = self.send(Method::GET, &self.of_one(), None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(Kept::read(body))),
            status => Err(refusal(status, &body)),
        }
    }

    async fn put(
        &self,
        basis: Option<&Kept>,
        record: &Record,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        let (status, body) = match basis {
            // The version that we read is in the object: the API server compares it.
            Some(kept) => {
                let object = kept.replaced(record, now);
                self.send(Method::PUT, &self.of_one(), Some(object)).await?
            }
            None => {
                let object = record::object(&self.namespace, &self.name, record, now);
                self.send(Method::POST, &self.url, Some(object)).await?
            }
        };
        match status {
            StatusCode::CONFLICT => Err(StoreError::Conflict),
            // Deleted meanwhile.
            StatusCode::NOT_FOUND if basis.is_some() => Err(StoreError::Conflict),
            status if status.is_success() => Ok(Kept::read(body)),
            status => Err(refusal(status, &body)),
        }
    }
}

/// What an answer means that is neither what was asked for nor a lost race.
fn refusal(status: StatusCode, body: &Value) -> StoreError {
    let message = body["message"].as_str().unwrap_or("no reason given");
    let why = format!("the API server answers {}: {message}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StoreError::Refused(why),
        _ => StoreError::Unreachable(why),
    }
}

fn text(file: &SecretFile) -> Result<String, SourceError> {
    let text = file.read().map_err(|error| SourceError::Refused(Chain(&error).to_string()))?;
    Ok(text.expose().to_owned())
}

fn broken(path: &Path, error: &reqwest::Error) -> SourceError {
    SourceError::Broken(format!("{} holds no certificates: {}", path.display(), Chain(error)))
}
