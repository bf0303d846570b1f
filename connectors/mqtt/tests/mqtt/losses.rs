//! What QoS 0 loses, and what an earlier session of QoS 2 may leave behind.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use dev_gateway::{Fault, Function, Gate};

use crate::support::{Broker, Setup, gateway};

#[tokio::test(flavor = "multi_thread")]
async fn qos_0_beyond_the_window_is_dropped_and_counted() {
    for version in ["4", "5"] {
        let broker = Broker::mosquitto(&[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("t/+"));
        let gate = Gate::closed();
        gateway.fault("f", Fault::gate(&gate));
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t/#")
            .with("qos", "0")
            .with("protocol_version", version)
            .with("lane_window", "5");
        let connector = setup.ready().await;
        for number in 0..5 {
            broker.publish(&format!("t/{number}"), &number.to_string(), &[]);
        }
        gate.wait_for_waiting(5).await;
        for number in 5..20 {
            broker.publish(&format!("t/{number}"), &number.to_string(), &[]);
        }
        connector.wait_for_metric("tributary_mqtt_lost_total{reason=\"full\"}", 15).await;
        gate.open();
        gateway.ledger().wait_for("five", |calls| calls.well().count() == 5).await;
        connector.wait_for_metric("tributary_events_in_flight", 0).await;
        assert_eq!(gateway.ledger().calls().len(), 5);
        assert!(connector.log().contains("messages of QoS 0 are dropped"));
        connector.check_books();
        assert_eq!(connector.stop().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_counts_what_of_qos_0_was_not_called() {
    let broker = Broker::mosquitto(&[]);
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("t"));
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let setup = Setup::new(&broker.url(), &gateway).with("topic", "t").with("qos", "0");
    let connector = setup.ready().await;
    broker.publish("t", "0", &[]);
    gate.wait_for_waiting(1).await;
    broker.publish("t", "1", &[]);
    connector.wait_for_metric("tributary_events_in_flight", 2).await;
    connector.terminate();
    connector.wait_for_metric("tributary_mqtt_lost_total{reason=\"released\"}", 1).await;
    gate.open();
    assert_eq!(connector.ended().await, 0);
    assert_eq!(gateway.ledger().calls().len(), 1);
}

/// A client of 3.1.1 by hand, that takes a message of QoS 2 as far as PUBREC and then vanishes.
fn leave_a_broken_handshake(broker: &Broker, id: &str) {
    let mut connection = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    let mut connect = b"\0\x04MQTT\x04\0\0\x3c".to_vec();
    connect.extend([0, u8::try_from(id.len()).unwrap()]);
    connect.extend(id.bytes());
    send(&mut connection, 0x10, &connect);
    assert_eq!(receive(&mut connection).0, 0x20);
    send(&mut connection, 0x82, b"\0\x01\0\x01t\x02");
    assert_eq!(receive(&mut connection).0, 0x90);
    broker.publish("t", "twice", &["-q", "2"]);
    let (kind, body) = receive(&mut connection);
    assert_eq!(kind & 0xf6, 0x34, "a PUBLISH of QoS 2");
    let packet_id = [body[3], body[4]];
    send(&mut connection, 0x50, &packet_id);
    assert_eq!(receive(&mut connection), (0x62, packet_id.to_vec()), "PUBREL");
}

pub(crate) fn send(connection: &mut TcpStream, kind: u8, body: &[u8]) {
    connection.write_all(&[kind, u8::try_from(body.len()).unwrap()]).unwrap();
    connection.write_all(body).unwrap();
}

fn receive(connection: &mut TcpStream) -> (u8, Vec<u8>) {
    try_receive(connection).unwrap()
}

/// One packet: its kind with its flags, and what follows its length.
pub(crate) fn try_receive(connection: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    connection.read_exact(&mut head)?;
    let mut body = vec![0; head[1].into()];
    connection.read_exact(&mut body)?;
    Ok((head[0], body))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_handshake_of_qos_2_is_ended_and_not_tripped_over() {
    for version in ["4", "5"] {
        let broker = Broker::mosquitto(&[]);
        let gateway = gateway().await;
        gateway.deploy(Function::named("f").topic("t"));
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("qos", "2")
            .with("protocol_version", version);
        leave_a_broken_handshake(&broker, &setup.id);
        let connector = setup.ready().await;
        let completed = format!("Received PUBCOMP from {}", setup.id);
        broker.wait_for_log("PUBCOMP", |log| log.contains(&completed)).await;
        broker.publish("t", "once", &["-q", "2"]);
        gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
        assert_eq!(gateway.ledger().calls()[0].header("x-mqtt-qos"), Some("1"));
        assert_eq!(connector.metric("tributary_source_restarts_total"), 0);
        assert_eq!(connector.log().matches("2 is subscribed as 1").count(), 1);
    }
}
