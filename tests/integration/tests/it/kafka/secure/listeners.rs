//! A broker with every kind of listener, which the tests of this module share: it is wiped with the
//! last of them that uses it.
//!
//! The first listener is plain, for the tests' own clients, which may do everything. Whoever comes
//! in by another may do what nobody has forbidden.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use integration::metrics::Metrics;
use integration::{Authority, Broker, Connector, Launch, Record, unique};
use tokio::sync::Mutex;

use crate::kafka::scene::Scene;

/// Who may come in, and by which password. SCRAM takes more: [`Secured::set_password`].
pub(super) const USER: &str = "alice";
pub(super) const PASSWORD: &str = "through-the-looking-glass";

/// How long a SASL session lasts before the broker wants another proof, in milliseconds.
const SESSION_MS: u32 = 4000;

/// The further listeners, by their place behind the broker's first port.
#[derive(Debug, Clone, Copy)]
pub(super) enum Listener {
    /// SASL without TLS.
    Sasl = 2,
    /// SASL over TLS.
    SaslTls = 3,
    /// TLS; a client certificate is wanted.
    MutualTls = 4,
    /// SASL with bearer tokens that nobody has signed.
    Bearer = 5,
}

/// The broker, its authority, and the files that connectors are given.
pub(super) struct Secured {
    pub(super) broker: Broker,
    pub(super) authority: Authority,
    /// The broker's own certificate and key.
    pub(super) store: PathBuf,
}

impl Secured {
    /// The broker that runs already, or a new one.
    pub(super) async fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Secured>> = Mutex::const_new(Weak::new());
        let mut running = RUNNING.lock().await;
        if let Some(secured) = running.upgrade() {
            return secured;
        }
        let secured = Arc::new(Self::new(&[]).await);
        *running = Arc::downgrade(&secured);
        secured
    }

    /// A broker for one test alone, with more settings.
    pub(super) async fn new(more: &[&str]) -> Self {
        let authority = Authority::new();
        let store = authority.sign("broker").together();
        let settings = settings(&store, &authority.certificate());
        let settings: Vec<_> = settings.lines().chain(more.iter().copied()).collect();
        let broker = Broker::private("secure", &settings).await;
        let secured = Self { broker, authority, store };
        tokio::join!(
            secured.set_password("SCRAM-SHA-256", USER, PASSWORD),
            secured.set_password("SCRAM-SHA-512", USER, PASSWORD),
        );
        secured
    }

    /// A gateway, and a group of its own.
    pub(super) async fn scene(&self) -> Scene {
        Scene::at(self.broker.clone()).await
    }

    /// Gives a SCRAM user a password, a new one if it has one.
    pub(super) async fn set_password(&self, mechanism: &str, user: &str, password: &str) {
        let key = format!("{mechanism}=[iterations=4096,password={password}]");
        let alter = ["configs", "--alter", "--entity-type", "users", "--entity-name", user];
        self.broker.tool(&[&alter[..], &["--add-config", &key]].concat()).await;
    }

    /// A connector that comes in by this listener.
    pub(super) fn connector(&self, scene: &Scene, listener: Listener, topics: &[&str]) -> Launch {
        scene.connector(topics).set("broker_hosts", self.broker.listener(listener as u16))
    }

    /// The file with the authority that has signed the broker's certificate.
    pub(super) fn ca_file(&self) -> String {
        self.authority.certificate().display().to_string()
    }
}

/// The files that hold what only some may know; removed at the end of the test.
pub(super) struct Secrets(PathBuf);

impl Secrets {
    /// A folder without files.
    pub(super) fn new() -> Self {
        let folder = std::env::temp_dir().join(unique("secrets"));
        fs::create_dir(&folder).expect("the temporary folder is there");
        Self(folder)
    }

    /// Where it is.
    pub(super) fn folder(&self) -> String {
        self.0.display().to_string()
    }

    /// The path of a file.
    pub(super) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file, as `echo` does with a newline, and gives its path.
    pub(super) fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.0.join(name), format!("{content}\n")).expect("the folder can be written to");
        self.path(name)
    }

    /// Gives the connector a username and a password.
    pub(super) fn login(&self, launch: Launch, user: &str, password: &str) -> Launch {
        launch
            .set("username_file", self.write("username", user))
            .set("password_file", self.write("password", password))
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        // What is left behind goes with the temporary folder.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Produces a record, and waits until the function of this name has been called with it.
pub(super) async fn delivers(scene: &Scene, topic: &str, function: &str) {
    let text = unique("record");
    scene.broker.produce(topic, Record::of(text.clone())).await;
    let ledger = scene.gateway.ledger();
    ledger.wait_for("the record", |calls| calls.of(function).any(|call| call.text() == text)).await;
}

/// How often the log says that this is not well.
pub(super) fn complaints(connector: &Connector, subject: &str) -> usize {
    connector.count(&format!("not well subject={subject}"))
}

/// Waits until the connector has tried again twice to connect.
pub(super) async fn another_attempt(connector: &Connector) {
    connector.metrics_until("another attempt", |metrics| restarts(metrics) >= 2).await;
}

/// How often the connector has begun anew with its broker.
pub(super) fn restarts(metrics: &Metrics) -> u64 {
    metrics.sum("tributary_source_restarts_total", &[]) as u64
}

fn settings(store: &std::path::Path, authority: &std::path::Path) -> String {
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"
    );
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                  unsecuredLoginStringClaim_sub=\"broker\";";
    let mut lines = vec![
        "listeners=BROKER://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@,\
         SASL://127.0.0.1:@PORT+2@,SASLTLS://127.0.0.1:@PORT+3@,TLS://127.0.0.1:@PORT+4@,\
         BEARER://127.0.0.1:@PORT+5@"
            .to_owned(),
        "advertised.listeners=BROKER://127.0.0.1:@PORT@,\
         SASL://127.0.0.1:@PORT+2@,SASLTLS://127.0.0.1:@PORT+3@,TLS://127.0.0.1:@PORT+4@,\
         BEARER://127.0.0.1:@PORT+5@"
            .to_owned(),
        "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,\
         SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL,TLS:SSL,BEARER:SASL_PLAINTEXT"
            .to_owned(),
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        "super.users=User:ANONYMOUS".to_owned(),
        "allow.everyone.if.no.acl.found=true".to_owned(),
        format!("connections.max.reauth.ms={SESSION_MS}"),
        "ssl.keystore.type=PEM".to_owned(),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", store.display()),
        format!("ssl.truststore.location={}", authority.display()),
        "listener.name.tls.ssl.client.auth=required".to_owned(),
        "listener.name.bearer.sasl.enabled.mechanisms=OAUTHBEARER".to_owned(),
        format!("listener.name.bearer.oauthbearer.sasl.jaas.config={bearer}"),
    ];
    for listener in ["sasl", "sasltls"] {
        let mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512";
        lines.push(format!("listener.name.{listener}.sasl.enabled.mechanisms={mechanisms}"));
        lines.push(format!("listener.name.{listener}.plain.sasl.jaas.config={plain}"));
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            lines.push(format!("listener.name.{listener}.{mechanism}.sasl.jaas.config={scram}"));
        }
    }
    lines.join("\n")
}
