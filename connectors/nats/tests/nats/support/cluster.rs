//! Three servers, each with a copy of one stream and of its consumer: who leads, and how far they are.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{self, ClusterInfo, Stream};
use async_nats::jetstream::{self, Context};

use super::{Server, pull_consumer, until};

/// The stream, and its consumer.
pub(crate) const STREAM: &str = "S";
pub(crate) const CONSUMER: &str = "d";

/// How long the consumer's messages are lent for. What a leader takes with it comes again then.
const LEASE: Duration = Duration::from_secs(3);

/// What has a leader of its own.
#[derive(Clone, Copy)]
pub(crate) enum Led {
    Stream,
    Consumer,
}

impl fmt::Display for Led {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Consumer => "consumer",
        })
    }
}

/// Three servers that share a stream and its consumer.
pub(crate) struct Cluster {
    pub(crate) servers: [Server; 3],
    pub(crate) context: Context,
    pub(crate) stream: Stream,
}

impl Cluster {
    /// With a stream that has no consumer yet.
    pub(crate) async fn start() -> Self {
        let servers = Server::cluster().await;
        // It notices soon when its own server hangs.
        let client = async_nats::ConnectOptions::new().ping_interval(Duration::from_secs(1));
        let all: Vec<_> = servers.iter().map(Server::address).collect();
        let mut context = jetstream::new(client.connect(all).await.unwrap());
        context.set_timeout(Duration::from_secs(2));
        let config = stream::Config {
            name: STREAM.into(),
            subjects: vec!["s.>".into()],
            num_replicas: 3,
            ..Default::default()
        };
        // They may still be choosing who leads all of them.
        let stream = async || context.create_stream(config.clone()).await.ok();
        let stream = until("the stream", stream).await;
        Self { servers, context, stream }
    }

    /// Adds the consumer.
    pub(crate) async fn consumed(self) -> Self {
        let config = pull::Config { ack_wait: LEASE, num_replicas: 3, ..pull_consumer(CONSUMER) };
        let made = async || self.stream.create_consumer(config.clone()).await.ok();
        until("the consumer", made).await;
        self.whole().await;
        self
    }

    /// What a connector is told of it.
    pub(crate) fn addresses(&self) -> String {
        self.servers.each_ref().map(Server::address).join(",")
    }

    /// What the consumer's leader says of it.
    pub(crate) async fn consumer(&self) -> Option<consumer::Info> {
        self.stream.consumer_info(CONSUMER).await.ok()
    }

    /// Waits until another server leads than this one; gives its index.
    pub(crate) async fn leader_but(&self, led: Led, old: Option<usize>) -> usize {
        until("a leader, and another one", async || {
            let leader = self.group(led).await?.leader?;
            let leader = leader.strip_prefix('n').unwrap().parse().unwrap();
            (Some(leader) != old).then_some(leader)
        })
        .await
    }

    /// Has the leader hand over to another.
    pub(crate) async fn step_down(&self, led: Led) {
        let subject = match led {
            Led::Stream => format!("STREAM.LEADER.STEPDOWN.{STREAM}"),
            Led::Consumer => format!("CONSUMER.LEADER.STEPDOWN.{STREAM}.{CONSUMER}"),
        };
        until("a leader that steps down", async || {
            let answer = self.context.request(subject.clone(), &()).await.ok()?;
            matches!(answer, Response::Ok(serde_json::Value::Object(_))).then_some(())
        })
        .await;
    }

    /// Waits until both that follow have caught up, with the stream and with the consumer: then
    /// the next leader may go.
    pub(crate) async fn whole(&self) {
        until("three copies that are equal", async || {
            for led in [Led::Stream, Led::Consumer] {
                let followers = self.group(led).await?.replicas;
                let equal = followers.iter().filter(|it| it.current && !it.offline).count();
                (equal == 2).then_some(())?;
            }
            Some(())
        })
        .await;
    }

    async fn group(&self, led: Led) -> Option<ClusterInfo> {
        match led {
            Led::Stream => self.stream.get_info().await.ok()?.cluster,
            Led::Consumer => self.consumer().await?.cluster,
        }
    }
}
