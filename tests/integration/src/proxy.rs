//! A TCP proxy between two parties, with weather.
//!
//! Of the tools there are, Toxiproxy can do as much; but it is a program of its own, in Go, to be fetched, started and
//! told by HTTP what is a few lines here. What it calls toxics are the states of [`Weather`].
//!
//! A connection that lived through [`Weather::Silent`] is reset when that ends: what was not passed on is lost, and a
//! stream with a hole in it does not exist.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How much is read at a time.
const BUFFER: usize = 16 * 1024;
/// A narrow connection passes a second's bytes on in so many portions.
const SHARES_A_SECOND: usize = 20;

/// What connections go through.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Weather {
    /// Everything is passed on at once.
    #[default]
    Fair,
    /// What comes is passed on so much later.
    Slow(Duration),
    /// So many bytes a second are passed on, on each connection and way.
    Narrow(u32),
    /// Connections stay open and are accepted, and nothing is passed on: neither bytes nor ends.
    Silent,
    /// Every connection is closed, new ones as they come.
    Closed,
    /// Every connection is reset, new ones as they come.
    Reset,
    /// Every connection is reset; new ones are read from, and answered that this is forbidden, in HTTP.
    Refusing,
}

const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\n\
    content-type: application/x-amz-json-1.0\r\ncontent-length: 47\r\nconnection: close\r\n\r\n\
    {\"__type\":\"AccessDenied\",\"message\":\"forbidden\"}";

/// A listening proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    to: Arc<Mutex<String>>,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port. Connections are closed until it is told where they [lead](Self::leads_to).
    ///
    /// # Panics
    /// When there is none.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it listens");
        let to = Arc::<Mutex<String>>::default();
        let (weather, seen) = watch::channel(Weather::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&to), seen));
        Self { address, to, weather, accepting }
    }

    /// Where the next connections lead: `host:port`.
    pub fn leads_to(&self, address: &str) {
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = address.to_owned();
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port of that.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What connections go through from now on, those that there are as well.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, to: Arc<Mutex<String>>, weather: watch::Receiver<Weather>) {
    loop {
        // Whoever gave up while it waited is no concern of the others.
        let Ok((client, _)) = listener.accept().await else { continue };
        let to = to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let weather = weather.clone();
        // A connection that fails has ended, as connections do.
        tokio::spawn(async move { drop(connect(client, &to, weather).await) });
    }
}

async fn connect(
    client: TcpStream,
    to: &str,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let now = *weather.borrow_and_update();
    match now {
        Weather::Closed => return Ok(()),
        Weather::Reset => return client.set_zero_linger(),
        Weather::Refusing => return refuse(client).await,
        Weather::Silent => {
            drop(weather.changed().await);
            return client.set_zero_linger();
        }
        Weather::Fair | Weather::Slow(_) | Weather::Narrow(_) => {}
    }
    let server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Both, even if one has ended: a client that is gone may have left words for the server.
    let (up, down) = tokio::join!(
        pass(from_client, to_server, weather.clone()),
        pass(from_server, to_client, weather)
    );
    up.and(down)
}

/// Passes on one way, until it ends or the weather ends it.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let now = *weather.borrow_and_update();
        let (room, rate) = match now {
            Weather::Closed => return Ok(()),
            Weather::Reset | Weather::Refusing => return reset(&from, to),
            Weather::Silent => {
                drop(weather.changed().await);
                return reset(&from, to);
            }
            Weather::Narrow(rate) => {
                let share = usize::try_from(rate).unwrap_or(BUFFER) / SHARES_A_SECOND;
                (share.clamp(1, BUFFER), Some(rate))
            }
            Weather::Fair | Weather::Slow(_) => (BUFFER, None),
        };
        let read = tokio::select! {
            changed = weather.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            read = from.read(&mut buffer[..room]) => read?,
        };
        if read == 0 {
            return to.shutdown().await;
        }
        match (now, rate) {
            (Weather::Slow(delay), _) => sleep(delay).await,
            (_, Some(rate)) => {
                sleep(Duration::from_secs(1) * u32::try_from(read).unwrap_or(1) / rate).await
            }
            _ => {}
        }
        to.write_all(&buffer[..read]).await?;
    }
}

async fn refuse(mut client: TcpStream) -> io::Result<()> {
    // Requests are small: what there is of one is all of it, and nothing at all is a connection that ended.
    match client.read(&mut vec![0; BUFFER]).await? {
        0 => Ok(()),
        _ => client.write_all(FORBIDDEN).await,
    }
}

fn reset(from: &OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
    from.as_ref().set_zero_linger()?;
    let ended = to.as_ref().set_zero_linger();
    // Dropped, it would first say goodbye.
    to.forget();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy before a server that echoes, and a connection through it.
    async fn echo() -> (Proxy, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::listen().await;
        proxy.leads_to(&server.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client)
    }

    async fn ask(client: &mut TcpStream, words: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(words).await?;
        let mut answer = vec![0; words.len()];
        client.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn bytes_come_back_in_fair_slow_and_narrow_weather() {
        let (proxy, mut client) = echo().await;
        for weather in
            [Weather::Fair, Weather::Slow(Duration::from_millis(5)), Weather::Narrow(10_000)]
        {
            proxy.set(weather);
            assert_eq!(ask(&mut client, b"some words").await.unwrap(), b"some words");
        }
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "ends are passed on too");
    }

    #[tokio::test]
    async fn connections_end_as_the_weather_has_it() {
        for (weather, closed) in [(Weather::Closed, true), (Weather::Reset, false)] {
            let (proxy, mut client) = echo().await;
            ask(&mut client, b"before").await.unwrap();
            proxy.set(weather);
            let ended = client.read(&mut [0; 1]).await;
            match closed {
                true => assert_eq!(ended.unwrap(), 0),
                false => assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset),
            }
            let mut next = TcpStream::connect(proxy.address()).await.unwrap();
            assert!(ask(&mut next, b"meanwhile").await.is_err());
            proxy.set(Weather::Fair);
            let mut next = TcpStream::connect(proxy.address()).await.unwrap();
            assert!(ask(&mut next, b"after").await.is_ok());
        }
    }

    #[tokio::test]
    async fn who_is_refused_is_told_so_in_http() {
        let (proxy, mut client) = echo().await;
        ask(&mut client, b"before").await.unwrap();
        proxy.set(Weather::Refusing);
        assert!(client.read(&mut [0; 1]).await.is_err());
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        next.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    }

    #[tokio::test]
    async fn silence_passes_nothing_on_and_ends_in_a_reset() {
        let (proxy, mut client) = echo().await;
        ask(&mut client, b"before").await.unwrap();
        proxy.set(Weather::Silent);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut word, mut other) = ([0; 1], [0; 1]);
        {
            let (one, two) = (ask(&mut client, b"1"), ask(&mut next, b"2"));
            tokio::pin!(one, two);
            // Nothing to wait for: that nothing comes is looked at for a moment.
            tokio::select! {
                _ = &mut one => panic!("an old connection is silent"),
                _ = &mut two => panic!("a new one too"),
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
        proxy.set(Weather::Fair);
        assert!(client.read(&mut word).await.is_err());
        assert!(next.read(&mut other).await.is_err());
    }
}
