//! An MQTT broker and the sensors that publish to it, in one process: what `make demo` plays in place of a household.
//!
//! It prints its address, and waits for a line on standard input; then the sensors begin. When standard input ends they
//! stop, and it prints how many readings were published. The broker serves on until the process is ended, so that all of
//! them can still be delivered and acknowledged.
//!
//! Not for anything else: it lets everybody in and keeps nothing on disk.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rumqttd::local::{LinkError, LinkTx};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// A room, its mean temperature in °C, and by how much it varies.
const ROOMS: [(&str, f64, f64); 3] =
    [("kitchen", 21.0, 2.0), ("cellar", 12.0, 0.5), ("greenhouse", 27.0, 5.0)];

/// From one reading to the next, of any room.
const INTERVAL: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = free_address()?;
    let mut broker = Broker::new(config(address));
    // Nothing is ever sent to the sensors, but a link without its receiving half counts as broken.
    let (sensors, _receiving) = broker.link("sensors")?;
    thread::spawn(move || broker.start());
    while TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    println!("listening on tcp://{address}");

    let mut input = io::stdin().lock();
    if input.read_line(&mut String::new())? > 0 {
        let (stop, stopped) = mpsc::channel();
        let published = thread::spawn(move || publish(sensors, &stopped));
        io::copy(&mut input, &mut io::sink())?;
        drop(stop);
        let published = published.join().map_err(|_| "the sensors' thread failed")??;
        println!("published {published}");
    }
    loop {
        thread::park();
    }
}

/// The broker chooses no port by itself, so one that was free a moment ago is given to it.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 1 << 16,
        max_inflight_count: 64,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "v4".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    Config {
        router: RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 64,
            max_segment_size: 1 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("v4".to_owned(), server)])),
        ..Config::default()
    }
}

/// Publishes readings, room by room, until `stopped`. How many.
fn publish(mut sensors: LinkTx, stopped: &Receiver<()>) -> Result<usize, LinkError> {
    let mut published = 0;
    for (step, (room, mean, swing)) in (0_u32..).zip(ROOMS.iter().cycle()) {
        let celsius = mean + swing * (f64::from(step) / 10.0).sin();
        sensors.publish(format!("sensors/{room}/temperature"), format!("{celsius:.1}"))?;
        published += 1;
        if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    Ok(published)
}
