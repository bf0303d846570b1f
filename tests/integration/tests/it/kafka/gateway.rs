//! A gateway that is away, refuses or talks nonsense: the process stays, says so once, recovers.
//!
//! The namespace is set, so that each look of the connector at the gateway is one listing of
//! functions, which the gateway counts.

use std::fs;

use dev_gateway::{Credentials, DEFAULT_NAMESPACE, ListingFault};
use integration::{Connector, Record, unique};

use super::scene::Scene;

/// The lines about the gateway's condition: what the log had to say of its changes.
fn changes(connector: &Connector) -> Vec<String> {
    let lines = connector.lines().into_iter();
    lines.filter(|line| line.contains("well") && line.contains("subject=gateway")).collect()
}

#[tokio::test]
async fn a_gateway_in_trouble_is_told_of_once_and_changes_nothing() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("trouble", 1).await;
    scene.deploy("troubled", &topic);
    let connector = scene
        .connector(&[&topic])
        .set("namespaces", DEFAULT_NAMESPACE)
        .set("rebuild_timeout", "300ms")
        .ready()
        .await;
    let faults = [
        ListingFault::Status(500),
        ListingFault::Unauthorized,
        ListingFault::Html,
        ListingFault::InvalidJson,
        ListingFault::Hang,
        ListingFault::Close,
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let said = changes(&connector).len();
        let failed = format!("{fault:?}");
        scene.gateway.platform(|platform| platform.listing = Some(fault));
        scene.gateway.wait_for_listings(4).await;
        // The last map stays: what it maps is called as ever.
        scene.broker.produce(&topic, Record::of(n.to_string())).await;
        let ledger = scene.gateway.ledger();
        ledger.wait_for("a call", |calls| calls.well().count() == n + 1).await;
        assert_eq!(changes(&connector).len(), said + 1, "{failed}: {:#?}", changes(&connector));

        scene.gateway.platform(|platform| platform.listing = None);
        scene.gateway.wait_for_listings(3).await;
        assert_eq!(changes(&connector).len(), said + 2, "{failed}: {:#?}", changes(&connector));
        connector.ready().await;
    }
    connector.end().await;
}

#[tokio::test]
async fn a_wrong_password_is_corrected_in_its_file() {
    let folder = std::env::temp_dir().join(unique("credentials"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("basic-auth-user"), "admin").unwrap();
    fs::write(folder.join("basic-auth-password"), "wrong").unwrap();
    let scene = Scene::new().await;
    let topic = scene.broker.topic("password", 1).await;
    scene.deploy("guarded", &topic);
    scene.gateway.set_credentials(Some(Credentials::new("admin", "right")));
    scene.broker.produce(&topic, Record::of("x")).await;
    let connector = scene
        .connector(&[&topic])
        .set("namespaces", DEFAULT_NAMESPACE)
        .set("basic_auth", "true")
        .set("secret_mount_path", folder.display().to_string())
        .start()
        .await;
    connector.not_ready("refuses the credentials").await;
    scene.gateway.wait_for_listings(5).await;
    assert_eq!(changes(&connector).len(), 1, "{:#?}", connector.lines());

    fs::write(folder.join("basic-auth-password"), "right\n").unwrap();
    connector.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    assert_eq!(changes(&connector).len(), 2, "{:#?}", connector.lines());
    connector.end().await;
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_stopped_gateway_costs_no_attempts() {
    let scene = Scene::new().await;
    let (topic, letters) =
        (scene.broker.topic("stopped", 1).await, scene.broker.topic("stopped-letters", 1).await);
    scene.deploy("patient", &topic);
    let launch = scene
        .connector(&[&topic])
        .set("dead_letter", format!("topic:{letters}"))
        .set("max_retry_attempts", "0");
    let connector = launch.ready().await;
    scene.gateway.stop().await;
    scene.broker.produce_all(&topic, (0..20).map(|n| Record::of(n.to_string()))).await;
    connector.not_ready("platform").await;
    scene.gateway.restart().await.expect("the port is still free");
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 20).await;
    connector.ready().await;
    assert_eq!(connector.metrics().await.came("delivered"), 20);
    assert_eq!(scene.broker.read(&letters).await, []);
    connector.end().await;
}
