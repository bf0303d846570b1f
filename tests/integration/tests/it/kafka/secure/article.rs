//! The service of "The Event-Driven Edge with OpenFaaS", word for word.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dev_gateway::{Credentials, Function, Reply};
use integration::{Launch, Record};

use super::listeners::{Listener, PASSWORD, Secrets, Secured, USER};

/// The environment, as the article's compose file has it.
const ENVIRONMENT: &str = "
      - gateway_url=http://gateway:8080
      - topics=user.signup
      - print_response=true
      - print_response_body=true
      - print_request_body=false
      - asynchronous_invocation=false
      - basic_auth=true
      - secret_mount_path=/run/secrets
      - broker_host=pkc-5r697.europe-west1.gcp.confluent.cloud:9092
      - upstream_timeout=2m
      - rebuild_interval=30s
      - content_type=text/plain
      - group=faas-group-1
      - log_sessions=true
      - max_bytes=1048576
      - initial_offset=oldest
";

/// And its arguments, behind the program.
const COMMAND: &str = r#"
      - "-license-file=/run/secrets/openfaas-license"
      - "-username-file=/run/secrets/broker-username"
      - "-password-file=/run/secrets/broker-password"
      - "-tls"
"#;

const GATEWAY_PASSWORD: &str = "curiouser-and-curiouser";

/// The items of a list in YAML.
fn items(yaml: &str) -> impl Iterator<Item = &str> {
    yaml.lines().filter_map(|line| Some(line.trim().strip_prefix("- ")?.trim_matches('"')))
}

#[tokio::test]
async fn the_articles_service_works_as_it_is_written() {
    let secured = Secured::shared().await;
    let (scene, secrets) = (secured.scene().await, Secrets::new());
    scene.gateway.set_credentials(Some(Credentials::new("admin", GATEWAY_PASSWORD)));
    scene.broker.create_topic("user.signup", 1, &[]).await;
    // As its handler renders the template.
    scene.gateway.deploy(Function::named("user-fn").topic("user.signup").handler(
        |request| async move {
            let user: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            let field = |name: &str| user[name].to_string().replace('"', "");
            let [id, time, gender] = ["userid", "registertime", "gender"].map(field);
            Reply::text(format!("User: {id} Time: {time} Gender: {gender}"))
        },
    ));
    // Each ends in a newline, as `echo` writes it.
    secrets.write("basic-auth-user", "admin");
    secrets.write("basic-auth-password", GATEWAY_PASSWORD);
    secrets.write("openfaas-license", "none");
    secrets.write("broker-username", USER);
    secrets.write("broker-password", PASSWORD);

    // What the containers' network and mounts would do.
    let here = |text: &str| {
        text.replace("http://gateway:8080", &scene.gateway.url())
            .replace(
                "pkc-5r697.europe-west1.gcp.confluent.cloud:9092",
                &secured.broker.listener(Listener::SaslTls as u16),
            )
            .replace("/run/secrets", &secrets.folder())
    };
    // A public authority has signed the article's broker: ours is made one, as on any machine.
    let launch = Launch::new("kafka").set("SSL_CERT_FILE", secured.ca_file());
    let launch = items(ENVIRONMENT).fold(launch, |launch, item| {
        let (name, value) = item.split_once('=').expect("name=value");
        launch.set(name, here(value))
    });
    let launch = items(COMMAND).fold(launch, |launch, argument| launch.argument(here(argument)));
    let connector = launch.ready().await;

    let record = r#"{"registertime":1493819497170,"userid":"User_4","regionid":"Region_5","gender":"FEMALE"}"#;
    scene.broker.produce("user.signup", Record::of(record)).await;
    let line = connector.line("[200] user.signup => user-fn").await;
    connector.line("User: User_4 Time: 1493819497170 Gender: FEMALE").await;
    let call = scene.gateway.ledger().calls().pop().expect("it was called");
    assert_eq!(
        (call.text().as_str(), call.header("content-type")),
        (record, Some("text/plain")),
        "{line}"
    );
    scene.broker.wait_for_commit("faas-group-1", "user.signup", 0, 1).await;

    let log = connector.end().await.lines.join("\n");
    assert!(log.contains("partitions assigned"), "log_sessions: {log}");
    assert!(!log.contains(record), "print_request_body: {log}");
    for secret in [PASSWORD, GATEWAY_PASSWORD] {
        assert!(!log.contains(secret), "{log}");
        assert!(!log.contains(&STANDARD.encode(secret)), "{log}");
    }
    let license = fs::read_to_string(secrets.path("openfaas-license")).expect("it was written");
    assert_eq!(license, "none\n", "nobody has touched it");
}
