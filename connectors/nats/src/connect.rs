//! Connections: who we are, and what the client library reports.
//!
//! The library reconnects by itself and cannot be told not to, so it is watched: what it reports
//! becomes the condition of the broker, and whoever must act on a new connection waits on
//! [`Watched`], and whoever asks for something that may be refused on [`Refusals`].

use std::sync::Arc;
use std::time::Duration;

use async_nats::{AuthError, Client, ConnectErrorKind, ConnectOptions, Event, ServerError};
use connector_core::Intake;
use connector_core::log::Chain;
use connector_core::source::SourceError;
use connector_core::supervisor::broker;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};

use crate::config::NatsConfig;
use crate::proof::prove;
use crate::refusals::Refusals;

/// How long one attempt to connect may take, and one request to the server's own services.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How often the server is pinged. After two pings without an answer the connection is given up: a
/// server that hangs is noticed within half a minute.
const PING: Duration = Duration::from_secs(10);

/// The longest wait of the library between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a refusal is reported with at most before somebody looks.
const REPORTS: usize = 1_024;

/// One connection, as its library reports it.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) watched: Watched,
    pub(crate) refusals: Refusals,
    /// What the server complained of, word for word.
    pub(crate) complaints: mpsc::Receiver<String>,
    /// Changes when the library had no room for messages.
    pub(crate) overflows: watch::Receiver<()>,
}

/// Whether the connection is there. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watched {
    state: watch::Receiver<State>,
}

/// One of the connections that the library makes, one after the other: what was asked on an
/// earlier one is not answered any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connection(u64);

#[derive(Clone, Copy)]
struct State {
    up: bool,
    connection: Connection,
}

impl Watched {
    pub(crate) fn is_up(&self) -> bool {
        self.state.borrow().up
    }

    /// Resolves while there is a connection, to which.
    ///
    /// Cancel-safe.
    pub(crate) async fn up(&mut self) -> Connection {
        self.other_than(None).await
    }

    /// Resolves while there is another connection than `seen`, to which.
    ///
    /// Cancel-safe.
    pub(crate) async fn other_than(&mut self, seen: Option<Connection>) -> Connection {
        let other = self.state.wait_for(|state| state.up && Some(state.connection) != seen).await;
        match other.map(|state| state.connection) {
            Ok(connection) => connection,
            // Whoever reports has gone: nothing is connected any more.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Connects, once to each server. The library then keeps the connection up for as long as a clone
/// of the client lives.
///
/// `intake`: whose broker's condition follows this connection; `None` for one on the side.
///
/// # Errors
/// No server was reached, or the one that was refuses us.
pub(crate) async fn connect(
    config: &Arc<NatsConfig>,
    intake: Option<Intake>,
    buffered: usize,
) -> Result<Link, SourceError> {
    // Up only once the library reports it, a moment after it has connected: who asked for something
    // before that would take the report for another connection, and ask anew.
    let (tell_state, state) = watch::channel(State { up: false, connection: Connection(0) });
    let (complain, complaints) = mpsc::channel(REPORTS);
    let (overflow, overflows) = watch::channel(());
    let refusals = Refusals::default();
    let reports = Arc::new(Reports {
        intake,
        state: tell_state,
        refusals: refusals.clone(),
        complain,
        overflow,
    });
    let client = options(config)
        .subscription_capacity(buffered)
        .event_callback(move |event| {
            let reports = Arc::clone(&reports);
            async move { reports.take(&event) }
        })
        .connect(config.servers.as_slice())
        .await
        .map_err(|error| {
            let why = Chain(&error).to_string();
            match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    SourceError::Refused(why)
                }
                _ => SourceError::Unreachable(why),
            }
        })?;
    Ok(Link { client, watched: Watched { state }, refusals, complaints, overflows })
}

/// Waits until the server has seen everything sent so far, a few seconds at most: a subscription
/// ends only when the server has answered a ping sent behind it.
pub(crate) async fn round_trip(client: &Client) {
    let trip = async {
        let mut subscriber = client.subscribe(client.new_inbox()).await.ok()?;
        subscriber.drain().await.ok()?;
        while subscriber.next().await.is_some() {}
        Some(())
    };
    if !matches!(tokio::time::timeout(PATIENCE, trip).await, Ok(Some(()))) {
        tracing::debug!("the server did not answer a ping in time");
    }
}

fn options(config: &Arc<NatsConfig>) -> ConnectOptions {
    let credentials = config.credentials.clone();
    let tls = &config.tls;
    let mut options = ConnectOptions::with_auth_callback(move |nonce| {
        let auth = prove(&credentials, &nonce);
        async move { auth.map_err(|error| AuthError::new(Chain(&error))) }
    })
    .name("openfaas_connector")
    .connection_timeout(PATIENCE)
    .request_timeout(Some(PATIENCE))
    .ping_interval(PING)
    .reconnect_delay_callback(wait_before)
    .require_tls(tls.required);
    if tls.first {
        options = options.tls_first();
    }
    if let Some(ca) = &tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((cert, key)) = &tls.client {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    options
}

/// The wait before an attempt to connect, the first of them being number one. Replicas that lost
/// the same server must not return in step.
fn wait_before(attempt: usize) -> Duration {
    if attempt <= 1 {
        return Duration::ZERO;
    }
    let wait = Duration::from_millis(100) * 2_u32.saturating_pow(attempt.min(10) as u32 - 2);
    wait.min(LONGEST_WAIT).mul_f64(spread())
}

/// Something between a half and one. The clock's last digits are random enough for this.
fn spread() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    0.5 + f64::from(now.map_or(0, |now| now.subsec_micros() % 1_000)) / 2_000.0
}

/// What the client library reports, on its way to those who act on it.
struct Reports {
    intake: Option<Intake>,
    state: watch::Sender<State>,
    refusals: Refusals,
    complain: mpsc::Sender<String>,
    overflow: watch::Sender<()>,
}

impl Reports {
    fn take(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.refusals.forget();
                self.state.send_modify(|state| {
                    *state = State { up: true, connection: Connection(state.connection.0 + 1) };
                });
                if let Some(intake) = &self.intake {
                    intake.metrics().source_connected.set(1);
                    intake.conditions().well(&broker());
                }
            }
            // The client was dropped, as the last thing that was done.
            Event::Closed if self.intake.as_ref().is_some_and(Intake::is_draining) => {}
            Event::Disconnected | Event::Closed => {
                self.state.send_modify(|state| state.up = false);
                self.lost("the connection was lost");
            }
            // One for each attempt; the condition logs a reason once.
            Event::ClientError(error) if !self.state.borrow().up => self.lost(&error.to_string()),
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                self.overflow.send_replace(());
            }
            Event::ServerError(error) => {
                let what = error.to_string();
                self.refusals.tell(&what);
                self.complain(what);
            }
            Event::ClientError(error) => self.complain(error.to_string()),
            Event::LameDuckMode => tracing::info!("the server is being shut down"),
            Event::Draining => {}
        }
    }

    fn lost(&self, why: &str) {
        if let Some(intake) = &self.intake {
            intake.metrics().source_connected.set(0);
            intake.conditions().unwell(&broker(), why, true);
        }
    }

    fn complain(&self, what: String) {
        tracing::debug!("the server says: {what}");
        // Beyond so many unread ones another says nothing new.
        drop(self.complain.try_send(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_and_is_spread() {
        assert_eq!(wait_before(1), Duration::ZERO);
        let full = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000];
        for (attempt, full) in (2..).zip(full.map(Duration::from_millis)) {
            let wait = wait_before(attempt);
            assert!((full / 2..full).contains(&wait), "{wait:?} before attempt {attempt}");
        }
        assert!(wait_before(usize::MAX) < LONGEST_WAIT);
    }
}
