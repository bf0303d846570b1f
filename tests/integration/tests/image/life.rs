//! What every image goes through, whatever its source.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use dev_gateway::{Calls, Config, DevGateway, Fault, Function};

use crate::container::{Container, Network, Run, size};
use crate::credentials;

/// How long a connector is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(60);
/// How many functions are mapped meanwhile, the one that is called included.
const FUNCTIONS: usize = 100;
/// How many events there are while the connector is stopped and killed.
const LOAD: usize = 300;
/// How long a call takes then: long enough that calls run at any moment.
const PACE: Duration = Duration::from_millis(40);

/// The gateway, at this port of the network, with a hundred functions, each bound by `bind`; `f`, the first, is to be called.
pub(crate) async fn gateway(
    network: &Network,
    port: u16,
    bind: impl Fn(Function, usize) -> Function,
) -> DevGateway {
    let listen = (network.host, port).into();
    let config = Config { listen, credentials: Some(credentials()), ..Config::default() };
    let gateway = DevGateway::start(config).await.expect("the network's own address is free");
    for n in 0..FUNCTIONS {
        let name = if n == 0 { "f".to_owned() } else { format!("f{n}") };
        gateway.deploy(bind(Function::named(&name), n).echo());
    }
    gateway
}

/// Starts the connector, which has one event waiting, waits for the call, and prints what that and idling takes.
pub(crate) async fn begin(run: &Run, gateway: &DevGateway) -> Container {
    let container = run.start().await;
    gateway.ledger().wait_for("the first event", |calls| calls.well().next().is_some()).await;
    let called =
        gateway.ledger().with(|calls| calls.iter().next().expect("it was called").started.wall_ns);
    let began = container.first_line().await.duration_since(UNIX_EPOCH).expect("clocks are right");
    let took = Duration::from_nanos(called).saturating_sub(began);
    tokio::time::sleep(IDLE).await;
    let (resident, anonymous) = container.memory().await;
    println!(
        "{:<16} image {:>5.1} MB, first event after {:>4} ms, idle {:>4.1} MiB resident, {:>3.1} of it anonymous",
        run.connector,
        mega(size(run.connector).await, 1e6),
        took.as_millis(),
        mega(resident, 1024.0 * 1024.0),
        mega(anonymous, 1024.0 * 1024.0),
    );
    container
}

/// Stops the connector under load, kills it under load, and sees to it that every event was answered well in the end.
///
/// `publish` brings payloads to the broker; `stopped` looks at the broker after the first stop.
pub(crate) async fn survive(
    run: &Run,
    container: Container,
    gateway: &DevGateway,
    publish: impl AsyncFn(&[String]),
    stopped: impl AsyncFn(),
) {
    gateway.fault("f", Fault::slow(PACE));
    let payloads: Vec<_> = (0..LOAD).map(|n| format!("event-{n}")).collect();
    publish(&payloads).await;
    answered(gateway, LOAD / 5).await;
    let code = container.stop().await;
    assert_eq!(code, 0, "SIGTERM drains");
    assert_eq!(gateway.ledger().running(), 0, "no call was cut");
    stopped().await;
    let once = gateway.ledger().with(repeated);
    assert_eq!(once, 0, "what had been answered well is not called again");

    let container = run.start().await;
    answered(gateway, LOAD * 3 / 5).await;
    assert_eq!(gateway.ledger().with(repeated), 0, "a stop repeats nothing");
    container.kill().await;

    let container = run.start().await;
    answered(gateway, LOAD).await;
    container.metrics().await.balance();
    let again = gateway.ledger().with(repeated);
    println!(
        "{:<16} {LOAD} events, stopped and killed on the way: none lost, {again} called again after the kill",
        run.connector
    );
    assert_eq!(container.stop().await, 0);
}

/// Waits until so many different events of the load have been answered well.
async fn answered(gateway: &DevGateway, events: usize) {
    let what = format!("{events} events answered well");
    gateway.ledger().wait_for(&what, |calls| by_payload(calls).len() >= events).await;
}

/// How often each payload of the load was answered well.
fn by_payload(calls: &Calls) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for call in calls.of("f").filter(|call| call.answered_well()) {
        let payload = call.text();
        if payload.starts_with("event-") {
            *times.entry(payload).or_default() += 1;
        }
    }
    times
}

fn repeated(calls: &Calls) -> usize {
    by_payload(calls).values().map(|times| times - 1).sum()
}

#[expect(clippy::cast_precision_loss, reason = "sizes are small enough")]
fn mega(bytes: u64, unit: f64) -> f64 {
    bytes as f64 / unit
}
