//! How the process proves who it is, as the settings say it.

use std::path::PathBuf;

use connector_core::secret::{Secret, SecretError, SecretFile};
use connector_core::settings::Values;

/// The way to prove who we are to the broker.
#[derive(Debug)]
pub(crate) enum Login {
    /// None: everybody is let in, or a client certificate says it.
    Open,
    /// A password, by the SASL mechanism of this name.
    Password(&'static str, Pair),
    /// A token that an endpoint gives for a client's id and secret.
    ClientCredentials(Pair, Endpoint),
    /// A token signed with AWS credentials, for this region if it is known.
    Aws(Option<String>),
}

/// Two files that are nothing without each other.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    username: SecretFile,
    password: SecretFile,
}

/// A username and a password, as read from their files at one time.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) username: Secret,
    pub(crate) password: Secret,
}

/// Where tokens are asked for, and with what.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) scope: Option<String>,
    /// What the broker is told beside the token.
    pub(crate) extensions: Vec<(String, String)>,
    /// The authorities that the endpoint's certificate may come from; `None`: the public ones.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Login {
    pub(super) fn read(values: &mut Values, brokers: &[String]) -> Self {
        let pair = Pair::read(values);
        let mechanism = values.choice("sasl_mechanism");
        let endpoint = Endpoint::read(values);
        let region = values.text("aws_region");
        match (mechanism, pair) {
            ("AWS_MSK_IAM", _) => {
                if cfg!(not(feature = "msk-iam")) {
                    let what =
                        "this build is without AWS_MSK_IAM: the image kafka-connector-msk has it";
                    values.mistake("sasl_mechanism", what);
                }
                Self::Aws(region.or_else(|| region_of(brokers)))
            }
            ("OAUTHBEARER", Some(client)) => match endpoint {
                Some(endpoint) => Self::ClientCredentials(client, endpoint),
                None => {
                    values.mistake("oauth_token_url", "OAUTHBEARER needs to know where tokens are");
                    Self::Open
                }
            },
            (mechanism, Some(pair)) => Self::Password(mechanism, pair),
            // The default: nobody has asked for SASL.
            ("PLAIN", None) => Self::Open,
            (mechanism, None) => {
                let what = format!("{mechanism} needs username_file and password_file");
                values.mistake("sasl_mechanism", what);
                Self::Open
            }
        }
    }
}

impl Pair {
    fn read(values: &mut Values) -> Option<Self> {
        match (values.secret_file("username_file"), values.secret_file("password_file")) {
            (Some(username), Some(password)) => Some(Self { username, password }),
            (None, None) => None,
            (username, _) => {
                let missing = if username.is_some() { "password_file" } else { "username_file" };
                values.mistake(missing, "username and password are given together or not at all");
                None
            }
        }
    }

    /// Reads both files. Blocks as long as the file system does.
    ///
    /// # Errors
    /// One of them gives nothing.
    pub(crate) fn credentials(&self) -> Result<Credentials, SecretError> {
        Ok(Credentials { username: self.username.read()?, password: self.password.read()? })
    }
}

impl Credentials {
    /// Whether they are not the same. No constant time: both sides are ours.
    pub(crate) fn differ(&self, other: &Self) -> bool {
        self.username.expose() != other.username.expose()
            || self.password.expose() != other.password.expose()
    }
}

impl Endpoint {
    fn read(values: &mut Values) -> Option<Self> {
        let mut extensions = Vec::new();
        for item in values.list("oauth_extensions") {
            match item.split_once('=') {
                Some((name, value)) => extensions.push((name.to_owned(), value.to_owned())),
                None => values.mistake("oauth_extensions", format!("{item}: takes name=value")),
            }
        }
        let scope = values.text("oauth_scope");
        let ca_file = values.secret_file("oauth_ca_file").map(|file| file.path().to_owned());
        let url = values.text("oauth_token_url")?;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            values.mistake("oauth_token_url", "takes an http or https URL");
        }
        Some(Self { url, scope, extensions, ca_file })
    }
}

/// The region in the name of an MSK broker: `b-1.orders.a1b2c3.c2.kafka.eu-west-1.amazonaws.com`,
/// `boot-a1b2c3.c1.kafka-serverless.eu-west-1.amazonaws.com`.
fn region_of(brokers: &[String]) -> Option<String> {
    let host = brokers.iter().find(|broker| broker.contains(".amazonaws.com"))?;
    let (before, _) = host.split_once(".amazonaws.com")?;
    let (service, region) = before.rsplit_once('.')?;
    let is_kafka = service.ends_with(".kafka") || service.ends_with(".kafka-serverless");
    is_kafka.then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_a_cluster_stands_in_its_brokers_names() {
        let region = |broker: &str| region_of(&[broker.to_owned()]);
        let provisioned = "b-1.orders.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098";
        assert_eq!(region(provisioned).as_deref(), Some("eu-west-1"));
        let serverless = "boot-a1b2c3.c1.kafka-serverless.us-east-2.amazonaws.com:9098";
        assert_eq!(region(serverless).as_deref(), Some("us-east-2"));
        let china = "b-1.orders.a1b2c3.c2.kafka.cn-north-1.amazonaws.com.cn:9098";
        assert_eq!(region(china).as_deref(), Some("cn-north-1"));
        assert_eq!(region("ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:9098"), None);
        assert_eq!(region("kafka:9092"), None);
    }
}
