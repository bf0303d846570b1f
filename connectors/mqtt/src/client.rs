//! One face for the client library's two: it has separate types for MQTT 3.1.1 and 5.
//!
//! A [`Client`] asks, a [`Loop`] tells. Neither reconnects: a connection has its own pair, since
//! packet ids mean nothing beyond it, and an acknowledgement sent late on another connection would
//! take away whatever has its number there.

mod ended;

use std::time::Duration;

use bytes::Bytes;
use connector_core::fail_point::{self, Step};
use connector_core::source::SourceError;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5 as m5;
use rumqttc::{QoS, Transport, mqttbytes::v4 as m4, v5};

use self::ended::{ended_4, ended_5};
use crate::broker_url::Scheme;
use crate::config::{MqttConfig, Protocol, QualityOfService};
use crate::filter::Filter;
use crate::tls;

pub(crate) use rumqttc::v5::mqttbytes::v5::PublishProperties;

/// The largest packet there is. Neither side of a connection could go on after a larger one, and a
/// broker that is told of a lower limit drops what is above it in silence; so the limit is high,
/// and what is too large for us is judged after its receipt.
const LARGEST_PACKET: usize = 256 * 1024 * 1024;

/// How long connecting may take, names and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many publishes of ours wait for their PUBACK at most. Also bounds a table that costs 14 MB
/// when it is as large as the protocol allows.
const OUTGOING: u16 = 64;

/// How many requests wait for the loop: more than there can be acknowledgements, so that nobody
/// who acknowledges waits for the loop, which may be waiting for him.
const REQUESTS: usize = 2 * 65_536;

/// Sends requests to the loop of its connection.
#[derive(Clone)]
pub(crate) enum Client {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// The connection itself. Not cancel-safe: whoever polls it polls it to its end.
pub(crate) enum Loop {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// What the connection tells.
#[derive(Debug)]
pub(crate) enum Packet {
    ConnAck(Accepted),
    Publish(Received),
    /// The answer to the only SUBSCRIBE: the QoS that is granted, or the broker's reason.
    SubAck(Result<u8, String>),
    /// A publish of ours got this packet id. In the order of the requests.
    Sent(u16),
    /// A publish of ours was acknowledged.
    PubAck {
        id: u16,
        result: Result<(), String>,
    },
    /// What nobody here needs to know.
    Other,
}

/// What the broker says to a CONNECT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    /// It still has the session of this client id.
    pub(crate) session_present: bool,
    /// The largest packet it takes, in bytes.
    pub(crate) largest: usize,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    /// The size of its whole packet.
    pub(crate) bytes: usize,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) properties: Option<PublishProperties>,
    /// What acknowledges it; nothing does at QoS 0.
    pub(crate) place: Option<Place>,
}

/// What is needed to acknowledge a message, and no more: the message itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    packet_id: u16,
    qos: QoS,
}

/// How a connection is to begin.
pub(crate) struct Begin<'a> {
    pub(crate) client_id: &'a str,
    /// Forget what the broker has of this client id.
    pub(crate) clean: bool,
}

/// The connection's two ends, not connected yet. Reads secrets and certificates, so it blocks for
/// as long as the file system does.
///
/// # Errors
/// A file cannot be used.
pub(crate) fn create(
    config: &MqttConfig,
    begin: &Begin<'_>,
) -> Result<(Client, Loop), SourceError> {
    let credentials = config
        .credentials()
        .map_err(|error| SourceError::Refused(connector_core::log::Chain(&error).to_string()))?;
    let credentials = credentials
        .as_ref()
        .map(|(user, password)| (user.expose().to_owned(), password.expose().to_owned()));
    let transport = transport(config)?;
    let (address, port) = (config.broker.address(), config.broker.port);
    Ok(match config.protocol {
        Protocol::V4 => {
            let mut options = rumqttc::MqttOptions::new(begin.client_id, address, port);
            options
                .set_transport(transport)
                .set_keep_alive(config.keep_alive)
                .set_clean_session(begin.clean)
                .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET)
                .set_inflight(OUTGOING)
                .set_manual_acks(true);
            if let Some((user, password)) = credentials {
                options.set_credentials(user, password);
            }
            let (client, mut event_loop) = rumqttc::AsyncClient::new(options, REQUESTS);
            event_loop.network_options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
            event_loop.network_options.set_tcp_nodelay(true);
            (Client::V4(client), Loop::V4(Box::new(event_loop)))
        }
        Protocol::V5 => {
            let expiry = if begin.clean { 0 } else { config.session_expiry.as_secs() };
            let mut options = v5::MqttOptions::new(begin.client_id, address, port);
            let mut network = rumqttc::NetworkOptions::new();
            network.set_tcp_nodelay(true);
            options
                .set_transport(transport)
                .set_keep_alive(config.keep_alive)
                .set_clean_start(begin.clean)
                .set_session_expiry_interval(Some(u32::try_from(expiry).unwrap_or(u32::MAX)))
                .set_receive_maximum(Some(config.receive_maximum))
                .set_max_packet_size(u32::try_from(LARGEST_PACKET).ok())
                .set_outgoing_inflight_upper_limit(OUTGOING)
                .set_connection_timeout(CONNECT_TIMEOUT.as_secs())
                .set_network_options(network)
                .set_manual_acks(true);
            if let Some((user, password)) = credentials {
                options.set_credentials(user, password);
            }
            let (client, event_loop) = v5::AsyncClient::new(options, REQUESTS);
            (Client::V5(client), Loop::V5(Box::new(event_loop)))
        }
    })
}

fn transport(config: &MqttConfig) -> Result<Transport, SourceError> {
    let rustls = || {
        tls::client_config(config)
            .map(rumqttc::TlsConfiguration::Rustls)
            .map_err(SourceError::Refused)
    };
    Ok(match config.broker.scheme {
        Scheme::Tcp => Transport::Tcp,
        Scheme::Tls => Transport::Tls(rustls()?),
        Scheme::WebSocket => Transport::Ws,
        Scheme::WebSocketTls => Transport::Wss(rustls()?),
    })
}

/// The connection has ended, so the request is as good as never made.
#[derive(Debug)]
pub(crate) struct Gone;

impl Client {
    /// Subscribes one filter. With MQTT 5 retained messages come only if the session did not have
    /// the subscription before.
    pub(crate) async fn subscribe(
        &self,
        filter: &Filter,
        qos: QualityOfService,
    ) -> Result<(), Gone> {
        match self {
            Self::V4(client) => {
                let qos = match qos {
                    QualityOfService::AtMostOnce => QoS::AtMostOnce,
                    QualityOfService::AtLeastOnce => QoS::AtLeastOnce,
                };
                client.subscribe(filter.text(), qos).await.map_err(|_| Gone)
            }
            Self::V5(client) => {
                let qos = match qos {
                    QualityOfService::AtMostOnce => QoS5::AtMostOnce,
                    QualityOfService::AtLeastOnce => QoS5::AtLeastOnce,
                };
                let mut filter = m5::Filter::new(filter.text(), qos);
                filter.retain_forward_rule = m5::RetainForwardRule::OnNewSubscribe;
                client.subscribe_many([filter]).await.map_err(|_| Gone)
            }
        }
    }

    /// Takes a subscription back. The broker's answer is not told.
    pub(crate) async fn unsubscribe(&self, filter: &Filter) -> Result<(), Gone> {
        match self {
            Self::V4(client) => client.unsubscribe(filter.text()).await.map_err(|_| Gone),
            Self::V5(client) => client.unsubscribe(filter.text()).await.map_err(|_| Gone),
        }
    }

    /// Acknowledges a message.
    pub(crate) async fn acknowledge(&self, place: Place) -> Result<(), Gone> {
        match self {
            Self::V4(client) => {
                let mut publish = m4::Publish::from_bytes("", place.qos, Bytes::new());
                publish.pkid = place.packet_id;
                client.ack(&publish).await.map_err(|_| Gone)
            }
            Self::V5(client) => {
                let qos = match place.qos {
                    QoS::AtMostOnce => QoS5::AtMostOnce,
                    QoS::AtLeastOnce => QoS5::AtLeastOnce,
                    QoS::ExactlyOnce => QoS5::ExactlyOnce,
                };
                let mut publish = m5::Publish::new("", qos, Bytes::new(), None);
                publish.pkid = place.packet_id;
                client.ack(&publish).await.map_err(|_| Gone)
            }
        }
    }

    /// Publishes a message. The properties need MQTT 5 and are left out before it.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        qos: QualityOfService,
        payload: Bytes,
        properties: PublishProperties,
    ) -> Result<(), Gone> {
        match self {
            Self::V4(client) => {
                let qos = match qos {
                    QualityOfService::AtMostOnce => QoS::AtMostOnce,
                    QualityOfService::AtLeastOnce => QoS::AtLeastOnce,
                };
                client.publish_bytes(topic, qos, false, payload).await.map_err(|_| Gone)
            }
            Self::V5(client) => {
                let qos = match qos {
                    QualityOfService::AtMostOnce => QoS5::AtMostOnce,
                    QualityOfService::AtLeastOnce => QoS5::AtLeastOnce,
                };
                let publish =
                    client.publish_with_properties(topic, qos, false, payload, properties);
                publish.await.map_err(|_| Gone)
            }
        }
    }

    /// How large the packet of a publish at QoS 1 is, in bytes. Before MQTT 5 no broker says what
    /// is too large, and there is nothing to leave out: 0.
    pub(crate) fn size(
        &self,
        topic: &str,
        payload: &Bytes,
        properties: &PublishProperties,
    ) -> usize {
        match self {
            Self::V4(_) => 0,
            Self::V5(_) => {
                let (payload, properties) = (payload.clone(), Some(properties.clone()));
                let mut publish = m5::Publish::new(topic, QoS5::AtLeastOnce, payload, properties);
                // Any will do: without one its two bytes are not counted.
                publish.pkid = 1;
                publish.size()
            }
        }
    }

    /// Says goodbye, after every request made before.
    pub(crate) async fn disconnect(&self) -> Result<(), Gone> {
        match self {
            Self::V4(client) => client.disconnect().await.map_err(|_| Gone),
            Self::V5(client) => client.disconnect().await.map_err(|_| Gone),
        }
    }
}

impl Loop {
    /// What happens next. Reads, writes, and keeps the connection alive, so it must run all the
    /// time.
    ///
    /// # Errors
    /// The connection could not be made, or has ended. Polling again would connect again.
    pub(crate) async fn poll(&mut self) -> Result<Packet, SourceError> {
        // The library takes a broker for dead that answers its ping late, whatever else it sends meanwhile. One that sends
        // a large backlog may answer behind all of it, and would begin anew at each connection.
        match self {
            Self::V4(event_loop) => {
                let event = event_loop.poll().await.map_err(ended_4)?;
                event_loop.state.await_pingresp &= !matches!(event, rumqttc::Event::Incoming(_));
                Ok(packet_4(event))
            }
            Self::V5(event_loop) => {
                let event = event_loop.poll().await.map_err(ended_5)?;
                event_loop.state.await_pingresp &= !matches!(event, v5::Event::Incoming(_));
                Ok(packet_5(event))
            }
        }
    }

    /// Says that any packet id may belong to a message of QoS 2 whose handshake was broken off.
    ///
    /// An earlier connector may have left such a session. It begins with a PUBREL, which the
    /// library, knowing nothing of the id, takes for a breach of the protocol: for ever, since the
    /// broker sends it again after each reconnect. To be called after the CONNACK has been taken
    /// and before the next [`poll`](Self::poll).
    pub(crate) fn expect_any_release(&mut self) -> Result<(), SourceError> {
        let broken = |error: String| SourceError::Broken(format!("the session's state: {error}"));
        for id in 1..=u16::MAX {
            match self {
                Self::V4(event_loop) => {
                    let mut publish = m4::Publish::from_bytes("", QoS::ExactlyOnce, Bytes::new());
                    publish.pkid = id;
                    let state = &mut event_loop.state;
                    state
                        .handle_incoming_packet(m4::Packet::Publish(publish))
                        .map_err(|error| broken(error.to_string()))?;
                    state.events.clear();
                }
                Self::V5(event_loop) => {
                    let mut publish = m5::Publish::new("", QoS5::ExactlyOnce, Bytes::new(), None);
                    publish.pkid = id;
                    let state = &mut event_loop.state;
                    state
                        .handle_incoming_packet(m5::Packet::Publish(publish))
                        .map_err(|error| broken(error.to_string()))?;
                    state.events.clear();
                }
            }
        }
        Ok(())
    }
}

fn packet_4(event: rumqttc::Event) -> Packet {
    use rumqttc::Outgoing;
    match event {
        rumqttc::Event::Incoming(m4::Packet::ConnAck(ack)) => Packet::ConnAck(Accepted {
            session_present: ack.session_present,
            largest: LARGEST_PACKET,
        }),
        rumqttc::Event::Incoming(m4::Packet::Publish(publish)) => {
            let place = Place { packet_id: publish.pkid, qos: publish.qos };
            Packet::Publish(Received {
                bytes: publish.size(),
                topic: publish.topic.into(),
                payload: publish.payload,
                qos: publish.qos as u8,
                retain: publish.retain,
                dup: publish.dup,
                properties: None,
                place: (publish.qos != QoS::AtMostOnce).then_some(place),
            })
        }
        rumqttc::Event::Incoming(m4::Packet::SubAck(ack)) => {
            Packet::SubAck(match ack.return_codes.first() {
                Some(m4::SubscribeReasonCode::Success(qos)) => Ok(*qos as u8),
                _ => Err("the broker refuses it".to_owned()),
            })
        }
        rumqttc::Event::Incoming(m4::Packet::PubAck(ack)) => {
            Packet::PubAck { id: ack.pkid, result: Ok(()) }
        }
        rumqttc::Event::Outgoing(Outgoing::Publish(id)) => Packet::Sent(id),
        rumqttc::Event::Outgoing(Outgoing::PubAck(_)) => {
            fail_point::pass(Step::Acknowledged);
            Packet::Other
        }
        _ => Packet::Other,
    }
}

fn packet_5(event: v5::Event) -> Packet {
    use rumqttc::Outgoing;
    match event {
        v5::Event::Incoming(m5::Packet::ConnAck(ack)) => Packet::ConnAck(Accepted {
            session_present: ack.session_present,
            largest: ack
                .properties
                .and_then(|properties| properties.max_packet_size)
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(LARGEST_PACKET),
        }),
        v5::Event::Incoming(m5::Packet::Publish(publish)) => {
            let qos = match publish.qos {
                QoS5::AtMostOnce => QoS::AtMostOnce,
                QoS5::AtLeastOnce => QoS::AtLeastOnce,
                QoS5::ExactlyOnce => QoS::ExactlyOnce,
            };
            let place = Place { packet_id: publish.pkid, qos };
            Packet::Publish(Received {
                bytes: publish.size(),
                topic: publish.topic,
                payload: publish.payload,
                qos: qos as u8,
                retain: publish.retain,
                dup: publish.dup,
                properties: publish.properties,
                place: (qos != QoS::AtMostOnce).then_some(place),
            })
        }
        v5::Event::Incoming(m5::Packet::SubAck(ack)) => {
            let said = ack.properties.and_then(|properties| properties.reason_string);
            Packet::SubAck(match (ack.return_codes.first(), said) {
                (Some(m5::SubscribeReasonCode::Success(qos)), _) => Ok(*qos as u8),
                (Some(code), Some(said)) => Err(format!("the broker refuses it: {code:?}, {said}")),
                (Some(code), None) => Err(format!("the broker refuses it: {code:?}")),
                (None, _) => Err("the broker answers without a code".to_owned()),
            })
        }
        v5::Event::Incoming(m5::Packet::PubAck(ack)) => {
            let result = match ack.reason {
                m5::PubAckReason::Success => Ok(()),
                m5::PubAckReason::NoMatchingSubscribers => {
                    Err("nobody has subscribed it, so it is not kept".to_owned())
                }
                reason => Err(format!("the broker refuses it: {reason:?}")),
            };
            Packet::PubAck { id: ack.pkid, result }
        }
        v5::Event::Outgoing(Outgoing::Publish(id)) => Packet::Sent(id),
        v5::Event::Outgoing(Outgoing::PubAck(_)) => {
            fail_point::pass(Step::Acknowledged);
            Packet::Other
        }
        _ => Packet::Other,
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
