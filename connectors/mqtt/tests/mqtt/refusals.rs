//! A broker that changes its mind about a filter: played by hand, since none does so when it is told to.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::losses::{send, try_receive};
use crate::support::{Setup, gateway};

/// A broker of 3.1.1 that refuses so many SUBSCRIBEs, and grants those that follow. Gives its address.
fn reluctant(refusals: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicUsize::new(refusals));
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, left) = (connection.unwrap(), Arc::clone(&left));
            thread::spawn(move || answer(connection, &left));
        }
    });
    format!("tcp://{address}")
}

fn answer(mut connection: TcpStream, refusals: &AtomicUsize) {
    while let Ok((kind, body)) = try_receive(&mut connection) {
        match kind {
            0x10 => send(&mut connection, 0x20, &[0, 0]),
            0x82 => {
                let fewer = |left: usize| left.checked_sub(1);
                let refuses =
                    refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok();
                let code = if refuses { 0x80 } else { 1 };
                send(&mut connection, 0x90, &[body[0], body[1], code]);
            }
            0xc0 => send(&mut connection, 0xd0, &[]),
            // DISCONNECT, before which there is nothing else that a connector without events sends.
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_nobody_is_mapped_to_is_asked_for_until_the_broker_takes_it() {
    let gateway = gateway().await;
    let setup =
        Setup::new(&reluctant(2), &gateway).with("topic", "held/#").with("protocol_version", "4");
    let connector = setup.start();
    connector.wait_unready("the broker refuses it").await;
    connector.wait_ready().await;
    connector.wait_for_metric("tributary_mqtt_refused_filters", 0).await;
    assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
}
