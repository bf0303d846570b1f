//! Why a connection has ended: what the library says, in the words of the supervisor.

use connector_core::source::SourceError;
use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5 as m5;

pub(super) fn ended_4(error: rumqttc::ConnectionError) -> SourceError {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError as Error, StateError};
    match error {
        Error::ConnectionRefused(code) => {
            let why = format!("the broker refuses the connection: {code:?}");
            match code {
                Code::ServiceUnavailable => SourceError::Unreachable(why),
                _ => SourceError::Refused(why),
            }
        }
        Error::NetworkTimeout | Error::FlushTimeout => silent(),
        Error::MqttState(StateError::ConnectionAborted) => closed(),
        Error::MqttState(StateError::AwaitPingResp) => silent(),
        Error::Io(error) => SourceError::Unreachable(error.to_string()),
        Error::Tls(error) => SourceError::Unreachable(encryption(&error)),
        other => SourceError::Broken(other.to_string()),
    }
}

pub(super) fn ended_5(error: v5::ConnectionError) -> SourceError {
    use rumqttc::v5::{ConnectionError as Error, StateError};
    match error {
        Error::ConnectionRefused(code) => {
            use m5::ConnectReturnCode as Code;
            let why = format!("the broker refuses the connection: {code:?}");
            match code {
                Code::ServiceUnavailable
                | Code::ServerUnavailable
                | Code::ServerBusy
                | Code::ConnectionRateExceeded => SourceError::Unreachable(why),
                _ => SourceError::Refused(why),
            }
        }
        Error::Timeout(_) => silent(),
        Error::MqttState(StateError::ConnectionAborted) => closed(),
        Error::MqttState(StateError::AwaitPingResp) => silent(),
        Error::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            SourceError::Unreachable(format!("the broker ends the connection: {reason_code:?}"))
        }
        Error::Io(error) => SourceError::Unreachable(error.to_string()),
        Error::Tls(error) => SourceError::Unreachable(encryption(&error)),
        other => SourceError::Broken(other.to_string()),
    }
}

pub(super) fn silent() -> SourceError {
    SourceError::Unreachable("the broker does not answer".to_owned())
}

/// A broker of 3.1.1 gives no reason; the usual one is worth naming.
fn closed() -> SourceError {
    SourceError::Unreachable(
        "the broker closed the connection (another client with the same id makes it do so)"
            .to_owned(),
    )
}

fn encryption(error: &rumqttc::TlsError) -> String {
    format!("TLS: {}", connector_core::log::Chain(error))
}
