//! A server, a gateway and connectors for one test, and ways to wait for states.

mod cluster;
mod connector;
mod judged;
mod server;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dev_gateway::{Config, DevGateway, Function};
use tokio::time::{Instant, sleep};

pub(crate) use cluster::{CONSUMER, Cluster, Led, STREAM};
pub(crate) use connector::Connector;
pub(crate) use judged::{begin, judge, store, until_running};
pub(crate) use server::{Server, consumers, pull_consumer, until_empty, work_queue};

/// How long a test waits for a state before it gives up. Long: it only bounds a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Looks again and again until `look` gives something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// [`until`] with a patience of its own.
pub(crate) async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Looks again and again until what it sees is `wanted`.
pub(crate) async fn until_is<T: PartialEq + Debug>(
    what: &str,
    wanted: T,
    mut look: impl AsyncFnMut() -> T,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{what} should be {wanted:?} and is {seen:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A new directory of this test's own.
pub(crate) fn directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(std::fs::remove_dir_all(&directory));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Writes a file, and gives its path.
pub(crate) fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A gateway of the test's own.
pub(crate) async fn gateway(functions: impl IntoIterator<Item = Function>) -> DevGateway {
    let gateway = DevGateway::start(Config::default()).await.unwrap();
    for function in functions {
        gateway.deploy(function);
    }
    gateway
}
