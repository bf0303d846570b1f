//! MQTT 5 on Mosquitto, QoS 1: one session, the keys are topics.

mod wire;

use std::io;
use std::time::Duration;

use integration::Launch;
use integration::proxy::Proxy;
use ledger_checker::plan::{Broker, Message, Ordering};
use tokio::time::timeout;

use super::{CONCURRENCY, Disk, Event, Process, Promise, Publisher, Source, Unsure, single};
use crate::overload::CALM;
use wire::{FEED_IN_TABLE, Link, Packet, Published};

const SESSION: &str = "soak";
/// A list of passwords without the connector's. Without a list any password will do.
const SOMEBODY_ELSE: &str = "nobody:$7$101$HSyjGn3WmlK1nKT4$H+iXtv+BWy5YuFIEfhRL9hTfm05EucSjTNWq2XJxlSJoApgrlRzEHUmWxANbS456nZTnoUVLAkJdLoEX2xmgUg==\n";
/// Who keeps the dead letters, their topic, and where each says on which topic its message came.
const KEEPER: &str = "keeper";
const LETTERS: &str = "letters";
const LETTER_TOPIC: &str = "X-Topic";
/// How many messages the broker may send that are not acknowledged.
const WINDOW: usize = 64;
/// How many messages Mosquitto takes that it has not acknowledged.
const TOGETHER: usize = 20;
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

    /// By a session that is there from the beginning: a letter for nobody is not stored.
    async fn letterbox(&mut self) -> Option<String> {
        let keep = async {
            let mut keeper = Link::begin(self.process.address(), KEEPER).await?;
            keeper.subscribe(LETTERS).await
        };
        keep.await.expect("the broker lets everybody subscribe");
        Some(format!("topic:{LETTERS}"))
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
            // The first has the session; the other is held unless somebody is mapped to it.
            .set("topics", format!("{},{CALM}/#", self.topic()))
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

    /// By a filter of its own, which has a session of its own.
    fn calm(&self) -> Option<(String, Client)> {
        Some((format!("{CALM}/#"), self.client("feed-of-calm", CALM)))
    }

    async fn publisher(&self) -> Client {
        self.client("feed", "t")
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
            let mut link = Link::resume(self.process.address(), SESSION).await?;
            io::Result::Ok(link.sent().await?.len() as u64)
        };
        timeout(ANSWER, count).await.ok().and_then(Result::ok).unwrap_or(u64::MAX)
    }

    async fn letters(&self) -> Vec<Message> {
        let all = async {
            let mut keeper = Link::resume(self.process.address(), KEEPER).await?;
            let mut letters = Vec::new();
            loop {
                let some = keeper.sent().await?;
                if some.is_empty() {
                    return io::Result::Ok(letters);
                }
                for letter in some {
                    keeper.acknowledge(letter.id).await?;
                    letters.push(letter_of(letter));
                }
            }
        };
        all.await.expect("the broker keeps its sessions")
    }
}

impl Mqtt {
    fn client(&self, id: &'static str, root: &'static str) -> Client {
        Client { address: self.process.address().to_owned(), id, root, link: None }
    }
}

/// A letter with the key that its message's topic ended with, and all properties but that one.
fn letter_of(letter: Published) -> Message {
    let (topics, headers): (Vec<_>, _) =
        letter.properties.into_iter().partition(|(name, _)| name == LETTER_TOPIC);
    let key = topics.first().and_then(|(_, topic)| topic.split_once('/'));
    Message::of(key.map_or("", |(_, key)| key), &letter.payload, headers)
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

const PUBACK_BYTES: usize = 4;

/// A client that does no more than is needed to publish, and so knows of each message whether it was acknowledged:
/// libraries send again what was not, without saying so.
pub(crate) struct Client {
    address: String,
    id: &'static str,
    /// What its topics begin with.
    root: &'static str,
    link: Option<Link>,
}

impl Publisher for Client {
    async fn publish(&mut self, mut events: Vec<Event>) -> Result<(), Unsure> {
        while !events.is_empty() {
            let some = &events[..events.len().min(TOGETHER)];
            let mut acknowledged = vec![false; some.len()];
            let sent = timeout(ANSWER, self.send(some, &mut acknowledged)).await;
            let mut acknowledged = acknowledged.into_iter();
            events.retain(|_| !acknowledged.next().unwrap_or(false));
            if !matches!(sent, Ok(Ok(()))) {
                self.link = None;
                return Err(Unsure(events));
            }
        }
        Ok(())
    }
}

impl Client {
    async fn send(&mut self, events: &[Event], acknowledged: &mut [bool]) -> io::Result<()> {
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(Link::begin(&self.address, self.id).await?),
        };
        for (id, event) in (1..).zip(events) {
            let topic = format!("{}/{}", self.root, event.key);
            let payload = event.payload.clone().into_bytes();
            link.publish(&topic, &Published { id, payload, properties: event.headers() });
        }
        link.flush().await?;
        while acknowledged.contains(&false) {
            if let Packet::PubAck(id) = link.receive().await?
                && let Some(known) = acknowledged.get_mut(usize::from(id).wrapping_sub(1))
            {
                *known = true;
            }
        }
        Ok(())
    }
}
