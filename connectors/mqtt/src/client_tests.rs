use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use connector_core::settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::ended::silent;
use super::*;
use crate::Mqtt;

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// QoS 0, the topic `t`, nothing in it.
const PUBLISH: [u8; 5] = [0x30, 3, 0, 1, b't'];
const PINGREQ: [u8; 2] = [0xc0, 0];

/// A broker that answers no ping.
#[derive(Default)]
struct Broker {
    pings: AtomicUsize,
    silent: AtomicBool,
}

impl Broker {
    async fn serve(self: Arc<Self>, mut connection: TcpStream) {
        let mut packet = [0; 256];
        let connected = connection.read(&mut packet).await.unwrap();
        assert_eq!((connected > 0, packet[0]), (true, 0x10));
        connection.write_all(&CONNACK).await.unwrap();
        let (mut read, mut write) = connection.into_split();
        let receives = async {
            // They come one by one: nothing else is sent.
            while read.read(&mut packet).await.is_ok_and(|size| packet[..size] == PINGREQ) {
                self.pings.fetch_add(1, Ordering::Relaxed);
            }
        };
        let sends = async {
            while !self.silent.load(Ordering::Relaxed) {
                if write.write_all(&PUBLISH).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // The connection stays as it is.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = receives => {}
            () = sends => {}
        }
    }
}

#[tokio::test]
async fn a_broker_that_sends_is_alive_and_a_silent_one_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let loaded = settings::load::<Mqtt>([], [("broker".to_owned(), url)]).unwrap();
    let mut config = loaded.source;
    // The least there is in 3.1.1, less than can be set.
    config.keep_alive = Duration::from_secs(1);
    let (_client, mut connection) =
        create(&config, &Begin { client_id: "c", clean: true }).unwrap();
    let broker = Arc::<Broker>::default();
    let serving = Arc::clone(&broker);
    tokio::spawn(async move { serving.serve(listener.accept().await.unwrap().0).await });

    while broker.pings.load(Ordering::Relaxed) < 3 {
        connection.poll().await.unwrap();
    }
    broker.silent.store(true, Ordering::Relaxed);
    let ended = loop {
        if let Err(error) = connection.poll().await {
            break error;
        }
    };
    assert_eq!(ended.to_string(), silent().to_string());
}
