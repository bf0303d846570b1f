use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::live::{Pace, start};
use super::*;
use crate::conditions::{Conditions, State, Subject};
use crate::retry::RetryPolicy;
use crate::topics::{Pattern, Rules};

const ALL: &str = "/system/functions";
const NAMESPACES: &str = "/system/namespaces";

/// A real server that answers as it was told, by path and query, and notes what it was asked.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: HashMap<String, (u16, Bytes)>,
    asked: Vec<(String, Option<String>)>,
    silent: bool,
}

impl Server {
    async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::default();
        server.serve(listener);
        (server, address)
    }

    fn serve(&self, listener: TcpListener) {
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                let answer = service_fn(move |request| server.clone().answer(request));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection);
            }
        });
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let asked = request.uri().path_and_query().unwrap().to_string();
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let (status, body) = {
            let mut script = self.script();
            let unknown = (404, Bytes::from_static(b"404 page not found"));
            let answer = script.answers.get(&asked).cloned().unwrap_or(unknown);
            script.asked.push((asked, authorization));
            answer
        };
        if self.script().silent {
            std::future::pending::<()>().await;
        }
        let response = Response::builder().status(status).header(LOCATION, "/ui/");
        Ok(response.body(Full::new(body)).unwrap())
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, asked: &str, status: u16, body: impl Into<Bytes>) {
        self.script().answers.insert(asked.to_owned(), (status, body.into()));
    }

    /// Makes the plain listing name these functions, each with its `topic`.
    fn functions(&self, functions: &[(&str, &str)]) {
        let functions = functions.iter().map(|(name, topic)| {
            serde_json::json!({"name": name, "annotations": {"topic": topic}, "replicas": 1})
        });
        self.set(ALL, 200, serde_json::Value::from_iter(functions).to_string());
    }

    /// What was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.script().asked);
        asked.into_iter().map(|(asked, _)| asked).collect()
    }
}

fn options(address: SocketAddr) -> GatewayOptions {
    GatewayOptions {
        url: format!("http://{address}"),
        credentials: None,
        namespaces: Vec::new(),
        timeout: Duration::from_secs(10),
        largest: 100_000,
    }
}

fn gateway(options: GatewayOptions) -> Gateway {
    let agent = HeaderValue::from_static("test");
    Gateway::new(client(tls(&options.url).unwrap(), &agent).unwrap(), options)
}

async fn started() -> (Server, Gateway) {
    let (server, address) = Server::start().await;
    (server, gateway(options(address)))
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.functions.iter().map(|function| function.name.as_str()).collect()
}

#[tokio::test]
async fn functions_of_all_namespaces_are_listed_once() {
    let (server, gateway) = started().await;
    server.set(NAMESPACES, 200, r#"["openfaas-fn","dev"," openfaas-fn ",null,""]"#);
    server.set(
        "/system/functions?namespace=openfaas-fn",
        200,
        r#"[{"name":"a","namespace":"openfaas-fn","annotations":{"topic":"x","odd":null},"new":[1]},
            {"name":"b","annotations":null},{"name":"c","replicas":0},{"namespace":"x"},
            {"name":"no/name"}]"#,
    );
    server.set("/system/functions?namespace=dev", 200, "null");
    let listing = gateway.list().await.unwrap();
    assert_eq!(names(&listing), ["a.openfaas-fn", "b.openfaas-fn", "c.openfaas-fn"]);
    let topic = BTreeMap::from([("topic".to_owned(), "x".to_owned())]);
    assert_eq!(*listing.functions[0].annotations, topic);
    assert!(listing.misnamed.contains("no/name.openfaas-fn"));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn without_namespaces_there_is_one_plain_listing() {
    let (server, gateway) = started().await;
    server.functions(&[("a", "x")]);
    for (status, body) in [(404, "not found"), (501, ""), (200, "[]"), (200, "null"), (200, " ")] {
        server.set(NAMESPACES, status, body);
        let listing = gateway.list().await.unwrap();
        assert_eq!(names(&listing), ["a"], "{status} {body}");
        assert_eq!(server.asked(), [NAMESPACES, ALL]);
    }
}

#[tokio::test]
async fn one_bad_namespace_is_survived() {
    let (server, gateway) = started().await;
    server.set(NAMESPACES, 200, r#"["bad","good"]"#);
    server.set("/system/functions?namespace=bad", 400, "namespace not valid");
    server.set("/system/functions?namespace=good", 200, r#"[{"name":"a"}]"#);
    let listing = gateway.list().await.unwrap();
    assert_eq!(names(&listing), ["a.good"]);
    assert!(
        listing.unlisted["bad"]
            .ends_with("400 Bad Request (to /ui/) to /system/functions: namespace not valid")
    );

    // Credentials are not one namespace's own: what is listed with wrong ones proves nothing.
    server.set("/system/functions?namespace=bad", 401, "invalid credentials");
    assert!(matches!(gateway.list().await, Err(ListError::Refused(_))));
    server.set("/system/functions?namespace=bad", 400, "namespace not valid");

    server.set("/system/functions?namespace=good", 502, "");
    assert!(matches!(gateway.list().await, Err(ListError::Answer(_))), "none is left");
}

#[tokio::test]
async fn named_namespaces_restrict_the_listing() {
    let (server, address) = Server::start().await;
    let namespaces = vec!["dev".to_owned(), "dev".to_owned()];
    let gateway = gateway(GatewayOptions { namespaces, ..options(address) });
    let body = r#"[{"name":"a"},{"name":"b","namespace":"prod"},{"name":"c","namespace":"dev"}]"#;
    server.set("/system/functions?namespace=dev", 200, body);
    assert_eq!(names(&gateway.list().await.unwrap()), ["a.dev", "c.dev"]);
    assert_eq!(server.asked(), ["/system/functions?namespace=dev"]);
}

#[tokio::test]
async fn a_gateway_below_a_path_is_listed_there() {
    let (server, address) = Server::start().await;
    let url = format!("http://{address}/faas");
    let gateway = gateway(GatewayOptions { url, ..options(address) });
    server.set("/faas/system/functions", 200, r#"[{"name":"a"}]"#);
    assert_eq!(names(&gateway.list().await.unwrap()), ["a"]);
}

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("gateway-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    fn credential(&self, name: &str) -> Credential {
        Credential::File(SecretFile::new(name, self.0.join(name)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[tokio::test]
async fn credentials_are_read_at_each_listing() {
    let (server, address) = Server::start().await;
    server.functions(&[]);
    let folder = Folder::new();
    let credentials = Credentials {
        user: folder.credential(USER_FILE),
        password: folder.credential(PASSWORD_FILE),
    };
    let gateway = gateway(GatewayOptions { credentials: Some(credentials), ..options(address) });

    folder.put(USER_FILE, "\n admin \n");
    let Err(ListError::Refused(why)) = gateway.list().await else { panic!("a file is missing") };
    assert!(why.contains(PASSWORD_FILE) && why.contains("No such file"), "{why}");

    for (password, header) in [("old\n", "Basic YWRtaW46b2xk"), ("new", "Basic YWRtaW46bmV3")] {
        folder.put(PASSWORD_FILE, password);
        gateway.list().await.unwrap();
        let asked = std::mem::take(&mut server.script().asked);
        assert!(asked.iter().all(|(_, it)| it.as_deref() == Some(header)), "{asked:?}");
    }

    server.set(NAMESPACES, 401, "invalid credentials");
    let Err(ListError::Refused(why)) = gateway.list().await else { panic!("they are refused") };
    assert!(why.contains("refuses") && why.contains(folder.0.to_str().unwrap()), "{why}");
    assert!(!why.contains("new"), "{why}");
}

#[tokio::test]
async fn a_gateway_that_wants_credentials_names_the_setting() {
    let (server, gateway) = started().await;
    server.set(NAMESPACES, 401, "invalid credentials");
    let Err(ListError::Refused(why)) = gateway.list().await else { panic!("there are none") };
    assert!(why.contains("basic_auth") && why.contains("secret_mount_path"), "{why}");
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_described() {
    let (server, gateway) = started().await;
    let long = format!("first\r\nsecond {}", "é".repeat(5_000));
    for (status, body, wanted) in [
        (200, "<!DOCTYPE html>", "a web page: gateway_url does not lead to an OpenFaaS gateway"),
        (404, " <html>", "404 Not Found to /system/functions with a web page"),
        (200, "[{", "no list of functions"),
        (200, "[{\"name\":1}]", "no list of functions"),
        (200, "", "no list of functions"),
        (307, "moved", "answered 307 Temporary Redirect (to /ui/)"),
        (502, "", ": (nothing)"),
        (500, &*long, ": first second éé"),
        (200, &*"[".repeat(200_000), "far too much"),
    ] {
        server.set(ALL, status, body.to_owned());
        let Err(ListError::Answer(why)) = gateway.list().await else { panic!("{status} {body}") };
        assert!(why.contains(wanted), "{why}");
        assert!(why.chars().count() < 400, "{why}");
        assert!(!why.contains(['\r', '\n']), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_is_described() {
    let (server, gateway) = started().await;
    server.script().silent = true;
    let Err(ListError::Unreachable(why)) = gateway.list().await else { panic!("it is silent") };
    assert!(why.ends_with("did not answer /system/namespaces within 10s"), "{why}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let gone = super::tests::gateway(options(address));
    let Err(ListError::Unreachable(why)) = gone.list().await else { panic!("it is gone") };
    assert!(why.contains("cannot be reached: Connection refused"), "{why}");
}

fn rules() -> Rules {
    Rules {
        kind: "kafka",
        delimiter: ",".into(),
        pattern: Arc::new(|item| Ok(Pattern::Exact(item.into()))),
        letter_scheme: None,
        retry: RetryPolicy::never(),
    }
}

const PACE: Pace = Pace {
    interval: Duration::from_secs(5),
    unmap_after: Duration::from_secs(60),
    print_sync: true,
};

struct Polled {
    server: Server,
    live: LiveMap,
    conditions: Conditions,
}

impl Polled {
    fn start(server: Server, address: SocketAddr) -> Self {
        let conditions = Conditions::new();
        let gateway = gateway(options(address));
        let (live, polling) = start(gateway, rules(), PACE, conditions.clone());
        tokio::spawn(polling);
        Self { server, live, conditions }
    }

    /// Waits for one more successful listing.
    async fn listed(&self) {
        let mut progress = self.live.progress();
        let before = progress.borrow().listings;
        progress.wait_for(|it| it.listings > before).await.unwrap();
    }

    fn state(&self) -> Option<State> {
        self.conditions.state(&Subject::new("gateway"))
    }

    async fn until(&self, wanted: impl Fn(Option<State>) -> bool) {
        let mut changes = tokio::time::interval(Duration::from_millis(10));
        while !wanted(self.state()) {
            changes.tick().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_listing_is_tried_again_and_again_until_it_comes() {
    let (server, address) = Server::start().await;
    server.set(NAMESPACES, 500, "starting");
    let polled = Polled::start(server, address);
    assert_eq!(polled.state(), Some(State::Expected));
    polled.until(|state| matches!(state, Some(State::Unwell { blocks_ready: true, .. }))).await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // 0.2 + 0.4 + 0.8 + 1.6 + 3.2 s, then every 5 s.
    let asked = polled.server.asked().len();
    assert!((14..=17).contains(&asked), "{asked} in {:?}", start.elapsed());
    assert_eq!(polled.live.age(), None);
    assert!(!polled.live.settled());

    polled.server.set(NAMESPACES, 404, "");
    polled.server.functions(&[("a", "x")]);
    polled.live.loaded().await;
    assert!(polled.live.current().is_mapped("x"));
    polled.until(|state| state == Some(State::Well)).await;
}

#[tokio::test(start_paused = true)]
async fn a_map_is_published_only_when_the_catalog_changes() {
    let (server, address) = Server::start().await;
    server.functions(&[("a", "x")]);
    let polled = Polled::start(server, address);
    polled.live.loaded().await;
    let mut topics = polled.live.topics();
    topics.mark_unchanged();
    for _ in 0..5 {
        polled.listed().await;
    }
    assert!(!topics.has_changed().unwrap());

    polled.server.functions(&[("a", "x,y"), ("b", "x")]);
    polled.listed().await;
    assert!(topics.has_changed().unwrap());
    assert_eq!(polled.live.current().functions("x").len(), 2);
    assert!(polled.live.current().is_mapped("y"));
}

#[tokio::test(start_paused = true)]
async fn a_failing_gateway_leaves_the_map_and_shows_its_age() {
    let (server, address) = Server::start().await;
    server.functions(&[("a", "x")]);
    let polled = Polled::start(server, address);
    polled.live.loaded().await;
    polled.server.set(ALL, 502, "");
    polled.until(|state| matches!(state, Some(State::Unwell { blocks_ready: false, .. }))).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(polled.live.current().is_mapped("x"));
    assert!(polled.live.age().unwrap() >= Duration::from_secs(600));

    polled.server.functions(&[("b", "y")]);
    polled.listed().await;
    assert!(polled.live.age().unwrap() < Duration::from_secs(5));
    assert!(polled.live.current().is_mapped("x"), "one listing without it proves nothing");
    assert!(polled.live.current().is_mapped("y"));
    polled.until(|state| state == Some(State::Well)).await;
}

#[tokio::test(start_paused = true)]
async fn a_function_that_stays_away_is_unmapped() {
    let (server, address) = Server::start().await;
    server.functions(&[("a", "x")]);
    let polled = Polled::start(server, address);
    polled.live.loaded().await;
    polled.server.functions(&[]);
    let start = Instant::now();
    let mut topics = polled.live.topics();
    topics.wait_for(|map| !map.is_mapped("x")).await.unwrap();
    assert!(start.elapsed() >= PACE.unmap_after);
    assert!(start.elapsed() <= PACE.unmap_after + 3 * PACE.interval);
}

#[tokio::test(start_paused = true)]
async fn a_listing_can_be_asked_for_but_not_too_often() {
    let (server, address) = Server::start().await;
    server.functions(&[("a", "x")]);
    let polled = Polled::start(server, address);
    polled.live.loaded().await;
    let start = Instant::now();
    polled.live.refresh();
    polled.listed().await;
    assert!(start.elapsed() < PACE.interval);

    polled.server.asked();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        polled.live.refresh();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let listings = polled.server.asked().len() / 2;
    assert!((8..=11).contains(&listings), "{listings}");
}

#[tokio::test(start_paused = true)]
async fn the_map_settles_when_functions_have_had_time_to_come_back() {
    let (server, address) = Server::start().await;
    server.functions(&[]);
    let polled = Polled::start(server, address);
    let start = Instant::now();
    polled.live.until_settled().await;
    assert!(polled.live.settled());
    assert!(start.elapsed() >= PACE.unmap_after);
}
