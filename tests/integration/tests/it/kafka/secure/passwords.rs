//! Passwords that are wrong, and that change.

use dev_gateway::Function;
use dev_gateway::Reply;

use super::listeners::{
    Listener, PASSWORD, Secrets, Secured, USER, another_attempt, complaints, delivers, restarts,
};

#[tokio::test]
async fn a_wrong_password_is_told_of_once_and_corrected_in_its_file() {
    let secured = Secured::shared().await;
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let (scene, secrets) = (secured.scene().await, Secrets::new());
        let topic = scene.broker.topic("password", 1).await;
        scene.deploy("guest", &topic);
        let launch = secured.connector(&scene, Listener::Sasl, &[&topic]);
        let launch = secrets.login(launch, USER, "off-with-his-head");
        let connector = launch.set("sasl_mechanism", mechanism).start().await;
        connector.not_ready("the broker refuses the credentials").await;
        // Refused more than once by now, or soon: the reason stays one line.
        another_attempt(&connector).await;
        assert_eq!(complaints(&connector, "broker"), 1, "{:#?}", connector.lines());

        secrets.write("password", PASSWORD);
        connector.ready().await;
        delivers(&scene, &topic, "guest").await;
        let ended = connector.end().await;
        for secret in [PASSWORD, "off-with-his-head"] {
            assert!(!ended.lines.join("\n").contains(secret), "{:#?}", ended.lines);
        }
    }
}

#[tokio::test]
async fn a_password_that_changes_at_the_broker_is_followed() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    let topic = scene.broker.topic("rotated", 1).await;
    let letters = scene.broker.topic("rotated-letters", 1).await;
    scene.deploy("guest", &topic);
    scene
        .gateway
        .deploy(Function::named("picky").topic(&topic).handler(|_| async { Reply::status(400) }));
    secured.set_password("SCRAM-SHA-256", "rotating", "first").await;
    let launch = secured.connector(&scene, Listener::Sasl, &[&topic]);
    let connector = secrets
        .login(launch, "rotating", "first")
        .set("sasl_mechanism", "SCRAM-SHA-256")
        .set("dead_letter", format!("topic:{letters}"))
        .ready()
        .await;
    delivers(&scene, &topic, "guest").await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;

    // Felt when the broker wants the next proof, within the session that the listener grants.
    secured.set_password("SCRAM-SHA-256", "rotating", "second").await;
    connector.not_ready("the broker refuses the credentials").await;
    secrets.write("password", "second");
    connector.ready().await;
    delivers(&scene, &topic, "guest").await;
    // The producer of dead letters has connections of its own.
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 2).await;
    assert_eq!(scene.broker.read(&letters).await.len(), 2);
    assert_eq!(restarts(&connector.metrics().await), 0, "the session went on");
    connector.end().await;
}
