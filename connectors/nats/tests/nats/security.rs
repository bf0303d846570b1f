//! Credentials, permissions and encryption.

use std::fs;
use std::path::Path;

use dev_gateway::Function;

use crate::support::{Connector, Server, directory, gateway};

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn called_with(server: &Server, client: async_nats::Client, env: &[(&str, &str)]) {
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let connector = Connector::ready(server, &gateway, env).await;
    connector.until_logged("subscribed").await;
    client.publish("t", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
}

#[tokio::test]
async fn bad_credentials_are_told_and_a_corrected_file_is_used() {
    let server = Server::with("authorization { user: me, password: hunter2 }").await;
    let files = directory();
    let user = write(&files, "user", "me\n");
    let password = write(&files, "password", "wrong\n");
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let env = [("username_file", &*user), ("password_file", &*password)];
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("authorization violation").await;
    write(&files, "password", "hunter2\n");
    connector.until_ready().await;
    connector.until_logged("subscribed").await;
    let client = server.client_as("me", "hunter2").await;
    client.publish("t", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
    assert_eq!(connector.lines_with("hunter2"), 0);
}

#[tokio::test]
async fn a_missing_file_is_waited_for() {
    let server = Server::with("authorization { token: s3cr3t }").await;
    let files = directory();
    let token = files.join("token").to_str().unwrap().to_owned();
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let connector = Connector::start(&server.address(), &gateway, &[("token_file", &token)]);
    connector.until_unready("token_file").await;
    write(&files, "token", "s3cr3t");
    connector.until_ready().await;
}

#[tokio::test]
async fn credentials_that_change_at_the_server_are_followed_without_a_restart() {
    let mut server = Server::with("authorization { token: old }").await;
    let files = directory();
    let token = write(&files, "token", "old");
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let connector = Connector::ready(&server, &gateway, &[("token_file", &token)]).await;
    server.configure("authorization { token: new }");
    server.kill().await;
    server.up().await;
    connector.until_unready("authorization violation").await;
    write(&files, "token", "new");
    connector.until_ready().await;
    assert_eq!(connector.metric("tributary_source_restarts_total").await, 0);
}

#[tokio::test]
async fn an_nkey_proves_who_we_are() {
    let pair = nkeys::KeyPair::new_user();
    let users = format!(
        "authorization {{ users: [ {{ nkey: \"{}\" }}, {{ user: u, password: p }} ] }}",
        pair.public_key()
    );
    let server = Server::with(&users).await;
    let seed = write(&directory(), "seed", &pair.seed().unwrap());
    let client = server.client_as("u", "p").await;
    called_with(&server, client, &[("nkey_file", &seed)]).await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_the_others_go_on() {
    let denied = |what: &str| {
        format!(
            "authorization {{ users: [ {{ user: u, password: p, permissions: {{ subscribe: {{ deny: \"{what}\" }} }} }} ] }}"
        )
    };
    let server = Server::with(&denied("secret.>")).await;
    let files = directory();
    let (user, password) = (write(&files, "u", "u"), write(&files, "p", "p"));
    let functions =
        [Function::named("f").topic("t").echo(), Function::named("g").topic("secret.>").echo()];
    let gateway = gateway(functions).await;
    let env = [("username_file", &*user), ("password_file", &*password), ("topics", "t,secret.>")];
    let connector = Connector::start(&server.address(), &gateway, &env);
    connector.until_unready("Permissions Violation").await;
    let client = server.client_as("u", "p").await;
    client.publish("t", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the other topic", |calls| calls.of("f").count() == 1).await;

    server.configure(&denied("something.else"));
    server.reload().await;
    connector.until_ready().await;
    connector.until_logged("well again subject=\"subscription to secret.>\"").await;
    assert_eq!(
        connector.lines_with("not well subject=\"subscription"),
        1,
        "told once, not at each listing"
    );
    // The server has closed every connection whose permissions changed.
    let client = server.client_as("u", "p").await;
    client.publish("secret.x", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the topic", |calls| calls.of("g").count() == 1).await;
}

#[tokio::test]
async fn encrypted_and_with_certificates_on_both_sides() {
    let files = directory();
    let openssl = |args: &str| {
        let done = std::process::Command::new("openssl")
            .args(args.split(' '))
            .current_dir(&files)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca");
    fs::write(files.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
    for name in ["server", "client"] {
        openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile names"
        ));
    }
    let path = |name: &str| files.join(name).to_str().unwrap().to_owned();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let server = Server::with(&tls).await;
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = async_nats::ConnectOptions::new()
        .add_root_certificates(files.join("ca.pem"))
        .add_client_certificate(files.join("client.pem"), files.join("client.key"))
        .connect(format!("tls://{}", server.address()))
        .await
        .unwrap();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let env = [("tls_ca_file", &*ca), ("tls_cert_file", &*cert), ("tls_key_file", &*key)];
    called_with(&server, client, &env).await;

    let gateway = gateway([]).await;
    let connector = Connector::start(&server.address(), &gateway, &[("tls", "true")]);
    connector.until_unready("invalid peer certificate").await;
}
