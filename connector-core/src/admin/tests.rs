use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::conditions::{Conditions, Subject};
use crate::log::capture::captured;

const BROKER: Subject = Subject::new("broker");

struct Scripted(Conditions);

impl Pages for Scripted {
    fn ready(&self) -> Result<(), Vec<(Subject, String)>> {
        self.0.ready()
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn status(&self) -> serde_json::Result<String> {
        Ok(r#"{"topics":["orders"]}"#.to_owned())
    }

    async fn fleet(&self) -> serde_json::Result<String> {
        Ok(r#"[{"address":"nats:8081"}]"#.to_owned())
    }
}

/// A server on a free port, with what its `/readyz` is made from.
async fn server() -> (SocketAddr, Conditions) {
    let conditions = Conditions::new();
    let admin = Admin::bind(0).await.unwrap();
    let port = admin.address().port();
    tokio::spawn(admin.serve(Arc::new(Scripted(conditions.clone()))));
    (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), conditions)
}

/// Sends a request as it stands and returns head and body of the answer.
async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

#[tokio::test]
async fn every_page_answers() {
    let (address, _) = server().await;
    let (head, body) = get(address, "/healthz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "ok\n");
    let (head, body) = get(address, "/metrics?x=y").await;
    assert!(head.contains(&format!("content-type: {OPEN_METRICS}")), "{head}");
    assert_eq!(body, "# EOF\n");
    let (head, body) = get(address, "/status").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["topics"][0], "orders");
    assert!(get(address, "/fleet").await.1.contains("nats:8081"));
    let (head, body) = get(address, "/").await;
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(body.starts_with("<!doctype html>"), "{body}");
    assert!(get(address, "/other").await.0.starts_with("http/1.1 404"));
}

#[tokio::test]
async fn ready_follows_the_conditions_and_says_why_not() {
    let (address, conditions) = server().await;
    conditions.expect(&BROKER);
    conditions.unwell(&Subject::new("gateway"), "refused\nby 10.0.0.1", true);
    let (head, body) = get(address, "/readyz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, "broker: not yet\ngateway: refused by 10.0.0.1\n");
    assert!(get(address, "/healthz").await.0.starts_with("http/1.1 200"));
    conditions.well(&BROKER);
    conditions.well(&Subject::new("gateway"));
    let (head, body) = get(address, "/readyz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "ready\n");
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let (address, _) = server().await;
    let post = "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let (head, _) = ask(address, post).await;
    assert!(head.starts_with("http/1.1 405"), "{head}");
    assert!(head.contains("allow: get, head"), "{head}");
    let (head, body) = ask(address, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
}

#[tokio::test]
async fn stalled_clients_do_not_keep_others_out() {
    let (address, _) = server().await;
    let mut stalled = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        stalled.push(stream);
    }
    // Answered as soon as the stalled ones have been shown the door.
    assert!(get(address, "/healthz").await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_once_and_survived() {
    let (log, _guard) = captured();
    let first = Admin::bind(0).await.unwrap();
    let port = first.address().port();
    assert!(Admin::bind(port).await.is_none());
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("cannot bind"), "{lines:?}");
}
