//! MQTT 5 on Mosquitto, QoS 1: one session, the keys are topics.

use std::io;
use std::time::Duration;

use integration::Launch;
use ledger_checker::plan::{Broker, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{CONCURRENCY, Disk, Event, Process, Promise, Publisher, Source, Unsure, single};
use crate::proxy::Proxy;

const SESSION: &str = "soak";
/// A list of passwords without the connector's. Without a list any password will do.
const SOMEBODY_ELSE: &str = "nobody:$7$101$HSyjGn3WmlK1nKT4$H+iXtv+BWy5YuFIEfhRL9hTfm05EucSjTNWq2XJxlSJoApgrlRzEHUmWxANbS456nZTnoUVLAkJdLoEX2xmgUg==\n";
/// How many messages the broker may send that are not acknowledged.
const WINDOW: usize = 64;
/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

pub(crate) struct Mqtt {
    process: Process,
    proxied: String,
}

impl Source for Mqtt {
    const CONNECTOR: &str = "mqtt";
    type Publisher = Client;

    async fn start(proxy: &Proxy, disk: Disk) -> Self {
        // Saved at its end alone: with thousands queued, saving each change would take for ever.
        let settings = ["autosave_on_changes false", "max_queued_messages 0"].map(str::to_owned);
        let process = Process::start("mosquitto", disk, &settings);
        proxy.leads_to(process.address());
        Self { process, proxied: proxy.address() }
    }

    fn promise(&self) -> Promise {
        Promise {
            name: "MQTT",
            broker: Broker::Mqtt,
            ordering: Ordering::Key,
            settling: single(),
            lane_window: WINDOW,
        }
    }

    fn topic(&self) -> String {
        "t/#".to_owned()
    }

    fn settings(&self, launch: Launch) -> Launch {
        launch
            .set("broker", format!("tcp://{}", self.proxied))
            .set("topic", self.topic())
            .set("id", SESSION)
            .set("user", "connector")
            .set("password", "any")
            .set("qos", "1")
            .set("protocol_version", "5")
            .set("receive_maximum", WINDOW.to_string())
            .set("keep_alive", "15s")
            .set("max_inflight", (2 * CONCURRENCY).to_string())
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its user is not let in any more: Mosquitto ends the connection, and keeps the session. What the session may not
    /// read it would not keep.
    async fn permit(&mut self, permitted: bool, _link: &Proxy) {
        let list = self.process.folder().join("somebody-else");
        std::fs::write(&list, SOMEBODY_ELSE).expect("the folder is ours");
        let line = format!("password_file {}\n", list.display());
        self.process.reconfigure("mosquitto.conf", |text| match permitted {
            true => text.replace(&line, ""),
            false => text + &line,
        });
    }

    async fn publisher(&self) -> Client {
        Client { address: self.process.address().to_owned(), connection: None }
    }

    /// Mosquitto reads little while it sends a session what piled up, so thousands may lie in the sockets.
    fn unread(&self) -> usize {
        let port = |address: &str| {
            let (_, port) = address.rsplit_once(':').expect("an address has a port");
            format!(":{:04X}", port.parse::<u16>().expect("a port is a number"))
        };
        let ports = [port(self.process.address()), port(&self.proxied)];
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
        table.lines().skip(1).filter_map(|line| queued(line, &ports)).sum::<usize>() / PUBACK_BYTES
    }

    /// What the session is sent when somebody takes it up again.
    async fn left(&self) -> u64 {
        let count = async {
            let mut connection = connect(self.process.address(), SESSION, false).await?;
            connection.write_all(&[PINGREQ, 0]).await?;
            let mut left = 0;
            loop {
                match receive(&mut connection).await?.0 & 0xf0 {
                    PUBLISH => left += 1,
                    PINGRESP => return io::Result::Ok(left),
                    _ => {}
                }
            }
        };
        timeout(ANSWER, count).await.ok().and_then(Result::ok).unwrap_or(u64::MAX)
    }
}

/// How many bytes a connection of the kernel's table has been sent to one of these ports that nobody has read there. Not of
/// the feed's, which is told by its address.
fn queued(line: &str, ports: &[String]) -> Option<usize> {
    const ESTABLISHED: &str = "01";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, at, to, ESTABLISHED, queues, ..] = fields.as_slice() else { return None };
    if [at, to].iter().any(|address| address.starts_with(FEED_IN_TABLE)) {
        return None;
    }
    let (sending, receiving) = queues.split_once(':')?;
    let leads = |address: &str| ports.iter().any(|port| address.ends_with(port));
    let bytes = |queue: &str| usize::from_str_radix(queue, 16).ok();
    match (leads(at), leads(to)) {
        (true, _) => bytes(receiving),
        (_, true) => bytes(sending),
        _ => None,
    }
}

/// Where the feed comes from, to be told from whoever else is connected.
const FEED: &str = "127.0.0.2:0";
/// The same in the kernel's table.
const FEED_IN_TABLE: &str = "0200007F:";
const PUBACK_BYTES: usize = 4;

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 0xd0;

/// A client of 3.1.1 that does no more than is needed to publish, and so knows of each message whether it was
/// acknowledged: libraries send again what was not, without saying so.
pub(crate) struct Client {
    address: String,
    connection: Option<TcpStream>,
}

impl Publisher for Client {
    async fn publish(&mut self, mut events: Vec<Event>) -> Result<(), Unsure> {
        let mut acknowledged = vec![false; events.len()];
        let sent = timeout(ANSWER, self.send(&events, &mut acknowledged)).await;
        if matches!(sent, Ok(Ok(()))) {
            return Ok(());
        }
        self.connection = None;
        let mut acknowledged = acknowledged.into_iter();
        events.retain(|_| !acknowledged.next().unwrap_or(false));
        Err(Unsure(events))
    }
}

impl Client {
    async fn send(&mut self, events: &[Event], acknowledged: &mut [bool]) -> io::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.address, "feed", true).await?),
        };
        let mut packets = Vec::new();
        for (id, event) in (1_u16..).zip(events) {
            let topic = format!("t/{}", event.key);
            let mut body = text(&topic);
            body.extend(id.to_be_bytes());
            body.extend(event.payload.as_bytes());
            packets.extend(packet(PUBLISH | 0x02, &body));
        }
        connection.write_all(&packets).await?;
        while acknowledged.contains(&false) {
            let (kind, body) = receive(connection).await?;
            if kind == PUBACK && body.len() >= 2 {
                let id = usize::from(u16::from_be_bytes([body[0], body[1]]));
                if let Some(known) = acknowledged.get_mut(id.wrapping_sub(1)) {
                    *known = true;
                }
            }
        }
        Ok(())
    }
}

async fn connect(address: &str, id: &str, clean: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(FEED.parse().map_err(io::Error::other)?)?;
    let address = address.parse().map_err(io::Error::other)?;
    let mut connection = socket.connect(address).await?;
    let mut body = text("MQTT");
    // 3.1.1, and no keep alive.
    body.extend([4, u8::from(clean) << 1, 0, 0]);
    body.extend(text(id));
    connection.write_all(&packet(CONNECT, &body)).await?;
    let (_, answer) = receive(&mut connection).await?;
    match answer.as_slice() {
        // A session that is to be taken up has to be there.
        [present, 0] if clean || *present == 1 => Ok(connection),
        _ => Err(io::Error::other("the broker refuses the connection")),
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        packet.push(low | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

async fn receive(connection: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let kind = connection.read_u8().await?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = connection.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok((kind, body))
}
