//! The scripts of `tests/brokers`: a private broker is the one that was started, whoever else wants its port.
//!
//! Two checkouts on one machine choose among the same ports and share no lock, so somebody else may come to a port after
//! it was found free and before our broker listens there.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use integration::{root, unique};

/// A kind of broker that tells the test its port before it starts, and waits for a line in return, while the test listens.
const CONTESTED: &str = r#"
set -euo pipefail
kind=contested default_port=21000 port_step=1 start_timeout=30
broker_fetch() { :; }
broker_prepare() {
  { exec {test}<>"/dev/tcp/127.0.0.1/$TEST_PORT"; } 2>/dev/null || return 0
  echo "$port" >&"$test"
  read -r _ <&"$test"
  exec {test}>&-
}
broker_command() { command=(python3 -m http.server --bind 127.0.0.1 "$port"); }
broker_answers() { (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }
source tests/brokers/broker.sh
broker_main "$@"
"#;

fn script(verb: &str, name: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", CONTESTED, "contested.sh", verb, "--name", name]).current_dir(root());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs an `up` whose port somebody else takes at the last moment; what the script said, and who has the port.
fn up_beaten(up: &mut Command) -> (Output, TcpListener) {
    let told = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let told_at = told.local_addr().expect("it is bound").port();
    let up = up.env("TEST_PORT", told_at.to_string()).spawn().expect("the script can be run");
    let (mut broker, _) = told.accept().expect("the script connects");
    let mut line = String::new();
    BufReader::new(&broker).read_line(&mut line).expect("it tells its port");
    let port: u16 = line.trim().parse().expect("a port");
    let other = TcpListener::bind(("127.0.0.1", port)).expect("nobody listens there yet");
    drop(told);
    broker.write_all(b"go on\n").expect("the script reads");
    (up.wait_with_output().expect("the script ends"), other)
}

fn port_of(other: &TcpListener) -> u16 {
    other.local_addr().expect("it is bound").port()
}

#[test]
fn a_private_broker_that_is_beaten_to_its_port_takes_another_one() {
    let name = unique("beaten");
    let (up, other) = up_beaten(&mut script("up", &name));
    let answer = String::from_utf8_lossy(&up.stdout);
    let wiped = script("wipe", &name).output().expect("the script can be run");

    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert!(answer.contains("STATE=running\n"), "{answer}");
    assert!(!answer.contains(&format!("PORT={}\n", port_of(&other))), "{answer}");
    assert!(wiped.status.success(), "{}", String::from_utf8_lossy(&wiped.stderr));
}

/// Its clients know the port already: there is no other one to take.
#[test]
fn a_private_broker_that_is_beaten_to_the_port_it_was_given_says_so() {
    let name = unique("given");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = port_of(&free).to_string();
    drop(free);
    let (up, _other) = up_beaten(script("up", &name).args(["--port", &port]));
    let complaint = String::from_utf8_lossy(&up.stderr);
    let wiped = script("wipe", &name).output().expect("the script can be run");

    assert_eq!(up.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(&format!("port {port} is taken by another process")), "{complaint}");
    assert!(wiped.status.success(), "{}", String::from_utf8_lossy(&wiped.stderr));
}
