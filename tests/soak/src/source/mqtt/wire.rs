//! As much of MQTT 5 as it takes to publish at QoS 1, and to take what a session is sent.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Where these clients come from, to be told from whoever else is connected.
const FEED: &str = "127.0.0.2:0";
/// The same in the kernel's table of connections.
pub(super) const FEED_IN_TABLE: &str = "0200007F:";

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 0xd0;
/// The flags of a PUBLISH at QoS 1.
const AT_LEAST_ONCE: u8 = 0x02;

/// A property of a connection: for how many seconds its session outlives it.
const SESSION_EXPIRY: u8 = 0x11;
/// A week.
const SESSION_SECONDS: u32 = 7 * 24 * 3_600;
/// The property of a message that anybody may make up.
const USER_PROPERTY: u8 = 0x26;
/// From here on reasons are errors.
const FAILURE: u8 = 0x80;

/// A message on its way.
pub(super) struct Published {
    /// By which it is acknowledged on this connection.
    pub(super) id: u16,
    pub(super) payload: Vec<u8>,
    pub(super) properties: Vec<(String, String)>,
}

/// What a broker says.
pub(super) enum Packet {
    Publish(Published),
    /// The message of this id is taken.
    PubAck(u16),
    PingResp,
    Else,
}

/// A connection with a session.
pub(super) struct Link {
    stream: TcpStream,
    /// What is still to be sent.
    unsent: Vec<u8>,
}

impl Link {
    /// Begins a session, which outlives its connection, or takes it up.
    pub(super) async fn begin(address: &str, session: &str) -> io::Result<Self> {
        Self::connect(address, session, false).await
    }

    /// Takes up a session that is there.
    pub(super) async fn resume(address: &str, session: &str) -> io::Result<Self> {
        Self::connect(address, session, true).await
    }

    /// Never with a clean start: Mosquitto 2.0.11 does not save a session that had one.
    async fn connect(address: &str, session: &str, there: bool) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(FEED.parse().map_err(io::Error::other)?)?;
        let stream = socket.connect(address.parse().map_err(io::Error::other)?).await?;
        let mut link = Self { stream, unsent: Vec::new() };
        let mut body = text("MQTT");
        // Version 5, and no keep alive.
        body.extend([5, 0, 0, 0]);
        body.extend(counted(&[&[SESSION_EXPIRY][..], &SESSION_SECONDS.to_be_bytes()].concat()));
        body.extend(text(session));
        link.push(CONNECT, &body);
        link.flush().await?;
        let (_, answer) = link.frame().await?;
        match answer.as_slice() {
            [present, 0, ..] if !there || *present == 1 => Ok(link),
            _ => Err(io::Error::other("the broker refuses the connection, or has no such session")),
        }
    }

    /// Has the session keep what comes to a filter.
    pub(super) async fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        // Its id, no properties, and QoS 1.
        self.push(SUBSCRIBE, &[&[0, 1, 0][..], &text(filter), &[1]].concat());
        self.flush().await?;
        match self.frame().await?.1.last() {
            Some(reason) if *reason < FAILURE => Ok(()),
            _ => Err(io::Error::other("the broker refuses the subscription")),
        }
    }

    /// Adds a message to what is to be sent.
    pub(super) fn publish(&mut self, topic: &str, message: &Published) {
        let mut properties = Vec::new();
        for (name, value) in &message.properties {
            properties.push(USER_PROPERTY);
            properties.extend([text(name), text(value)].concat());
        }
        let body = [text(topic), message.id.to_be_bytes().into(), counted(&properties)].concat();
        self.push(PUBLISH | AT_LEAST_ONCE, &[&body, &message.payload[..]].concat());
    }

    pub(super) async fn acknowledge(&mut self, id: u16) -> io::Result<()> {
        self.push(PUBACK, &id.to_be_bytes());
        self.flush().await
    }

    /// What the session is sent as long as nothing of it is acknowledged.
    pub(super) async fn sent(&mut self) -> io::Result<Vec<Published>> {
        self.push(PINGREQ, &[]);
        self.flush().await?;
        let mut sent = Vec::new();
        loop {
            match self.receive().await? {
                Packet::Publish(message) => sent.push(message),
                Packet::PingResp => return Ok(sent),
                Packet::PubAck(_) | Packet::Else => {}
            }
        }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&std::mem::take(&mut self.unsent)).await
    }

    /// The next packet. An error: there is none, or the broker does not take a message.
    pub(super) async fn receive(&mut self) -> io::Result<Packet> {
        let (kind, body) = self.frame().await?;
        let broken = || io::Error::other("the broker says what is no MQTT, or refuses a message");
        match kind & 0xf0 {
            PUBLISH => published(&body).map(Packet::Publish).ok_or_else(broken),
            PUBACK => puback(&body).map(Packet::PubAck).ok_or_else(broken),
            PINGRESP => Ok(Packet::PingResp),
            _ => Ok(Packet::Else),
        }
    }

    fn push(&mut self, kind: u8, body: &[u8]) {
        self.unsent.push(kind);
        self.unsent.extend(counted(body));
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((kind, body))
    }
}

/// The id that is acknowledged. A reason is left out where it is none.
fn puback(body: &[u8]) -> Option<u16> {
    let (id, rest) = body.split_first_chunk()?;
    rest.first().is_none_or(|reason| *reason < FAILURE).then(|| u16::from_be_bytes(*id))
}

/// A message at QoS 1, whose properties are all made up: nobody here sends others.
fn published(body: &[u8]) -> Option<Published> {
    let (_, rest) = split_text(body)?;
    let (id, rest) = rest.split_first_chunk()?;
    let (length, rest) = split_count(rest)?;
    let (mut left, payload) = rest.split_at_checked(length)?;
    let mut properties = Vec::new();
    while let [USER_PROPERTY, rest @ ..] = left {
        let (name, rest) = split_text(rest)?;
        let (value, rest) = split_text(rest)?;
        properties.push((name, value));
        left = rest;
    }
    let id = u16::from_be_bytes(*id);
    left.is_empty().then(|| Published { id, payload: payload.to_vec(), properties })
}

fn split_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

/// A number of seven bits in each byte, the least first.
fn split_count(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (count, rest) = bytes.split_at(end);
    let count = count.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    Some((count, rest))
}

/// A text with its length before it.
fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// Bytes with their count before them.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let (mut counted, mut count) = (Vec::new(), bytes.len());
    loop {
        let low = u8::try_from(count % 128).unwrap_or(0);
        count /= 128;
        counted.push(low | if count > 0 { 0x80 } else { 0 });
        if count == 0 {
            break;
        }
    }
    counted.extend(bytes);
    counted
}
