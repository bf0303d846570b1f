//! Certificates that nobody trusts, and that change.

use std::fs;

use dev_gateway::{Function, Reply};
use integration::certificates::Certificate;
use integration::metrics::Metrics;
use integration::{Authority, Record};

use super::listeners::{
    Listener, PASSWORD, Secrets, Secured, USER, another_attempt, complaints, delivers,
};

#[tokio::test]
async fn without_a_ca_file_only_the_public_authorities_are_trusted() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("public", 1).await;
    let launch = secured.connector(&scene, Listener::SaslTls, &[&topic]);
    let connector = secrets.login(launch, USER, PASSWORD).set("tls", "true").start().await;
    let said = connector.not_ready("certificate verify failed").await;
    assert!(said.contains("its authority is neither in ca_file nor"), "{said}");
    another_attempt(&connector).await;
    assert_eq!(complaints(&connector, "broker"), 1, "{:#?}", connector.lines());
    connector.end().await;
}

#[tokio::test]
async fn a_client_certificate_that_is_refused_is_replaced_in_its_files() {
    let secured = Secured::shared().await;
    let scene = secured.scene().await;
    let topic = scene.broker.topic("mutual", 1).await;
    scene.deploy("guest", &topic);
    let folder = Secrets::new();
    let write = |of: &Certificate| {
        let read = |path| fs::read_to_string(path).expect("it was written");
        let certificate = folder.write("cert.pem", &read(&of.certificate));
        (certificate, folder.write("key.pem", &read(&of.key)))
    };
    let strangers = Authority::new();
    let (cert_file, key_file) = write(&strangers.sign("stranger"));
    let connector = secured
        .connector(&scene, Listener::MutualTls, &[&topic])
        .set("ca_file", secured.ca_file())
        .set("cert_file", cert_file)
        .set("key_file", key_file)
        .start()
        .await;
    connector.not_ready("TLS").await;
    write(&secured.authority.sign("guest"));
    connector.ready().await;
    delivers(&scene, &topic, "guest").await;
    connector.end().await;
}

#[tokio::test]
async fn a_new_authority_of_the_broker_is_learned_from_its_file() {
    let secured = Secured::new(&[]).await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("authority", 1).await;
    scene.gateway.deploy(Function::named("guest").topic(&topic).handler(|request| async move {
        Reply::status(if request.body == "poison" { 400 } else { 200 })
    }));
    let pem = |authority: &Authority| {
        fs::read_to_string(authority.certificate()).expect("it was written")
    };
    let dead = scene.broker.topic("authority-dead", 1).await;
    let launch = secured.connector(&scene, Listener::SaslTls, &[&topic]);
    let connector = secrets
        .login(launch, USER, PASSWORD)
        .set("ca_file", secrets.write("ca.pem", &pem(&secured.authority)))
        .set("dead_letter", format!("topic:{dead}"))
        .ready()
        .await;
    delivers(&scene, &topic, "guest").await;
    let buries = async |letters| {
        scene.broker.produce(&topic, Record::of("poison")).await;
        let stored = |metrics: &Metrics| metrics.came("dead_lettered") == letters;
        connector.metrics_until("the letter", stored).await;
    };
    buries(1).await;

    let new = Authority::new();
    fs::copy(new.sign("broker").together(), &secured.store).expect("the folder can be written to");
    scene.broker.kill();
    scene.broker.restart().await;
    connector.not_ready("certificate verify failed").await;
    secrets.write("ca.pem", &pem(&new));
    connector.ready().await;
    delivers(&scene, &topic, "guest").await;
    // By a client of its own, which nobody has used since.
    buries(2).await;
    connector.end().await;
}
