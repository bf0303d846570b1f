//! Who the connector is: credentials wrong, expired, replaced and denied, and where they come from.

use std::path::Path;

use dev_gateway::{Fault, Gate};

use crate::metadata::Metadata;
use crate::proxy::{Act, Proxy, error, expired};
use crate::support::{Moto, Queue, Setup, client, folder, gateway, standard};

fn write_profile(file: &Path, key: &str, secret: &str) {
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(file, text).unwrap();
}

#[tokio::test]
async fn expired_credentials_are_looked_for_again() {
    let (queue, gateway) = standard("expired").await;
    let file = folder("profile").join("aws-sqs-credentials");
    write_profile(&file, "early", "secret");
    let proxy = Proxy::start(expired("early")).await;
    let setup = Setup::new(&gateway).through(&proxy).with("topics", &queue.name);
    let connector = setup.profile(&file).start().await;
    connector.wait_until_unready("ExpiredToken").await;
    write_profile(&file, "good", "secret");
    connector.wait_until_ready().await;
    // They expire while a call runs: its delete is made with the next ones.
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    queue.send("x").await;
    gate.wait_for_waiting(1).await;
    proxy.script(expired("good"));
    gate.open();
    connector.wait_until_unready("ExpiredToken").await;
    write_profile(&file, "better", "secret");
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(gateway.ledger().calls().len(), 1);
    connector.stop().await;
}

#[tokio::test]
async fn missing_credentials_are_named_and_waited_for() {
    let (queue, gateway) = standard("missing").await;
    let file = folder("profile").join("aws-sqs-credentials");
    let connector = Setup::new(&gateway).profile(&file).start().await;
    connector.wait_until_unready("no credentials").await;
    write_profile(&file, "a", "b");
    connector.wait_until_ready().await;
    queue.send("x").await;
    queue.wait_until_empty().await;
    connector.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_told_and_goes_on_once_it_is_allowed() {
    let moto = Moto::up("policies");
    let (key, secret) = moto.user("connector").await;
    let tester = moto.user("tester").await;
    let tester = client(moto.endpoint(), "eu-west-1", (&tester.0, &tester.1));
    moto.allow("tester", "*").await;
    let queue = Queue::create_as(tester, "orders", &[]).await;
    queue.send("1").await;
    let gateway = gateway("f", "orders").await;
    let file = folder("profile").join("aws-sqs-credentials");
    write_profile(&file, "nobody", "secret");
    let setup = Setup::new(&gateway).with("endpoint_url", moto.endpoint()).profile(&file);
    let connector = setup.with("topics", "orders").start().await;
    connector.wait_until_unready("InvalidClientTokenId").await;
    write_profile(&file, &key, "another");
    connector.wait_until_unready("SignatureDoesNotMatch").await;
    write_profile(&file, &key, &secret);
    connector.wait_until_unready("not authorized to perform: sqs:GetQueueUrl").await;
    moto.allow("connector", "sqs:*").await;
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;

    // Permission ends while a call runs: nothing is called again for it.
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    queue.send("2").await;
    gate.wait_for_waiting(1).await;
    moto.allow("connector", "sqs:ListQueues").await;
    gate.open();
    connector.wait_until_unready("not authorized to perform: sqs:DeleteMessage").await;
    moto.allow("connector", "sqs:*").await;
    queue.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(gateway.ledger().calls().len(), 2);
    connector.stop().await;
}

#[tokio::test]
async fn a_queue_of_another_region_is_not_found_and_the_region_named() {
    let moto = Moto::up("regions");
    let of = |region| client(moto.endpoint(), region, ("key", "secret"));
    let elsewhere = Queue::create_as(of("eu-west-1"), "orders", &[]).await;
    elsewhere.send("elsewhere").await;
    let gateway = gateway("f", "orders").await;
    let setup = Setup::new(&gateway).with("endpoint_url", moto.endpoint()).with("topics", "orders");
    let connector = setup.with("AWS_REGION", "us-east-1").start().await;
    connector.wait_until_unready("not in region us-east-1").await;
    let here = Queue::create_as(of("us-east-1"), "orders", &[]).await;
    here.send("here").await;
    here.wait_until_empty().await;
    connector.wait_until_ready().await;
    assert_eq!(elsewhere.counts().await, (1, 0));
    assert_eq!(gateway.ledger().calls()[0].text(), "here");
    connector.stop().await;
}

#[tokio::test]
async fn a_web_identity_is_a_role() {
    let moto = Moto::up("identity");
    let role = moto.role("connector").await;
    let (queue, gateway) = standard("identity").await;
    let token = folder("identity").join("token");
    let proxy = Proxy::start(|_| Act::Pass).await;
    let connector = Setup::new(&gateway)
        .through(&proxy)
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .with("AWS_ROLE_ARN", &role)
        .with("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())
        .with("AWS_ENDPOINT_URL_STS", moto.endpoint())
        .start()
        .await;
    let missing = format!("AWS_WEB_IDENTITY_TOKEN_FILE={}", token.display());
    connector.wait_until_unready(&missing).await;
    std::fs::write(&token, "a token of the cluster").unwrap();
    connector.wait_until_ready().await;
    queue.send("x").await;
    queue.wait_until_empty().await;
    // Keys of a role's session begin so.
    let asked = proxy.asked("DeleteMessageBatch");
    assert!(asked.iter().all(|asked| asked.credential.contains("Credential=ASIA")), "{asked:?}");
    // Each attempt is the SDK's own affair.
    assert!(!connector.log().contains("provider failed"), "{}", connector.log());
    connector.stop().await;
}

#[tokio::test]
async fn the_keys_of_a_container_are_replaced_before_they_end() {
    let metadata = Metadata::start().await;
    let url = format!("{}/container", metadata.url);
    keys_are_replaced(&metadata, |it| it.with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)).await;
}

#[tokio::test]
async fn the_keys_of_an_instance_are_replaced_before_they_end() {
    let metadata = Metadata::start().await;
    keys_are_replaced(&metadata, |it| {
        let it = it.without("AWS_EC2_METADATA_DISABLED");
        it.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url)
    })
    .await;
}

/// Sends a message with each of three keys, to a service for whom none is good after its end.
async fn keys_are_replaced(metadata: &Metadata, from: impl FnOnce(Setup) -> Setup) {
    let (queue, gateway) = standard("keys").await;
    let keys = metadata.keys();
    let proxy = Proxy::start(move |asked| match keys.are_good(&asked.credential) {
        true => Act::Pass,
        false => error("ExpiredTokenException", "the key has ended"),
    })
    .await;
    let setup = Setup::new(&gateway).through(&proxy);
    let setup = setup.without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    let connector = from(setup).ready().await;
    for handed in 1..=3 {
        let what = format!("key {handed}");
        connector.wait_for(&what, async || metadata.keys().count() >= handed).await;
        queue.send(&what).await;
        queue.wait_until_empty().await;
    }
    assert_eq!(gateway.ledger().calls().len(), 3);
    assert!(!connector.log().contains("not well"), "{}", connector.log());
    connector.stop().await;
}
