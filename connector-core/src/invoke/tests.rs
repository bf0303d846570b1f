use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::gateway::IDLE_TIMEOUT;

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell";

/// A server that is written out byte by byte: the accepted connections, in order.
struct Server {
    url: String,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if tell.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { url, accepted }
    }

    async fn accept(&mut self) -> TcpStream {
        self.accepted.recv().await.unwrap()
    }

    fn target(&self) -> Target {
        Target::new(&format!("{}/function/f", self.url).parse().unwrap())
    }

    fn invoker(&self) -> Invoker {
        Invoker::new(way(&self.url, &Matcher::builder().build()), 4, None)
    }
}

fn way(gateway: &str, proxies: &Matcher) -> Way {
    let tls = crate::gateway::tls("http:").unwrap();
    Way::through(proxies, &gateway.parse().unwrap(), tls)
}

async fn call(invoker: &Invoker, target: &Target) -> Result<Answer, NoAnswer> {
    invoker.call(target, HeaderMap::new(), Bytes::from_static(b"body")).await
}

/// Reads one request up to its body's end, which every test knows; gives its head in lower case.
async fn hear(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\nbody") {
        assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "cut short");
    }
    String::from_utf8(heard).unwrap().to_lowercase()
}

async fn answer(stream: &mut TcpStream, answer: &str) -> String {
    let heard = hear(stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    heard
}

/// What one call comes to when the server answers so, and closes.
async fn called_with(text: &str) -> Result<Answer, NoAnswer> {
    let mut server = Server::start().await;
    let (invoker, target) = (server.invoker(), server.target());
    let serve = async {
        let mut stream = server.accept().await;
        answer(&mut stream, text).await;
    };
    tokio::join!(call(&invoker, &target), serve).0
}

#[tokio::test]
async fn one_connection_serves_one_call_after_the_other() {
    let mut server = Server::start().await;
    let (invoker, target) = (server.invoker(), server.target());
    let serve = async {
        let mut stream = server.accept().await;
        for _ in 0..3 {
            let heard = answer(&mut stream, WELL).await;
            assert!(heard.starts_with("post /function/f http/1.1\r\n"), "{heard}");
            let host = server.url.replace("http://", "host: ");
            for line in [host.as_str(), "content-length: 4", "accept: */*"] {
                assert!(heard.lines().any(|it| it == line), "{line} is missing in {heard}");
            }
        }
        // Kept until the calls have ended.
        stream
    };
    let calls = async {
        for _ in 0..3 {
            let answer = call(&invoker, &target).await.unwrap();
            assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"well"[..]));
        }
    };
    tokio::join!(serve, calls);
    assert!(server.accepted.is_empty());
}

#[tokio::test]
async fn a_connection_that_was_closed_between_calls_costs_none_of_them() {
    let mut server = Server::start().await;
    let (invoker, target) = (server.invoker(), server.target());
    for _ in 0..3 {
        let serve = async {
            let mut stream = server.accept().await;
            answer(&mut stream, WELL).await;
            stream
        };
        let (called, stream) = tokio::join!(call(&invoker, &target), serve);
        called.unwrap();
        drop(stream);
        the_reactor_turns().await;
    }
}

/// What a task may look at in one turn without being told to come again: tokio's budget.
const LOOKS: usize = 128;

#[tokio::test]
async fn more_closed_connections_than_can_be_looked_at_hold_no_call_up() {
    let mut server = Server::start().await;
    let target = Arc::new(server.target());
    let way = way(&server.url, &Matcher::builder().build());
    let invoker = Arc::new(Invoker::new(way, 2 * LOOKS, None));
    let many = (0..LOOKS + 2).map(|_| {
        let (invoker, target) = (Arc::clone(&invoker), Arc::clone(&target));
        tokio::spawn(async move { call(&invoker, &target).await })
    });
    let many: Vec<_> = many.collect();
    let mut streams = Vec::new();
    for _ in &many {
        streams.push(server.accept().await);
    }
    for stream in &mut streams {
        answer(stream, WELL).await;
    }
    for called in many {
        called.await.unwrap().unwrap();
    }
    drop(streams);
    the_reactor_turns().await;
    let last = tokio::spawn(async move { call(&invoker, &target).await });
    let served = async {
        answer(&mut server.accept().await, WELL).await;
        last.await.unwrap().unwrap()
    };
    let served = tokio::time::timeout(Duration::from_secs(10), served).await;
    served.expect("it is not left waiting");
}

/// What has been sent or closed on this machine is seen after that.
async fn the_reactor_turns() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn a_time_limit_that_ends_while_connecting_was_no_call() {
    // A queue for one, in which nobody looks: once it is full the system answers no more.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    let url = format!("http://{address}");
    let way = way(&url, &Matcher::builder().build());
    let invoker = Invoker::new(way, 4, Some(Duration::from_millis(200)));
    let target = Target::new(&format!("{url}/function/f").parse().unwrap());
    let called = call(&invoker, &target).await;
    assert!(matches!(called, Err(NoAnswer::Unwritten(_))), "{called:?}");
}

#[tokio::test]
async fn an_answer_that_ends_the_connection_is_not_followed_by_another_call() {
    let mut server = Server::start().await;
    let (invoker, target) = (server.invoker(), server.target());
    let mut open = Vec::new();
    for text in ["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", WELL] {
        let serve = async {
            let mut stream = server.accept().await;
            answer(&mut stream, text).await;
            stream
        };
        let (called, stream) = tokio::join!(call(&invoker, &target), serve);
        called.unwrap();
        open.push(stream);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let closed = called_with("").await.unwrap_err();
    assert!(matches!(closed, NoAnswer::Closed(_)), "{closed}");
    let foreign = called_with("SSH-2.0-OpenSSH_9.2\r\n").await.unwrap_err();
    assert!(matches!(foreign, NoAnswer::Garbled(_)), "{foreign}");
    let cut = called_with("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut").await.unwrap_err();
    assert!(matches!(cut, NoAnswer::Garbled(_)), "{cut}");

    let gone = Server { url: free_address().await, accepted: mpsc::unbounded_channel().1 };
    let unwritten = call(&gone.invoker(), &gone.target()).await.unwrap_err();
    assert!(matches!(unwritten, NoAnswer::Unwritten(_)), "{unwritten}");
}

/// An address that nobody listens at.
async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_whole_call_has_its_limit() {
    let mut server = Server::start().await;
    let limit = Duration::from_secs(3);
    let way = way(&server.url, &Matcher::builder().build());
    let invoker = Invoker::new(way, 4, Some(limit));
    let target = server.target();
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nslow";
    let serve = async {
        let mut stream = server.accept().await;
        answer(&mut stream, begun).await;
        stream
    };
    let (called, _stream) = tokio::join!(call(&invoker, &target), serve);
    assert_eq!(called.unwrap_err(), NoAnswer::TimedOut(limit));
}

#[tokio::test]
async fn an_answer_in_pieces_is_read_whole() {
    let pieces = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                  2\r\nwe\r\n2\r\nll\r\n0\r\ntrailer: 1\r\n\r\n";
    assert_eq!(called_with(pieces).await.unwrap().body, "well");
    let to_the_end = "HTTP/1.1 200 OK\r\n\r\nwell";
    assert_eq!(called_with(to_the_end).await.unwrap().body, "well");
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit_and_then_left() {
    let mut server = Server::start().await;
    let (invoker, target) = (server.invoker(), server.target());
    let serve = async {
        let mut stream = server.accept().await;
        answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n").await;
        // Until the other end has had enough.
        while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
    };
    let (called, ()) = tokio::join!(call(&invoker, &target), serve);
    assert_eq!(called.unwrap().body.len(), READ_AT_MOST);
}

#[tokio::test(start_paused = true)]
async fn what_rests_too_long_is_closed() {
    let mut server = Server::start().await;
    let (invoker, target) = (server.invoker(), server.target());
    let serve = async {
        let mut stream = server.accept().await;
        answer(&mut stream, WELL).await;
        stream
    };
    let (called, mut stream) = tokio::join!(call(&invoker, &target), serve);
    called.unwrap();
    let rested = tokio::time::Instant::now();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert!(rested.elapsed() >= IDLE_TIMEOUT);
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_address() {
    let mut proxy = Server::start().await;
    let address = proxy.url.replace("http://", "http://me:secret@");
    let proxies = Matcher::builder().http(address).build();
    let invoker = Invoker::new(way("http://gateway:8080", &proxies), 4, None);
    let target = Target::new(&"http://gateway:8080/function/f".parse().unwrap());
    let serve = async {
        let mut stream = proxy.accept().await;
        answer(&mut stream, WELL).await
    };
    let (called, heard) = tokio::join!(call(&invoker, &target), serve);
    called.unwrap();
    assert!(heard.starts_with("post http://gateway:8080/function/f http/1.1\r\n"), "{heard}");
    assert!(heard.contains("\r\nhost: gateway:8080\r\n"), "{heard}");
    assert!(heard.contains("\r\nproxy-authorization: basic bwu6c2vjcmv0\r\n"), "{heard}");
}

#[tokio::test]
async fn tls_goes_through_a_proxy_by_a_tunnel() {
    let mut proxy = Server::start().await;
    let proxies = Matcher::builder().https(proxy.url.clone()).build();
    let invoker = Invoker::new(way("https://gateway", &proxies), 4, None);
    let target = Target::new(&"https://gateway/function/f".parse().unwrap());
    let serve = async {
        let mut stream = proxy.accept().await;
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "cut short");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let handshake = stream.read_u8().await.unwrap();
        (String::from_utf8(heard).unwrap(), handshake)
    };
    let (called, (heard, handshake)) = tokio::join!(call(&invoker, &target), serve);
    assert!(heard.starts_with("CONNECT gateway:443 HTTP/1.1\r\n"), "{heard}");
    assert_eq!(handshake, 22, "what goes through the tunnel begins as TLS does");
    let unwritten = called.unwrap_err();
    assert!(matches!(unwritten, NoAnswer::Unwritten(_)), "{unwritten}");
}
