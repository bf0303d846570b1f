//! The container images, run as they are meant to be run: a read-only root, no capabilities, nobody's uid, little memory, in a
//! network of their own, on real brokers behind TLS whose names stand in the hosts file alone.
//!
//! Each connector gets its first event, idles with a hundred functions, is asked to stop under load, is killed under load,
//! and must have lost nothing; what was measured is printed. Nothing about time or size is asserted: the numbers are for
//! `docs/performance.md`. `make image-check` builds the images first and runs this; it needs Docker.

#![allow(clippy::print_stdout, reason = "it measures, and prints what it has measured")]

mod broker;
mod container;
mod door;
mod life;
mod sources;
mod trust;

use dev_gateway::Credentials;

/// The article's service has this in its settings and the files it mounts.
const CREDENTIALS: (&str, &str) = ("admin", "a-password");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker and the images: make image-check"]
async fn cron() {
    sources::cron().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker and the images: make image-check"]
async fn kafka_with_the_service_of_the_article() {
    sources::kafka("kafka-connector").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker and the images: make image-check"]
async fn kafka_with_what_amazon_msk_needs() {
    sources::kafka("kafka-connector-msk").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker and the images: make image-check"]
async fn mqtt() {
    sources::mqtt().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker and the images: make image-check"]
async fn nats() {
    sources::nats().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker and the images: make image-check"]
async fn sqs() {
    sources::sqs().await;
}

/// What the clients and servers of this process encrypt with.
fn choose_cryptography() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn credentials() -> Credentials {
    Credentials::new(CREDENTIALS.0, CREDENTIALS.1)
}
