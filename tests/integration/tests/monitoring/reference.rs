//! The reference of metrics: as the connectors print it, and as they are scraped.

use std::collections::{BTreeMap, BTreeSet};

use dev_gateway::{Config, DevGateway, Fault, Function};
use golden::golden;
use integration::{Connector, Launch};

/// Every kind of connector.
const KINDS: [&str; 5] = ["cron", "kafka", "mqtt", "nats", "sqs"];

const SHARED: &str = "## Metrics of every connector\n";

/// What a connector prints of its own metrics, and of those that all have.
async fn printed(kind: &str) -> (String, String) {
    let launch = Launch::new(kind).unset("admin_port").argument("--metric-reference");
    let ended = launch.run().await;
    assert_eq!((ended.code, ended.stderr()), (Some(0), String::new()));
    let text = ended.stdout();
    let (own, shared) = text.split_once(SHARED).expect("both parts are printed");
    (own.to_owned(), shared.to_owned())
}

#[tokio::test]
async fn golden_metrics() {
    let mut text = "# Metrics\n\n\
        Generated from the connectors: `make bless` writes it anew. `--metric-reference` prints the part of one.\n\n\
        All are on `/metrics` of the admin port, as OpenMetrics. A histogram has `_bucket`, `_sum` and `_count` behind its name.\n\
        What a label can be is bounded: outcomes and reasons are closed sets, functions those that are called, topics, queues, \
        streams and consumers those that are consumed. [monitoring.md](monitoring.md) has a dashboard and alerts.\n\n"
        .to_owned();
    let (_, shared) = printed(KINDS[0]).await;
    text += &format!("{SHARED}{shared}");
    for kind in KINDS {
        let (own, same) = printed(kind).await;
        assert_eq!(same, shared, "{kind} has the metrics that all have");
        text += &format!("\n{}\n", own.trim());
    }
    golden("docs/metrics.md", &text);
}

/// The labels of each metric by the reference, and which kind it is.
async fn described(kind: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let (own, shared) = printed(kind).await;
    let rows = [own, shared].concat();
    let rows = rows.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        let labels = cells[4].split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        (name, (cells[2].to_owned(), labels))
    })
    .collect()
}

/// The metrics of a page: the names and kinds that it announces, and each sample's labels.
fn on_the_page(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found = BTreeMap::new();
    let mut now = String::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')) {
            now = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            found.insert(now.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
            let names = labels
                .into_iter()
                .flat_map(|(labels, _)| labels.split("=\""))
                .map(|part| part.rsplit(['"', ',']).next().unwrap_or_default().to_owned());
            let entry = found.get_mut(&now).expect("a sample is announced");
            entry.1.extend(names.filter(|name| !name.is_empty() && name != "le"));
        }
    }
    found
}

/// Compares the page of a running connector with the reference: whatever is on the page stands
/// there with its kind and its labels. What is there without ever having been counted is a family
/// without members yet.
pub(crate) async fn is_described(kind: &str, connector: &Connector) -> BTreeSet<String> {
    let described = described(kind).await;
    let page = on_the_page(&connector.page("/metrics").await.1);
    for (name, (kind, labels)) in &page {
        let (its_kind, its_labels) =
            described.get(name).unwrap_or_else(|| panic!("{name} is not in the reference"));
        assert_eq!(kind, its_kind, "{name}");
        assert_eq!(labels, its_labels, "{name}");
    }
    described.into_keys().filter(|name| !page.contains_key(name)).collect()
}

#[tokio::test]
async fn the_reference_is_what_is_scraped() {
    let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
    gateway
        .deploy(Function::named("work").topic("cron-function").annotation("schedule", "@every 1s"));
    gateway.fault("work", Fault::status(500).times(1));
    let cron = Launch::new("cron").set("gateway_url", gateway.url()).ready().await;
    let called = |metrics: &integration::metrics::Metrics| {
        metrics.came("dropped") > 0 && metrics.came("delivered") > 0
    };
    cron.metrics_until("a drop and a good answer", called).await;
    let unseen = is_described("cron", &cron).await;
    // Nothing was stored: there is no destination.
    assert_eq!(unseen, BTreeSet::from(["tributary_dead_letters_total".to_owned()]));
    cron.end().await;
}

#[test]
fn labels_are_read_from_a_page() {
    let page = "# TYPE a counter\na_total{x=\"1,2\",y=\"z=\\\"q\"} 3\n# TYPE b histogram\nb_bucket{le=\"1\"} 0\n";
    let found = on_the_page(page);
    assert_eq!(found["a_total"].1, ["x", "y"].map(str::to_owned).into());
    assert!(found["b"].1.is_empty());
}
