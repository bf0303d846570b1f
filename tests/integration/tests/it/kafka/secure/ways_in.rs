//! Every way in that a listener may offer.

use futures_util::future::join_all;
use integration::{Connector, Launch, Record, unique};

use super::listeners::{Listener, PASSWORD, Secrets, Secured, USER};

#[tokio::test]
async fn every_way_in_leads_to_the_records() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("ways", 1).await;
    scene.broker.produce(&topic, Record::of("come in")).await;
    scene.deploy("host", &topic);

    let authority = secured.ca_file();
    let client = secured.authority.sign("client");
    let begin = |listener| secured.connector(&scene, listener, &[&topic]);
    let sasl = |listener, mechanism| {
        secrets.login(begin(listener), USER, PASSWORD).set("sasl_mechanism", mechanism)
    };
    let mut ways: Vec<Launch> = Vec::new();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        ways.push(sasl(Listener::Sasl, mechanism));
        ways.push(sasl(Listener::SaslTls, mechanism).set("ca_file", &authority));
    }
    ways.push(sasl(Listener::SaslTls, "PLAIN").set("tls", "true").set("verify_ssl", "false"));
    // The authorities of this machine, as every program on it is told of them.
    ways.push(sasl(Listener::SaslTls, "PLAIN").set("tls", "true").set("SSL_CERT_FILE", &authority));
    ways.push(
        begin(Listener::MutualTls)
            .set("ca_file", &authority)
            .set("cert_file", client.certificate.display().to_string())
            .set("key_file", client.key.display().to_string()),
    );

    let groups: Vec<_> = ways.iter().map(|_| unique("way")).collect();
    let launched = ways.iter().zip(&groups).map(|(way, group)| {
        let way = way.clone().set("group", group);
        async move { way.ready().await }
    });
    let connectors = join_all(launched).await;
    let ledger = scene.gateway.ledger();
    ledger.wait_for("a call for each", |calls| calls.well().count() == ways.len()).await;
    for ended in join_all(connectors.into_iter().map(Connector::end)).await {
        assert!(!ended.lines.join("\n").contains(PASSWORD), "{:#?}", ended.lines);
    }
    for group in groups {
        assert_eq!(scene.broker.committed(&group, &topic).await[&0].offset, 1);
    }
}
