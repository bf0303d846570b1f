//! What every test stands on: brokers, queues, and connectors as processes.

mod broker;
mod connector;
mod moto;
mod queue;
mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dev_gateway::{Config, DevGateway, Function};

pub(crate) use broker::{PrivateBroker, broker};
pub(crate) use connector::{Connector, Setup};
pub(crate) use moto::Moto;
pub(crate) use queue::{Queue, client, text};
pub(crate) use server::serve;

/// How long anything may take to come about before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A standard queue, and a gateway whose function `f` is for it.
pub(crate) async fn standard(stem: &str) -> (Queue, DevGateway) {
    let queue = Queue::standard(stem).await;
    let gateway = gateway("f", &queue.name).await;
    (queue, gateway)
}

/// A FIFO queue, and a gateway whose function `f` is for it.
pub(crate) async fn fifo(stem: &str) -> (Queue, DevGateway) {
    let queue = Queue::fifo(stem).await;
    let gateway = gateway("f", &queue.name).await;
    (queue, gateway)
}

/// A gateway with one function for one topic.
pub(crate) async fn gateway(function: &str, topic: &str) -> DevGateway {
    let config = Config { remember_bodies: 2 << 20, ..Config::default() };
    let gateway = DevGateway::start(config).await.unwrap();
    gateway.deploy(Function::named(function).topic(topic));
    gateway
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A name that no other test and no earlier run has used.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{stem}-{}-{}-{n}", std::process::id(), now.as_millis() % 1_000_000_000)
}

/// A folder for the files of one test. It goes with everything else that is built.
pub(crate) fn folder(stem: &str) -> PathBuf {
    let folder = repository().join("var/sqs-tests").join(unique(stem));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A client for plain HTTP.
pub(crate) fn http() -> reqwest::Client {
    // Another test of this process may have installed it.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}
