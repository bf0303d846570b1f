//! Bearer tokens: from a token endpoint, and signed with AWS credentials.
//!
//! The broker takes tokens that nobody has signed, so the endpoint is a function of the test's
//! gateway. Amazon's own check of its signatures cannot be had here: they are compared with those
//! of AWS' signer where they are made, and here with what goes over the wire.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dev_gateway::{Fault, Function, Reply};
use integration::{Launch, until};

use super::listeners::{
    Listener, Secrets, Secured, USER, another_attempt, complaints, delivers, restarts,
};
use super::wire::Tap;
use crate::kafka::scene::Scene;

const CLIENT_SECRET: &str = "beware-the-jabberwock";

/// How long a token of the endpoint is good.
const LIFE: Duration = Duration::from_secs(8);

/// An endpoint for tokens, as a function.
fn endpoint() -> Function {
    Function::named("token").handler(|request| async move {
        let login = STANDARD.encode(format!("{USER}:{CLIENT_SECRET}"));
        let knows =
            request.headers.get("authorization").is_some_and(|h| h == &format!("Basic {login}"));
        if !knows {
            return Reply::status(401).body(r#"{"error":"invalid_client"}"#);
        }
        if request.body != "grant_type=client_credentials&scope=records%20all" {
            return Reply::status(400).body(r#"{"error":"invalid_scope"}"#);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        let (from, to) = (now.as_secs_f64(), (now + LIFE).as_secs_f64());
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let token = part(r#"{"alg":"none"}"#.to_owned())
            + "."
            + &part(format!(r#"{{"sub":"{USER}","scope":"all","iat":{from},"exp":{to}}}"#))
            + ".";
        let life = LIFE.as_secs();
        Reply::text(format!(
            r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{life}}}"#
        ))
    })
}

fn bearer(secured: &Secured, scene: &Scene, secrets: &Secrets, topic: &str) -> Launch {
    let launch = secured.connector(scene, Listener::Bearer, &[topic]);
    secrets
        .login(launch, USER, CLIENT_SECRET)
        .set("sasl_mechanism", "OAUTHBEARER")
        .set("oauth_token_url", scene.gateway.url() + "/function/token")
        .set("oauth_scope", "records all")
}

#[tokio::test]
async fn tokens_are_replaced_before_they_end() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("tokens", 1).await;
    scene.deploy("guest", &topic);
    scene.gateway.deploy(endpoint());
    let connector = bearer(&secured, &scene, &secrets, &topic).ready().await;
    delivers(&scene, &topic, "guest").await;
    // The first one has ended by the time that the third is fetched.
    let ledger = scene.gateway.ledger();
    ledger.wait_for("the third token", |calls| calls.of("token").count() == 3).await;
    delivers(&scene, &topic, "guest").await;
    assert_eq!(restarts(&connector.metrics().await), 0, "the session went on");
    let ended = connector.end().await;
    let log = ended.lines.join("\n");
    assert!(!log.contains("not well"), "{log}");
    for secret in [CLIENT_SECRET, "eyJ"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_waited_for() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("endpoint", 1).await;
    scene.deploy("guest", &topic);
    scene.gateway.deploy(endpoint());
    scene.gateway.fault("token", Fault::status(503));
    let connector = bearer(&secured, &scene, &secrets, &topic).start().await;
    connector.not_ready("no token from the token endpoint: it answers 503").await;
    another_attempt(&connector).await;
    assert_eq!(complaints(&connector, "broker"), 1, "{:#?}", connector.lines());
    scene.gateway.clear_fault("token");
    connector.ready().await;
    delivers(&scene, &topic, "guest").await;

    // The same while it runs: ready as long as the last token is good.
    secrets.write("password", "forgotten");
    connector.not_ready("it answers 401: invalid_client").await;
    secrets.write("password", CLIENT_SECRET);
    connector.ready().await;
    delivers(&scene, &topic, "guest").await;
    connector.end().await;
}

#[tokio::test]
async fn a_token_for_msk_is_signed_once_there_are_credentials() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("msk", 1).await;
    let tap = Tap::on(&secured.broker.listener(Listener::Bearer as u16)).await;
    let connector = secured
        .connector(&scene, Listener::Bearer, &[&topic])
        .set("broker_hosts", tap.address())
        .set("sasl_mechanism", "AWS_MSK_IAM")
        .set("aws_region", "eu-west-1")
        .set("AWS_EC2_METADATA_DISABLED", "true")
        .set("AWS_SHARED_CREDENTIALS_FILE", secrets.path("credentials"))
        .start()
        .await;
    connector.not_ready("no token from AWS credentials").await;

    secrets.write(
        "credentials",
        "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = twas-brillig\n\
         aws_session_token = slithy/toves",
    );
    // This broker wants another kind of token; what it was given is what Amazon's would check.
    connector.not_ready("the broker refuses the credentials").await;
    let sent = until("the token", async || tap.seen(), |seen| seen.contains("auth=Bearer ")).await;
    let token = sent.split_once("auth=Bearer ").and_then(|(_, rest)| rest.split_once('\x01'));
    let url = URL_SAFE_NO_PAD.decode(token.expect("the token ends").0).expect("it is base64");
    let url = String::from_utf8(url).expect("it is text");
    let address = "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&";
    assert!(url.starts_with(address), "{url}");
    for part in [
        "X-Amz-Credential=AKIDEXAMPLE%2F",
        "%2Feu-west-1%2Fkafka-cluster%2Faws4_request",
        "X-Amz-Expires=900",
        "X-Amz-Security-Token=slithy%2Ftoves",
        "X-Amz-Signature=",
    ] {
        assert!(url.contains(part), "{part} in {url}");
    }
    let ended = connector.end().await;
    for secret in ["twas-brillig", "slithy"] {
        assert!(!ended.lines.join("\n").contains(secret), "{:#?}", ended.lines);
    }
}
