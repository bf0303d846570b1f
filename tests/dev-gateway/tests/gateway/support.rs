//! A client that follows nothing, trusts nobody and uses no proxy.

use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use dev_gateway::{Config, DevGateway};
use reqwest::redirect::Policy;

pub(crate) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("installed once");
    });
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(Policy::none())
        .build()
        .expect("a client without surprises")
}

pub(crate) async fn start() -> DevGateway {
    start_with(Config::default()).await
}

pub(crate) async fn start_with(config: Config) -> DevGateway {
    DevGateway::start(config).await.expect("a gateway on a free port")
}

/// A new directory of this test's own, within cargo's for integration tests.
pub(crate) fn temporary_directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("a directory in the target directory");
    directory
}
