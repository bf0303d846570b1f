//! What goes wrong when AWS is asked something, by what follows from it.

use std::fmt;

use aws_sdk_sqs::config::http::HttpResponse;
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

impl<E> From<SdkError<E, HttpResponse>> for Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        if let SdkError::ServiceError(service) = &error {
            let metadata = service.err();
            let Some(code) = metadata.code() else { return foreign(service.raw()) };
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

/// An error in another form than SQS': a proxy's, or that of a compatible server which tells some
/// in XML.
fn foreign(answer: &HttpResponse) -> Trouble {
    let status = answer.status().as_u16();
    let body = String::from_utf8_lossy(answer.body().bytes().unwrap_or_default());
    let tag = |name: &str| {
        let (_, after) = body.split_once(&format!("<{name}>"))?;
        after.split_once("</").map(|(text, _)| text)
    };
    if let Some(code) = tag("Code") {
        let why = format!("{code}: {}", tag("Message").unwrap_or_default());
        return Trouble { kind: kind(code), why };
    }
    let beginning: String = body.chars().take(200).collect();
    let kind = match status {
        401 => Kind::Credentials,
        403 => Kind::Denied,
        429 | 503 => Kind::Throttled,
        _ => Kind::Service,
    };
    Trouble { kind, why: format!("HTTP status {status}: {}", beginning.trim()) }
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

    #[test]
    fn errors_in_another_form_are_read_as_far_as_they_can_be() {
        let answer = |status: u16, body: &'static str| {
            let status = status.try_into().expect("a status");
            foreign(&HttpResponse::new(status, body.into()))
        };
        let xml =
            "<ErrorResponse><Errors><Error><Code>InvalidClientTokenId</Code><Message>No.</Message>";
        let trouble = answer(403, xml);
        assert_eq!((trouble.kind, &*trouble.why), (Kind::Credentials, "InvalidClientTokenId: No."));
        let trouble = answer(502, "<html>bad gateway</html>\n");
        assert_eq!(trouble.kind, Kind::Service);
        assert_eq!(trouble.why, "HTTP status 502: <html>bad gateway</html>");
    }
}
