//! Three replicas share a subscription, at both brokers.

use std::collections::HashMap;
use std::time::Duration;

use dev_gateway::{Calls, DevGateway, Fault, Function};

use crate::support::{Broker, Connector, PUBACK, Setup, WINDOW, gateway, wait_until};

const TOPICS: usize = 50;
const MESSAGES: usize = 10_000;

async fn function() -> DevGateway {
    let gateway = gateway().await;
    gateway.deploy(Function::named("f").topic("t/+"));
    gateway
}

/// What replica `number` is started with: the name of a StatefulSet's pod.
fn replica(broker: &Broker, gateway: &DevGateway, id: &str, number: usize) -> Setup {
    Setup::new(&broker.url(), gateway)
        .with("topic", "$share/group/t/#")
        .with("protocol_version", "5")
        .with("id", id)
        .with("replica", &format!("mqtt-connector-{number}"))
        .with("function_concurrency", "32")
        .with("print_response", "false")
}

/// Publishes messages `from..to`, all topics at the same time.
fn publish(broker: &Broker, from: usize, to: usize) {
    std::thread::scope(|scope| {
        for topic in 0..TOPICS {
            let numbers = (from..to).filter(|number| number % TOPICS == topic);
            let lines: Vec<_> = numbers.map(|number| number.to_string()).collect();
            scope.spawn(move || broker.publish_lines(&format!("t/{topic}"), &lines, &["-q", "1"]));
        }
    });
}

/// How often each message was answered well.
fn times(calls: &Calls) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for call in calls.well() {
        *times.entry(call.text()).or_default() += 1;
    }
    times
}

async fn wait_for_all(gateway: &DevGateway, replicas: &[Connector; 3]) {
    let answered = || gateway.ledger().with(|calls| times(calls).len());
    let account = || format!("{} answered\n{}", answered(), replicas[0].log());
    // On a busy machine so many take longer than a state is waited for elsewhere.
    for part in 1..=10 {
        let reached = || answered() >= part * MESSAGES / 10;
        wait_until(&format!("{part} tenths are answered"), reached, account).await;
    }
    for replica in replicas {
        replica.wait_for_metric("tributary_events_in_flight", 0).await;
        replica.check_books();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_goes_to_one_of_three_and_each_gets_its_share() {
    for kind in ["mosquitto", "hivemq"] {
        let broker = Broker::roomy(kind);
        let gateway = function().await;
        let id = crate::support::unique("shared");
        let setups = [0, 1, 2].map(|number| replica(&broker, &gateway, &id, number));
        let [a, b, c] = &setups;
        let replicas = [a.ready().await, b.ready().await, c.ready().await];
        publish(&broker, 0, MESSAGES);
        wait_for_all(&gateway, &replicas).await;
        gateway.ledger().with(|calls| {
            assert_eq!(calls.begun(), MESSAGES as u64, "each is called once");
        });
        let shares = replicas.each_ref().map(|it| it.metric("tributary_events_received_total"));
        println!("{kind}: {shares:?}");
        assert_eq!(shares.iter().sum::<u64>(), MESSAGES as u64, "each is delivered once");
        // HiveMQ gives to the next one only what the first cannot take.
        let least = if kind == "mosquitto" { MESSAGES as u64 / 5 } else { 0 };
        assert!(shares.iter().all(|&share| share >= least), "{kind}: {shares:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_that_is_killed_and_comes_back_under_its_id_loses_nothing() {
    for kind in ["mosquitto", "hivemq"] {
        let broker = Broker::roomy(kind);
        let gateway = function().await;
        let slow = Fault::none().delay_between(Duration::from_millis(5), Duration::from_millis(15));
        gateway.fault("f", slow);
        let id = crate::support::unique("shared");
        let setups = [0, 1, 2].map(|number| replica(&broker, &gateway, &id, number));
        let [a, b, c] = &setups;
        let mut replicas = [a.ready().await, b.ready().await, c.ready().await];
        publish(&broker, 0, MESSAGES / 2);
        let busy = |calls: &Calls| calls.well().count() >= 1_000 && calls.running() >= 10;
        gateway.ledger().wait_for("ten calls to run", busy).await;
        let [first, killed, third] = replicas;
        killed.freeze().await;
        let unread = broker.unread() / PUBACK;
        killed.kill();
        // It is away while the others go on.
        publish(&broker, MESSAGES / 2, MESSAGES);
        replicas = [first, b.ready().await, third];
        wait_for_all(&gateway, &replicas).await;
        gateway.ledger().with(|calls| {
            let repeated = calls.well().count() - MESSAGES;
            println!("{kind}: {repeated} repeated");
            assert!(repeated <= WINDOW + unread, "{kind}: {repeated} repeated");
        });
    }
}
