//! Tokens for Amazon MSK with IAM access control: a request to MSK, signed but never sent. The
//! broker checks the signature in our place.
//!
//! The credentials come from where the tools of AWS look for them: environment, profile, web
//! identity, container and instance metadata. They are looked for anew with each token, so what is
//! replaced in a file counts from the next one on.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector_core::log::Chain;
use connector_core::secret::Secret;
use tokio::time::timeout;

use super::{Token, encoded};

/// How long a token is good: the most that MSK allows.
const LIFE: Duration = Duration::from_secs(900);
/// How long the search for credentials may take: it asks services that may not be there.
const SEARCH: Duration = Duration::from_secs(20);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum AwsError {
    #[error("no region is known: set aws_region or AWS_REGION")]
    NoRegion,
    #[error("there is nothing to get them from")]
    NoProvider,
    #[error("the search for them does not end")]
    Endless,
    /// The SDK's own text says next to nothing without its sources.
    #[error("{0}")]
    NoCredentials(String),
    #[error("they cannot sign")]
    Signing(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A token for a cluster in `region`; `None`: in the region of the AWS settings.
///
/// # Errors
/// There are no credentials, or no region. Heals when there are.
pub(super) async fn token(region: Option<&str>, now: SystemTime) -> Result<Token, AwsError> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let found = timeout(SEARCH, async {
        let sdk = loader.load().await;
        let provider = sdk.credentials_provider().ok_or(AwsError::NoProvider)?;
        let credentials = provider.provide_credentials().await;
        let credentials =
            credentials.map_err(|error| AwsError::NoCredentials(Chain(&error).to_string()))?;
        let region = sdk.region().ok_or(AwsError::NoRegion)?;
        Ok((credentials, region.to_string()))
    });
    let (credentials, region) = found.await.map_err(|_| AwsError::Endless)??;
    let ends = credentials.expiry().map_or(now + LIFE, |expiry| expiry.min(now + LIFE));
    let url = signed_url(credentials, &region, now)?;
    let value = Secret::new(URL_SAFE_NO_PAD.encode(url));
    Ok(Token { value, ends, extensions: Vec::new() })
}

/// The address of a request to connect, with the signature in its query.
fn signed_url(credentials: Credentials, region: &str, now: SystemTime) -> Result<String, AwsError> {
    let mut url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFE);
    let identity = credentials.into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kafka-cluster")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| AwsError::Signing(error.into()))?;
    let no_headers = std::iter::empty();
    let signed = SignableRequest::new("GET", url.as_str(), no_headers, SignableBody::Bytes(&[]))
        .and_then(|request| sign(request, &parameters.into()))
        .map_err(|error| AwsError::Signing(error.into()))?;
    let (_, added) = signed.into_parts().0.into_parts();
    // Beside the signature, and not part of what it signs.
    let agent = concat!("tributary-kafka-connector/", env!("CARGO_PKG_VERSION"));
    for (name, value) in added.into_iter().chain([("User-Agent", Cow::Borrowed(agent))]) {
        url = url + "&" + name + "=" + &encoded(&value);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The query of a URL; the agent left out, which is not signed.
    fn query(url: &str) -> BTreeMap<&str, &str> {
        let (_, query) = url.split_once('?').unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        pairs.filter(|(name, _)| *name != "User-Agent").collect()
    }

    /// What AWS' own signer for Python (aws-msk-iam-sasl-signer-python 1.0.2) makes of the same
    /// credentials at the same time.
    #[test]
    fn a_url_is_signed_as_aws_signs_it() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_309_323);
        let (id, secret) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let session = "IQoJb3JpZ2luX2VjEXAMPLE//token+with=signs==";
        let same = "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
            &X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIDEXAMPLE%2F20261122%2Feu-west-1%2Fkafka-cluster%2Faws4_request\
            &X-Amz-Date=20261122T010203Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host";
        let theirs = [
            (
                None,
                "&X-Amz-Signature=\
                 8b661954ab0661e1148a89448ee1cae86c58f4789ce4901cc5230f59b9a9cc29",
            ),
            (
                Some(session),
                "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2Ftoken%2Bwith%3Dsigns%3D%3D\
                 &X-Amz-Signature=\
                 058ebbf0098db52bef6d78b960d7603ff0266e1c0badfb094f7b6229cec591cc",
            ),
        ];
        for (session, theirs) in theirs {
            let credentials =
                Credentials::new(id, secret, session.map(str::to_owned), None, "a test");
            let ours = signed_url(credentials, "eu-west-1", now).unwrap();
            assert!(ours.starts_with("https://kafka.eu-west-1.amazonaws.com/?Action="), "{ours}");
            assert_eq!(query(&ours), query(&(same.to_owned() + theirs)));
        }
    }
}
