//! Credentials and encryption: each refused first, and taken once the files are right.

use std::fs;

use dev_gateway::Function;

use crate::jwt::Operator;
use crate::pki::Authority;
use crate::support::{Connector, Server, directory, gateway, write};

/// Files that are wrong are told of as `why`; once `correct` has put them right they are used,
/// without a restart, and without a word of what is in them.
async fn heals(
    server: &Server,
    client: async_nats::ConnectOptions,
    env: &[(&str, &str)],
    why: &str,
    correct: impl FnOnce(),
) {
    let gateway = gateway([Function::named("f").topic("t").echo()]).await;
    let connector = Connector::start(&server.address(), &gateway, env);
    connector.until_unready(why).await;
    correct();
    connector.until_ready().await;
    connector.until_logged("subscribed").await;
    let client = client.connect(server.address()).await.unwrap();
    client.publish("t", "x".into()).await.unwrap();
    gateway.ledger().wait_for("the call", |calls| calls.of("f").count() == 1).await;
    for (name, file) in env.iter().filter(|(name, _)| name.ends_with("_file")) {
        for line in fs::read_to_string(file).unwrap().lines().filter(|line| line.len() > 6) {
            assert_eq!(connector.lines_with(line), 0, "the log tells what is in {name}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_the_corrected_one_used() {
    let server = Server::with("authorization { user: me, password: hunter2 }").await;
    let files = directory();
    let (user, password) = (write(&files, "user", "me\n"), write(&files, "password", "wrong\n"));
    let env = [("username_file", &*user), ("password_file", &*password)];
    let client = async_nats::ConnectOptions::with_user_and_password("me".into(), "hunter2".into());
    let correct = || drop(write(&files, "password", "hunter2\n"));
    heals(&server, client, &env, "authorization violation", correct).await;
}

#[tokio::test]
async fn a_wrong_token_is_told_and_the_corrected_one_used() {
    let server = Server::with("authorization { token: s3cr3t7 }").await;
    let files = directory();
    let token = write(&files, "token", "another");
    let client = async_nats::ConnectOptions::with_token("s3cr3t7".into());
    let correct = || drop(write(&files, "token", "s3cr3t7"));
    heals(&server, client, &[("token_file", &token)], "authorization violation", correct).await;
}

#[tokio::test]
async fn a_strangers_nkey_is_told_and_ours_used() {
    let (pair, stranger) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let users = format!("authorization {{ users: [ {{ nkey: \"{}\" }} ] }}", pair.public_key());
    let server = Server::with(&users).await;
    let files = directory();
    let seed = write(&files, "seed", &stranger.seed().unwrap());
    let client = async_nats::ConnectOptions::with_nkey(pair.seed().unwrap());
    let correct = || drop(write(&files, "seed", &pair.seed().unwrap()));
    heals(&server, client, &[("nkey_file", &seed)], "authorization violation", correct).await;
}

#[tokio::test]
async fn no_seed_at_all_is_told_and_a_seed_used() {
    let pair = nkeys::KeyPair::new_user();
    let users = format!("authorization {{ users: [ {{ nkey: \"{}\" }} ] }}", pair.public_key());
    let server = Server::with(&users).await;
    let files = directory();
    let seed = write(&files, "seed", "what?");
    let client = async_nats::ConnectOptions::with_nkey(pair.seed().unwrap());
    let correct = || drop(write(&files, "seed", &pair.seed().unwrap()));
    heals(&server, client, &[("nkey_file", &seed)], "holds no usable seed", correct).await;
}

#[tokio::test]
async fn credentials_of_another_account_are_told_and_ours_used() {
    let operator = Operator::new();
    let server = Server::with(&operator.configuration()).await;
    let files = directory();
    let creds = write(&files, "creds", &Operator::new().user());
    let client = async_nats::ConnectOptions::with_credentials(&operator.user()).unwrap();
    let correct = || drop(write(&files, "creds", &operator.user()));
    let env = [("credentials_file", &*creds)];
    heals(&server, client, &env, "authorization violation", correct).await;
}

#[tokio::test]
async fn a_file_that_holds_no_credentials_is_told_and_corrected() {
    let operator = Operator::new();
    let server = Server::with(&operator.configuration()).await;
    let files = directory();
    let creds = write(&files, "creds", "nothing of the kind\n");
    let client = async_nats::ConnectOptions::with_credentials(&operator.user()).unwrap();
    let correct = || drop(write(&files, "creds", &operator.user()));
    let env = [("credentials_file", &*creds)];
    heals(&server, client, &env, "is no credentials file", correct).await;
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
async fn a_strangers_authority_is_told_and_ours_used() {
    let (ours, stranger) = (Authority::new(), Authority::new());
    let server = Server::with(&ours.server_tls("")).await;
    let files = directory();
    let ca = write(&files, "ca.pem", &stranger.certificate());
    let correct = || drop(write(&files, "ca.pem", &ours.certificate()));
    let client = ours.client();
    heals(&server, client, &[("tls_ca_file", &ca)], "invalid peer certificate", correct).await;
}

#[tokio::test]
async fn a_strangers_certificate_is_told_and_ours_used() {
    let (ours, stranger) = (Authority::new(), Authority::new());
    let server = Server::with(&ours.server_tls("verify: true")).await;
    let files = directory();
    let replace = |pair: (String, String)| {
        (write(&files, "cert.pem", &pair.0), write(&files, "key.pem", &pair.1))
    };
    let (cert, key) = replace(stranger.issue("client"));
    let ca = write(&files, "ca.pem", &ours.certificate());
    let env = [("tls_ca_file", &*ca), ("tls_cert_file", &*cert), ("tls_key_file", &*key)];
    let correct = || drop(replace(ours.issue("client")));
    heals(&server, ours.client_with_certificate(), &env, "UnknownCA", correct).await;
}

#[tokio::test]
async fn encryption_may_begin_before_the_greeting() {
    let (ours, stranger) = (Authority::new(), Authority::new());
    let server = Server::with(&ours.server_tls("handshake_first: true")).await;
    let files = directory();
    let ca = write(&files, "ca.pem", &stranger.certificate());
    let correct = || drop(write(&files, "ca.pem", &ours.certificate()));
    let env = [("tls_ca_file", &*ca), ("tls_first", "true")];
    let client = ours.client().tls_first();
    heals(&server, client, &env, "invalid peer certificate", correct).await;
}

#[tokio::test]
async fn a_server_without_encryption_is_refused_where_it_is_required() {
    let server = Server::start().await;
    let gateway = gateway([]).await;
    let connector = Connector::start(&server.address(), &gateway, &[("tls", "true")]);
    connector.until_unready("broker").await;
    assert_eq!(connector.lines_with("INFO well subject=broker"), 0);
}
