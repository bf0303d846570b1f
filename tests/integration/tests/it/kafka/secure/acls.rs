//! Topics and groups that the broker's access control lists refuse.

use dev_gateway::{Function, Reply};
use integration::Record;

use super::listeners::{
    Listener, PASSWORD, Secrets, Secured, USER, complaints, delivers, restarts,
};

/// Adds or removes an entry that allows a user something.
async fn entry(secured: &Secured, verb: &str, user: &str, operation: &str, what: &[&str]) {
    let principal = format!("User:{user}");
    let entry =
        ["acls", verb, "--force", "--allow-principal", &principal, "--operation", operation];
    secured.broker.tool(&[&entry[..], what].concat()).await;
}

/// Denies a user to write idempotently, and nobody else anything: a first entry for the cluster
/// would close it to all others.
async fn deny_idempotence(secured: &Secured, user: &str) {
    entry(secured, "--add", "*", "All", &["--cluster"]).await;
    let principal = format!("User:{user}");
    // Who may write to any topic may do so idempotently; whether one may, where topics are open to
    // all, Kafka learns by a topic of this name.
    let denials = [["IdempotentWrite", "--cluster"].as_slice(), &["Write", "--topic", "hardcode"]];
    for denial in denials {
        let entry = ["acls", "--add", "--force", "--deny-principal", &principal, "--operation"];
        secured.broker.tool(&[&entry, denial].concat()).await;
    }
}

#[tokio::test]
async fn a_topic_that_is_refused_does_not_keep_others_from_being_served() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let (open, shut) = (scene.broker.topic("open", 1).await, scene.broker.topic("shut", 1).await);
    scene.deploy("public", &open);
    scene.deploy("private", &shut);
    let topic = &["--topic", &*shut];
    // From now on only those may come near it that an entry names.
    entry(&secured, "--add", "nobody", "All", topic).await;
    let launch = secured.connector(&scene, Listener::Sasl, &[&open, &shut]);
    let connector = secrets.login(launch, USER, PASSWORD).start().await;
    let refused = format!("topic {shut}");
    let said = connector.not_ready(&refused).await;
    assert!(said.contains("authorization failed"), "{said}");
    delivers(&scene, &open, "public").await;

    // It may be seen now, and not read.
    entry(&secured, "--add", USER, "Describe", topic).await;
    connector.not_ready("may not be read").await;
    delivers(&scene, &open, "public").await;

    entry(&secured, "--add", USER, "Read", topic).await;
    connector.ready().await;
    delivers(&scene, &shut, "private").await;
    scene.broker.wait_for_commit(&scene.group, &shut, 0, 1).await;
    assert_eq!(restarts(&connector.metrics().await), 0, "the session went on");

    // And taken back while it is read.
    entry(&secured, "--remove", USER, "Read", topic).await;
    connector.not_ready("may not be read").await;
    delivers(&scene, &open, "public").await;
    entry(&secured, "--add", USER, "Read", topic).await;
    connector.ready().await;
    delivers(&scene, &shut, "private").await;
    connector.end().await;
}

#[tokio::test]
async fn a_group_that_is_refused_is_told_of_and_joined_once_it_may_be() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("grouped", 1).await;
    scene.deploy("guest", &topic);
    let group = &["--group", &*scene.group];
    entry(&secured, "--add", "nobody", "All", group).await;
    let launch = secured.connector(&scene, Listener::Sasl, &[&topic]);
    let connector = secrets.login(launch, USER, PASSWORD).start().await;
    connector.not_ready("consumer group").await;
    entry(&secured, "--add", USER, "Read", group).await;
    connector.ready().await;
    delivers(&scene, &topic, "guest").await;
    assert_eq!(complaints(&connector, "\"consumer group\""), 1, "{:#?}", connector.lines());
    connector.end().await;
}

/// Whoever leads the group leaves out what the broker refuses while the group shares out.
#[tokio::test]
async fn a_topic_that_is_refused_while_the_group_shares_it_out_is_given_to_somebody_later() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("left-out", 1).await;
    scene.deploy("guest", &topic);
    let launch = secured.connector(&scene, Listener::Sasl, &[&topic]).set("session_timeout", "3s");
    let connector = secrets.login(launch, USER, PASSWORD).start().await;
    delivers(&scene, &topic, "guest").await;

    let everything = ["--topic", &*topic, "--group", &*scene.group];
    entry(&secured, "--add", "nobody", "All", &everything).await;
    connector.not_ready("consumer group").await;
    entry(&secured, "--add", USER, "Read", &everything[2..]).await;
    tokio::select! {
        _ = connector.line("partitions=\"\"") => {}
        // Seen by us as well, if this takes so long that we have looked ourselves meanwhile.
        _ = connector.line("why=\"TopicAuthorizationFailed") => {}
    }
    entry(&secured, "--add", USER, "Read", &everything[..2]).await;
    delivers(&scene, &topic, "guest").await;
    connector.end().await;
}

/// librdkafka's producer is of no more use once it may not write.
#[tokio::test]
async fn letters_are_stored_once_they_may_be() {
    let (user, mechanism) = ("lewis", "SCRAM-SHA-256");
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("refused", 1).await;
    let letters = scene.broker.topic("refused-letters", 1).await;
    secured.set_password(mechanism, user, PASSWORD).await;
    entry(&secured, "--add", "nobody", "All", &["--topic", &*letters]).await;
    entry(&secured, "--add", user, "Describe", &["--topic", &*letters]).await;
    deny_idempotence(&secured, user).await;
    scene
        .gateway
        .deploy(Function::named("picky").topic(&topic).handler(|_| async { Reply::status(400) }));
    scene.broker.produce(&topic, Record::of("unwanted")).await;
    let launch = secured.connector(&scene, Listener::Sasl, &[&topic]);
    let launch = launch.set("sasl_mechanism", mechanism);
    let launch = launch.set("dead_letter", format!("topic:{letters}"));
    let connector = secrets.login(launch, user, PASSWORD).start().await;
    let said = connector.not_ready("dead letters to").await;
    assert!(said.contains("Cluster authorization failed"), "{said}");

    entry(&secured, "--add", user, "Write", &["--topic", &*letters]).await;
    connector.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    assert_eq!(scene.broker.read(&letters).await.len(), 1);
    connector.end().await;
}
