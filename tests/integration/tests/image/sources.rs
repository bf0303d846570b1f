//! Each source: its broker behind TLS, its connector's settings, and how events come to it.

mod nats;
mod sqs;

pub(crate) use nats::nats;
pub(crate) use sqs::sqs;

use std::fs;
use std::time::Duration;

use compose_checker::Service;
use dev_gateway::Function;
use integration::{Broker as Kafka, Record, root, until};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::CREDENTIALS;
use crate::broker::Broker;
use crate::container::{Network, Run};
use crate::door::Door;
use crate::life::{begin, gateway, survive};
use crate::trust::Chain;

/// Where connectors look for the authorities that they trust.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A name that no resolver knows.
const BROKER: &str = "broker.test";
const GATEWAY_PORT: u16 = 8080;

/// A topic for the first function, and others that nobody sends to.
fn on_topic(function: Function, n: usize) -> Function {
    function.topic(&if n == 0 { "orders".to_owned() } else { format!("others-{n}") })
}

/// What every connector is run with: the gateway and the broker by names of the hosts file, the authorities, the credentials.
fn run(connector: &'static str, network: &Network, chain: &Chain) -> Run {
    Run::new(connector, network)
        .host("gateway", network)
        .host(BROKER, network)
        .mount(&chain.bundle(connector), BUNDLE)
        .mount(&chain.file("basic-auth-user", CREDENTIALS.0), "/run/secrets/basic-auth-user")
        .mount(
            &chain.file("basic-auth-password", CREDENTIALS.1),
            "/run/secrets/basic-auth-password",
        )
        .set("gateway_url", format!("http://gateway:{GATEWAY_PORT}"))
        .set("basic_auth", "true")
}

/// Cron has no broker: it is the gateway that is behind TLS.
pub(crate) async fn cron() {
    let (network, chain) = (Network::create().await, Chain::of("gateway"));
    let schedule = |n| if n == 0 { "* * * * * *" } else { "0 0 0 1 1 *" };
    let bind =
        |function: Function, n| function.topic("cron-function").annotation("schedule", schedule(n));
    let gateway = gateway(&network, GATEWAY_PORT, bind).await;
    let door = (network.host, 8443).into();
    let _door = Door::open(door, gateway.address().to_string(), Some(chain.server())).await;
    let run = run("cron-connector", &network, &chain)
        .set("gateway_url", "https://gateway:8443")
        .set("cron_seconds", "true");
    let container = begin(&run, &gateway).await;
    container.metrics().await.balance();
    assert_eq!(container.stop().await, 0);
}

/// The service as OpenFaaS' article on the edge has it, but for the image, on a broker that looks like the article's: SASL
/// over TLS, at that name.
pub(crate) async fn kafka(image: &'static str) {
    let service = article(image);
    let (host, port) =
        service.environment["broker_host"].split_once(':').expect("a host and a port");
    let topic = &service.environment["topics"];
    let (network, chain) = (Network::create().await, Chain::of(host));
    let broker = cloud(&network, host, port, &chain).await;
    broker.create_topic(topic, 3, &[]).await;
    let bind =
        |function: Function, n| if n == 0 { function.topic(topic) } else { on_topic(function, n) };
    let gateway = gateway(&network, GATEWAY_PORT, bind).await;
    let mut run = Run::new(image, &network)
        .memory("64m")
        .host("gateway", &network)
        .host(host, &network)
        .mount(&chain.bundle(image), BUNDLE)
        .command(&service.command);
    for (name, value) in &service.environment {
        run = run.set(name, value);
    }
    for capability in &service.capabilities {
        run = run.capability(capability);
    }
    for mount in &service.mounts {
        let name = mount.source.rsplit('/').next().expect("a path has a last part");
        run = run.mount(&chain.file(name, secret(name)), &mount.target);
    }

    broker.produce(topic, Record::of("first")).await;
    let container = begin(&run, &gateway).await;
    let publish = async |payloads: &[String]| {
        broker
            .produce_all(topic, payloads.iter().map(|payload| Record::of(payload.as_str())))
            .await;
    };
    let group = &service.environment["group"];
    survive(&run, container, &gateway, publish, async || nobody_in(&broker, group).await).await;
}

/// The article's service with an image of this project.
fn article(image: &str) -> Service {
    let text = fs::read_to_string(root().join("tests/compose-checker/tests/article.yaml"))
        .expect("it is in the repository");
    let text = text
        .replace("ghcr.io/openfaasltd/kafka-connector:0.6.1", &format!("tributary/{image}:0.1.0"));
    let text = text + "  gateway:\n    image: gateway\n";
    compose_checker::check(&text).expect("faasd takes it").swap_remove(0)
}

/// The content of a file that the article has users write.
fn secret(name: &str) -> &'static str {
    match name {
        "basic-auth-user" => CREDENTIALS.0,
        "basic-auth-password" => CREDENTIALS.1,
        "broker-username" => "api-key",
        "broker-password" => "api-secret",
        _ => "not looked at",
    }
}

/// A broker with a further listener, as managed ones have them.
async fn cloud(network: &Network, host: &str, port: &str, chain: &Chain) -> Kafka {
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let settings = [
        format!(
            "listeners=BROKER://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@,CLOUD://{}:{port}",
            network.host
        ),
        format!("advertised.listeners=BROKER://127.0.0.1:@PORT@,CLOUD://{host}:{port}"),
        "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,CLOUD:SASL_SSL"
            .to_owned(),
        "listener.name.cloud.ssl.keystore.type=PEM".to_owned(),
        format!("listener.name.cloud.ssl.keystore.location={}", chain.store().display()),
        "listener.name.cloud.sasl.enabled.mechanisms=PLAIN".to_owned(),
        format!(
            "listener.name.cloud.plain.sasl.jaas.config={module} required user_{}=\"{}\";",
            secret("broker-username"),
            secret("broker-password")
        ),
    ];
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    Kafka::private("cloud", &settings).await
}

/// Waits until the group has no member: one that has left is gone at once, one that has died stays for its session.
async fn nobody_in(broker: &Kafka, group: &str) {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .create()
        .expect("the settings are right");
    let look = async || {
        let groups = client
            .fetch_group_list(Some(group), Duration::from_secs(20))
            .expect("the broker answers");
        groups.groups().iter().map(|group| group.members().len()).sum::<usize>()
    };
    until("the group to be empty", look, |members| *members == 0).await;
}

pub(crate) async fn mqtt() {
    let (network, chain) = (Network::create().await, Chain::of(BROKER));
    let broker = Broker::up("mosquitto", &[]).await;
    let _door =
        Door::open((network.host, 8883).into(), broker.address.clone(), Some(chain.server())).await;
    let gateway = gateway(&network, GATEWAY_PORT, on_topic).await;
    let run = run("mqtt-connector", &network, &chain)
        .set("broker", format!("ssl://{BROKER}:8883"))
        .set("topics", "orders")
        .set("id", "edge")
        .set("qos", "1");
    // Retained, so that it waits for whoever subscribes.
    broker.tool(&["pub", "-t", "orders", "-q", "1", "-r", "-m", "first"], "").await;
    let container = begin(&run, &gateway).await;
    let publish = async |payloads: &[String]| {
        broker.tool(&["pub", "-t", "orders", "-q", "1", "-l"], &(payloads.join("\n") + "\n")).await;
    };
    survive(&run, container, &gateway, publish, async || ()).await;
}
