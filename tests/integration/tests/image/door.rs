//! A door to a server of this machine: it listens in the containers' network, ends TLS if it is asked to, and passes bytes on.
//!
//! The brokers listen at 127.0.0.1, where no container comes, and some of them have no TLS of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Closed with its last connection when dropped.
pub(crate) struct Door(JoinHandle<()>);

impl Door {
    pub(crate) async fn open(at: SocketAddr, to: String, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(at).await.expect("the network's own address is free");
        let tls = tls.map(TlsAcceptor::from);
        Self(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, to.clone(), tls.clone()));
            }
        }))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass(stream: TcpStream, to: String, tls: Option<TlsAcceptor>) {
    match tls {
        None => join(stream, &to).await,
        // A handshake that fails is the other side's to tell.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                join(stream, &to).await;
            }
        }
    }
}

async fn join(mut stream: impl AsyncRead + AsyncWrite + Unpin, to: &str) {
    if let Ok(mut server) = TcpStream::connect(to).await {
        // Either side may end it, and the other sees that.
        copy_bidirectional(&mut stream, &mut server).await.ok();
    }
}
