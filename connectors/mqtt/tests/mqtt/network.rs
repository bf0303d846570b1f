//! Ways to the broker: credentials, encryption, names, brokers that come late.

use std::path::Path;
use std::process::Command;

use dev_gateway::{Config, DevGateway, Function, HeldPort};

use crate::support::{Broker, Setup, folder, gateway, wait_until};

async fn echo() -> DevGateway {
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("t"));
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_not_ready_and_the_right_one_is_found_in_the_file() {
    for version in ["4", "5"] {
        let folder = folder();
        let passwords = folder.join("passwords");
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c", passwords.to_str().unwrap(), "edge", "right"])
            .status()
            .unwrap();
        assert!(made.success());
        let setting = format!("password_file {}", passwords.display());
        let broker = Broker::mosquitto(&["allow_anonymous false", &setting]);
        let file = folder.join("password");
        std::fs::write(&file, "wrong\n").unwrap();
        let gateway = echo().await;
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topic", "t")
            .with("protocol_version", version)
            .with("user", "edge")
            .with("password_file", file.to_str().unwrap());
        let connector = setup.start();
        connector.wait_unready("the broker refuses the connection").await;
        std::fs::write(&file, "right\n").unwrap();
        connector.wait_ready().await;
        let log = connector.log();
        assert!(!log.contains("wrong") && !log.contains("right"), "{log}");
        broker.publish("t", "x", &["-q", "1", "-u", "edge", "-P", "right"]);
        gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
    }
}

/// An authority, and a certificate of it for `name`: the paths of both and of the key.
fn certificates(folder: &Path, name: &str) -> [String; 3] {
    let path = |file: &str| folder.join(file).to_str().unwrap().to_owned();
    let (ca, ca_key) = (path("ca.pem"), path("ca.key"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    if !Path::new(&ca).exists() {
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test authority",
            "-keyout",
            &ca_key,
            "-out",
            &ca,
        ]);
    }
    let [request, key, certificate, extensions] =
        ["csr", "key", "crt", "ext"].map(|kind| path(&format!("{name}.{kind}")));
    std::fs::write(&extensions, format!("subjectAltName=DNS:{name}\n")).unwrap();
    let subject = format!("/CN={name}");
    openssl(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        &subject,
        "-keyout",
        &key,
        "-out",
        &request,
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        &extensions,
        "-out",
        &certificate,
    ]);
    [ca, certificate, key]
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_an_authority_and_a_client_certificate_of_ones_own() {
    let folder = folder();
    let [ca, certificate, key] = certificates(&folder, "localhost");
    let [_, own, own_key] = certificates(&folder, "edge");
    let broker = Broker::mosquitto(&[
        "listener @PORT@ 127.0.0.1",
        &format!("cafile {ca}"),
        &format!("certfile {certificate}"),
        &format!("keyfile {key}"),
        "require_certificate true",
        "use_identity_as_username true",
    ]);
    for version in ["4", "5"] {
        let gateway = echo().await;
        let url = format!("ssl://localhost:{}", broker.port);
        let setup = Setup::new(&url, &gateway)
            .with("topic", "t")
            .with("protocol_version", version)
            .with("ca_file", &ca)
            .with("cert_file", &own)
            .with("key_file", &own_key);
        let connector = setup.ready().await;
        let publish = ["--cafile", &ca, "--cert", &own, "--key", &own_key, "-h", "localhost"];
        broker.publish("t", "x", &[&publish[..], &["-q", "1"]].concat());
        gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
        assert_eq!(connector.stop().await, 0);

        // An authority that is not trusted, and a name that the certificate does not have.
        let [other, ..] = certificates(&crate::support::folder(), "localhost");
        let stranger = setup.with("ca_file", &other).start();
        stranger.wait_unready("TLS").await;
    }
    let gateway = echo().await;
    let misnamed = Setup::new(&format!("ssl://127.0.0.1:{}", broker.port), &gateway)
        .with("topic", "t")
        .with("ca_file", &ca)
        .with("cert_file", &own)
        .with("key_file", &own_key)
        .start();
    misnamed.wait_unready("TLS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets() {
    let [ca, certificate, key] = certificates(&folder(), "localhost");
    let (plain, encrypted) = (HeldPort::free(), HeldPort::free());
    let broker = Broker::mosquitto(&[
        "listener @PORT@ 127.0.0.1",
        &format!("listener {} 127.0.0.1", plain.port()),
        "protocol websockets",
        &format!("listener {} 127.0.0.1", encrypted.port()),
        "protocol websockets",
        &format!("certfile {certificate}"),
        &format!("keyfile {key}"),
    ]);
    let ways = [
        (format!("ws://{}/mqtt", plain.address()), None),
        (format!("wss://localhost:{}/mqtt", encrypted.port()), Some(&ca)),
    ];
    for version in ["4", "5"] {
        for (url, ca_file) in &ways {
            let gateway = echo().await;
            let mut setup =
                Setup::new(url, &gateway).with("topic", "t").with("protocol_version", version);
            if let Some(ca_file) = ca_file {
                setup = setup.with("ca_file", ca_file);
            }
            let connector = setup.ready().await;
            broker.publish("t", "x", &["-q", "1"]);
            gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
            assert_eq!(connector.stop().await, 0);
        }
    }
}

/// Started before its broker and its gateway, with a name that does not resolve at first.
#[tokio::test(flavor = "multi_thread")]
async fn it_starts_first_and_recovers() {
    let hosts = folder().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let mut broker = Broker::mosquitto(&[]);
    broker.down();
    let port = HeldPort::free();
    let listen = port.address();
    let unborn = gateway().await;
    let setup = Setup::new(&format!("tcp://the-broker:{}", broker.port), &unborn)
        .with("topic", "t")
        .with("gateway_url", &format!("http://{listen}"))
        // A hosts file of its own.
        .by(&[
            "unshare",
            "-rm",
            "sh",
            "-c",
            "mount --bind $0 /etc/hosts && exec $1",
            hosts.to_str().unwrap(),
        ]);
    let connector = setup.start();
    connector.wait_unready("gateway").await;
    let config = Config { listen, ..Config::default() };
    let gateway = DevGateway::start(config).await.unwrap();
    gateway.deploy(Function::named("f").topic("t"));
    connector.wait_unready("broker").await;
    // In place: the file is mounted.
    let resolves = "127.0.0.1 localhost the-broker\n";
    let unresolved = || connector.metric("tributary_source_restarts_total") >= 2;
    wait_until("attempts at the name", unresolved, || connector.log()).await;
    std::fs::write(&hosts, resolves).unwrap();
    broker.restart();
    connector.wait_ready().await;
    broker.publish("t", "x", &["-q", "1"]);
    gateway.ledger().wait_for("the call", |calls| calls.well().count() == 1).await;
    let about_the_broker =
        connector.log().lines().filter(|line| line.contains("subject=broker")).count();
    assert!(about_the_broker <= 3, "{}", connector.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_filter_disturbs_no_other() {
    for version in ["4", "5"] {
        let off =
            "<mqtt><shared-subscriptions><enabled>false</enabled></shared-subscriptions></mqtt>";
        let broker = Broker::start("hivemq", &[off]);
        let gateway = echo().await;
        let setup = Setup::new(&broker.url(), &gateway)
            .with("topics", "$share/g/s,t")
            .with("protocol_version", version);
        gateway.deploy(Function::named("g").topic("s"));
        let connector = setup.start();
        connector.wait_unready("filter $share/g/s").await;
        connector.wait_for_metric("tributary_mqtt_refused_filters", 1).await;
        wait_until(
            "the other is subscribed",
            || connector.metric("tributary_mqtt_sessions") == 1,
            || connector.log(),
        )
        .await;
        for number in 0..20 {
            broker.publish("t", &number.to_string(), &["-q", "1"]);
        }
        gateway.ledger().wait_for("all", |calls| calls.well().count() == 20).await;
        assert!(connector.readiness().starts_with("503"));
        assert_eq!(connector.metric("tributary_source_restarts_total"), 0, "{}", connector.log());
        assert_eq!(gateway.ledger().calls().len(), 20);
        connector.check_books();
    }
}
