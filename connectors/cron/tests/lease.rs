//! Three replicas of the binary that share a Lease, at a stand-in for the API server of Kubernetes.
//!
//! The stand-in keeps Leases in memory and does what the API server does with them: a write upon a
//! version that is no longer the last is refused, as is one without the service account's token.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are worth reading")]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dev_gateway::{Config, DevGateway, Function};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/openfaas/leases";
const TOKEN: &str = "token-of-the-account";
const KILLS: u32 = 20;

/// The API server's stand-in, with the one Lease that there is.
#[derive(Clone)]
struct ApiServer(Arc<Mutex<Kept>>, watch::Sender<u64>);

#[derive(Default)]
struct Kept {
    lease: Option<Value>,
    version: u64,
}

impl ApiServer {
    /// Starts it, and gives its address.
    async fn start() -> (Self, String) {
        let server = Self(Arc::default(), watch::Sender::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = serving.clone();
                let service = hyper::service::service_fn(move |request| {
                    let serving = serving.clone();
                    async move { serving.answer(request).await }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        (server, url)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        let authorised =
            head.headers.get("authorization").is_some_and(|it| *it == *format!("Bearer {TOKEN}"));
        let (status, answer) = match authorised {
            true => {
                let body = serde_json::from_slice(&body).ok();
                self.serve(&head.method, head.uri.path(), body)
            }
            false => status(StatusCode::UNAUTHORIZED, "Unauthorized"),
        };
        // Not while the Lease is locked: whoever waits for this reads it.
        self.1.send_modify(|answers| *answers += 1);
        let mut response = Response::new(answer.to_string().into());
        *response.status_mut() = status;
        Ok(response)
    }

    fn serve(&self, method: &Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let kept = &mut *self.0.lock().unwrap();
        match (method, path.strip_prefix(LEASES), body) {
            (&Method::GET, Some("/cron"), _) => match &kept.lease {
                Some(lease) => (StatusCode::OK, lease.clone()),
                None => status(StatusCode::NOT_FOUND, "leases \"cron\" not found"),
            },
            (&Method::POST, Some(""), Some(lease)) => match kept.lease {
                None => (StatusCode::CREATED, kept.write(lease)),
                Some(_) => status(StatusCode::CONFLICT, "leases \"cron\" already exists"),
            },
            (&Method::PUT, Some("/cron"), Some(lease)) => match &kept.lease {
                Some(now)
                    if now["metadata"]["resourceVersion"]
                        == lease["metadata"]["resourceVersion"] =>
                {
                    (StatusCode::OK, kept.write(lease))
                }
                Some(_) => status(StatusCode::CONFLICT, "the object has been modified"),
                None => status(StatusCode::NOT_FOUND, "leases \"cron\" not found"),
            },
            _ => status(StatusCode::NOT_FOUND, "no such resource"),
        }
    }

    fn holder(&self) -> String {
        let kept = self.0.lock().unwrap();
        let holder = kept.lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_default().to_owned()
    }

    /// Waits until another than `former` leads.
    async fn successor(&self, former: &str) -> String {
        let mut writes = self.1.subscribe();
        let successor = writes.wait_for(|_| !["", former].contains(&self.holder().as_str()));
        tokio::time::timeout(dev_gateway::PATIENCE, successor)
            .await
            .expect("another takes over")
            .unwrap();
        self.holder()
    }
}

impl Kept {
    fn write(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        lease
    }
}

fn status(code: StatusCode, message: &str) -> (StatusCode, Value) {
    (
        code,
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code.as_u16() }),
    )
}

/// A running replica.
struct Replica {
    process: Child,
    /// What it is called in the Lease.
    identity: String,
    log: tokio::task::JoinHandle<Vec<String>>,
}

impl Replica {
    async fn start(gateway: &DevGateway, api: &str, account: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_cron-connector"))
            .env_clear()
            .env("gateway_url", gateway.url())
            .env("admin_port", "0")
            .env("cron_seconds", "true")
            .env("debug", "true")
            .env("lease", "cron")
            .env("lease_duration", "2s")
            .env("kubernetes_api", api)
            .env("kubernetes_account", account)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut log = Vec::new();
        let identity = loop {
            let line = lines.next_line().await.unwrap().expect("it goes on until it says its name");
            let name = line.split_once("identity=").map(|(_, name)| name.split(' ').next());
            log.push(line.clone());
            if let Some(Some(name)) = name {
                break name.trim_matches('"').to_owned();
            }
        };
        let log = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.push(line);
            }
            log
        });
        Self { process, identity, log }
    }

    /// Ends it without a warning, and gives its log.
    async fn kill(mut self) -> Vec<String> {
        self.process.kill().await.expect("it can be killed");
        self.log.await.expect("the log is read")
    }
}

/// How many ticks the lines of a log that begin so speak of.
fn ticks(log: &[String], beginning: &str) -> usize {
    let lines = log.iter().filter(|line| line.contains(beginning));
    lines.map(|line| ticks_of(line).unwrap_or_else(|| panic!("{line}"))).sum()
}

fn ticks_of(line: &str) -> Option<usize> {
    line.split_once("ticks=")?.1.split(' ').next()?.parse().ok()
}

/// What a pod finds of its service account.
fn account() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("account");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("token"), TOKEN).unwrap();
    std::fs::write(folder.join("namespace"), "openfaas").unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_whose_leader_is_killed_twenty_times_call_each_tick_once() {
    let (server, api) = ApiServer::start().await;
    let gateway = DevGateway::start(Config::default()).await.unwrap();
    let each_second = Function::named("report").topic("cron-function");
    gateway.deploy(each_second.annotation("schedule", "* * * * * *"));
    let account = account();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(&gateway, &api, &account).await);
    }

    let (mut logs, mut leader) = (Vec::new(), String::new());
    for kill in 0..=KILLS {
        leader = server.successor(&leader).await;
        let before = gateway.ledger().calls().len();
        let more = |calls: &dev_gateway::Calls| calls.iter().count() > before;
        gateway.ledger().wait_for("a call by the one that leads", more).await;
        if kill < KILLS {
            let index = replicas.iter().position(|replica| replica.identity == leader);
            let killed = replicas.remove(index.expect("one of ours leads"));
            logs.extend(killed.kill().await);
            replicas.push(Replica::start(&gateway, &api, &account).await);
        }
    }
    for replica in replicas {
        logs.extend(replica.kill().await);
    }

    let calls = gateway.ledger().calls();
    let scheduled: Vec<i64> =
        calls.iter().map(|call| second(call.header("x-cron-scheduled"))).collect();
    let called: BTreeSet<i64> = scheduled.iter().copied().collect();
    assert_eq!(called.len(), scheduled.len(), "no tick twice");
    let all = usize::try_from(called.last().unwrap() - called.first().unwrap()).unwrap() + 1;
    let (missed, in_doubt) = (ticks(&logs, "Missed: "), ticks(&logs, "In doubt: "));
    println!(
        "{all} ticks: {} called, {missed} missed, {in_doubt} in doubt, {KILLS} leaders killed",
        called.len()
    );
    assert!(called.len() + missed + in_doubt >= all, "what was not called was counted");
    assert!(called.len() + missed <= all, "nothing that was called was counted as missed");
}

/// The second of a tick.
fn second(scheduled: Option<&str>) -> i64 {
    let instant: jiff::Timestamp =
        scheduled.expect("a call says its tick").parse().expect("an instant");
    instant.as_second()
}
