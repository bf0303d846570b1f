//! Brokers that refuse a filter and change their mind, or refuse a session: played by hand, since none does so when it is
//! told to.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dev_gateway::{Fault, Function, Gate};

use crate::losses::{send, try_receive};
use crate::support::{Setup, gateway, wait_until};

/// How a broker does not grant a SUBSCRIBE.
#[derive(Clone, Copy)]
enum Reluctance {
    Refuses,
    IsSilent,
}

/// A broker of 3.1.1 that does not grant so many SUBSCRIBEs, and grants those that follow. Gives its address.
fn reluctant(reluctance: Reluctance, refusals: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicUsize::new(refusals));
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, left) = (connection.unwrap(), Arc::clone(&left));
            thread::spawn(move || answer(connection, reluctance, &left));
        }
    });
    format!("tcp://{address}")
}

fn answer(mut connection: TcpStream, reluctance: Reluctance, refusals: &AtomicUsize) {
    while let Ok((kind, body)) = try_receive(&mut connection) {
        match kind {
            0x10 => send(&mut connection, 0x20, &[0, 0]),
            0x82 => {
                let fewer = |left: usize| left.checked_sub(1);
                let refuses =
                    refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok();
                let code = match (refuses, reluctance) {
                    (true, Reluctance::IsSilent) => continue,
                    (true, Reluctance::Refuses) => 0x80,
                    (false, _) => 1,
                };
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
    let setup = Setup::new(&reluctant(Reluctance::Refuses, 2), &gateway)
        .with("topic", "held/#")
        .with("protocol_version", "4");
    let connector = setup.start();
    connector.wait_unready("the broker refuses it").await;
    connector.wait_ready().await;
    connector.wait_for_metric("tributary_mqtt_refused_filters", 0).await;
    assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscribe_that_is_not_answered_is_made_again() {
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("t"));
    let silent = reluctant(Reluctance::IsSilent, 1);
    let setup = Setup::new(&silent, &gateway).with("topic", "t").with("protocol_version", "4");
    let connector = setup.start();
    connector.wait_unready("the broker does not answer").await;
    connector.wait_ready().await;
    assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
}

/// A broker of 3.1.1 that takes no client ids with a dot, or no others, and has one message until that is acknowledged.
/// Gives its address, and how many PUBACKs it has read.
fn choosy(takes_dots: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&acknowledged);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, count) = (connection.unwrap(), Arc::clone(&count));
            thread::spawn(move || serve_some(connection, takes_dots, &count));
        }
    });
    (format!("tcp://{address}"), acknowledged)
}

fn serve_some(mut connection: TcpStream, takes_dots: bool, acknowledged: &AtomicUsize) {
    while let Ok((kind, body)) = try_receive(&mut connection) {
        match kind {
            // The id is all that follows the twelve bytes before it: there are no credentials.
            0x10 if body[12..].contains(&b'.') != takes_dots => {
                return send(&mut connection, 0x20, &[0, 5]);
            }
            0x10 => send(&mut connection, 0x20, &[0, 0]),
            0x82 => {
                send(&mut connection, 0x90, &[body[0], body[1], 1]);
                if acknowledged.load(Ordering::SeqCst) == 0 {
                    send(&mut connection, 0x32, b"\0\x01a\0\x01one");
                }
            }
            0x40 => drop(acknowledged.fetch_add(1, Ordering::SeqCst)),
            0xc0 => send(&mut connection, 0xd0, &[]),
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_refused_disturbs_no_other() {
    // The first filter has the plain id, the others have a dot in theirs.
    for (topics, takes_dots) in [("a,b", false), ("b,a", true)] {
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("a"));
        gateway.deploy(Function::named("g").topic("b"));
        let gate = Gate::closed();
        gateway.fault("f", Fault::gate(&gate));
        let (address, acknowledged) = choosy(takes_dots);
        let setup =
            Setup::new(&address, &gateway).with("topics", topics).with("protocol_version", "4");
        let connector = setup.start();
        gate.wait_for_waiting(1).await;
        connector.wait_unready("the broker refuses the connection").await;
        connector.wait_for_metric("tributary_mqtt_refused_filters", 1).await;
        gate.open();
        let is_acknowledged = || acknowledged.load(Ordering::SeqCst) == 1;
        wait_until("the PUBACK", is_acknowledged, || connector.log()).await;
        assert_eq!(gateway.ledger().calls().len(), 1, "called once");
        assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
    }
}
