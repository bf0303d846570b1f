//! One connection, polled by a task of its own.
//!
//! The library's loop must run all the time and must not be cancelled, so it has its own task and
//! hands over what it reads. A [`Link`] is one connection: it begins with a CONNECT and ends for
//! good. Dropping it closes the socket without a word, which leaves the session as it is.

use std::time::Duration;

use connector_core::source::SourceError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{Accepted, Begin, Client, Loop, Packet, create};
use crate::config::MqttConfig;

/// How many packets wait to be taken. The loop waits then, a moment: whoever takes them never
/// waits for it.
const WAITING: usize = 64;

/// How long the broker may take to read a DISCONNECT and what stands before it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection that the broker has accepted.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) accepted: Accepted,
    packets: mpsc::Receiver<Result<Packet, SourceError>>,
    polling: Polling,
}

/// The task that polls; it ends with its link.
struct Polling(JoinHandle<()>);

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// The broker is not reached, or refuses.
    pub(crate) async fn open(config: &MqttConfig, begin: Begin<'_>) -> Result<Self, SourceError> {
        let (client, mut event_loop) = create(config, &begin)?;
        let accepted = loop {
            if let Packet::ConnAck(accepted) = event_loop.poll().await? {
                break accepted;
            }
        };
        if accepted.session_present {
            event_loop.expect_any_release()?;
        }
        let (tell, packets) = mpsc::channel(WAITING);
        let polling = Polling(tokio::spawn(poll(event_loop, tell)));
        Ok(Self { client, accepted, packets, polling })
    }

    /// The next packet, and at last the error that ended the connection.
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Packet, SourceError> {
        let ended = || Err(SourceError::Broken("the connection has ended".to_owned()));
        self.packets.recv().await.unwrap_or_else(ended)
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.polling.0.is_finished()
    }

    /// Says goodbye, once everything asked for before has been sent, and waits until the broker has
    /// closed the connection: it has then read every acknowledgement. One that a fresh connection
    /// overtakes may be thrown away unread. What still comes in is let go.
    pub(crate) async fn close(mut self) {
        if self.client.disconnect().await.is_err() {
            return;
        }
        let gone = async { while self.next().await.is_ok() {} };
        // In time or not, the connection ends here.
        drop(tokio::time::timeout(LEAVE_TIMEOUT, gone).await);
    }
}

async fn poll(mut event_loop: Loop, tell: mpsc::Sender<Result<Packet, SourceError>>) {
    loop {
        let packet = match event_loop.poll().await {
            Ok(Packet::Other) => continue,
            packet => packet,
        };
        let is_last = packet.is_err();
        if tell.send(packet).await.is_err() || is_last {
            return;
        }
    }
}
