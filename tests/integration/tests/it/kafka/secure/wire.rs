//! What a connector says to a broker, overheard.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A listener that passes everything on, and remembers what clients have said.
pub(super) struct Tap {
    address: String,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// A tap on this address.
    pub(super) async fn on(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let said = Arc::<Mutex<Vec<u8>>>::default();
        tokio::spawn(accept(listener, broker.to_owned(), Arc::clone(&said)));
        Self { address, said }
    }

    /// Where clients come in.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What clients have said so far, as far as it is text.
    pub(super) fn seen(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).into_owned()
    }
}

async fn accept(listener: TcpListener, broker: String, said: Arc<Mutex<Vec<u8>>>) {
    while let Ok((client, _)) = listener.accept().await {
        if let Ok(server) = TcpStream::connect(&broker).await {
            tokio::spawn(pass_on(client, server, Arc::clone(&said)));
        }
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, said: Arc<Mutex<Vec<u8>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // Either side closes whenever it likes.
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await.ok() });
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
        if to_server.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
