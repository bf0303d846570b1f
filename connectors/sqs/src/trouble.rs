//! What goes wrong when AWS is asked something, by what follows from it.

use std::fmt;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use connector_core::log::Chain;
use connector_core::source::SourceError;

/// One failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    /// What to tell an operator. The same for the same trouble, as far as the service lets us.
    pub(crate) why: String,
}

/// What follows from a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The service cannot be reached, or does not answer. It heals when the service does.
    Unreachable,
    /// There are no credentials, or they are wrong or expired. They are looked for again.
    Credentials,
    /// The credentials are good and do not allow it.
    Denied,
    /// There is no such queue.
    UnknownQueue,
    /// We ask too often, or too much is in flight: wait.
    Throttled,
    /// The request cannot be made: no region is known, for example.
    Setup,
    /// The service answers with an error of its own.
    Service,
}

impl Trouble {
    pub(crate) fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<Trouble> for SourceError {
    fn from(trouble: Trouble) -> Self {
        match trouble.kind {
            Kind::Credentials | Kind::Denied | Kind::Setup => Self::Refused(trouble.why),
            Kind::Unreachable | Kind::Throttled => Self::Unreachable(trouble.why),
            Kind::UnknownQueue | Kind::Service => Self::Broken(trouble.why),
        }
    }
}

impl<E, R> From<SdkError<E, R>> for Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        if let SdkError::ServiceError(service) = &error {
            let metadata = service.err();
            let code = metadata.code().unwrap_or("an error without a code");
            let why = match metadata.message() {
                Some(message) => format!("{code}: {message}"),
                None => code.to_owned(),
            };
            return Self { kind: kind(code), why };
        }
        let why = Chain(&error).to_string();
        let kind = match &error {
            // Credentials are fetched as part of sending a request.
            SdkError::DispatchFailure(failure) if failure.is_other() && names_credentials(&why) => {
                Kind::Credentials
            }
            SdkError::ConstructionFailure(_) if names_credentials(&why) => Kind::Credentials,
            SdkError::ConstructionFailure(_) => Kind::Setup,
            _ => Kind::Unreachable,
        };
        Self { kind, why }
    }
}

fn names_credentials(why: &str) -> bool {
    ["redential", "dentity"].iter().any(|word| why.contains(word))
}

/// What follows from an error code of SQS or STS. The query protocol, which compatible servers still
/// speak, has longer names for some.
fn kind(code: &str) -> Kind {
    let code = code.rsplit(['.', '#']).next().unwrap_or(code);
    match code {
        "QueueDoesNotExist" | "NonExistentQueue" | "QueueDeletedRecently" => Kind::UnknownQueue,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure"
        | "InvalidSecurity"
        | "OptInRequired"
        | "RequestTimeTooSkewed" => Kind::Credentials,
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidAddress"
        | "NotAuthorized"
        | "KmsAccessDenied"
        | "KmsDisabled"
        | "KmsNotFound" => Kind::Denied,
        _ if is_throttle(code) => Kind::Throttled,
        _ => Kind::Service,
    }
}

/// Whether a code, of a request or of one entry of a batch, asks for patience.
pub(crate) fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "RequestThrottled"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "OverLimit"
            | "KmsThrottled"
            | "RequestLimitExceeded"
            | "ServiceUnavailable"
            | "SlowDown"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_protocols_lead_to_the_same() {
        assert_eq!(kind("QueueDoesNotExist"), Kind::UnknownQueue);
        assert_eq!(kind("AWS.SimpleQueueService.NonExistentQueue"), Kind::UnknownQueue);
        assert_eq!(kind("com.amazonaws.sqs#RequestThrottled"), Kind::Throttled);
        assert_eq!(kind("ExpiredToken"), Kind::Credentials);
        assert_eq!(kind("AccessDenied"), Kind::Denied);
        assert_eq!(kind("InternalError"), Kind::Service);
    }
}
