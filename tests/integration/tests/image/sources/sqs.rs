//! SQS, by ElasticMQ behind a door that speaks HTTPS.

use super::{BROKER, GATEWAY_PORT, on_topic, run};
use crate::broker::Broker;
use crate::container::Network;
use crate::door::Door;
use crate::life::{begin, gateway, survive};
use crate::trust::Chain;

/// How many messages one request may bring.
const BATCH: usize = 10;

pub(crate) async fn sqs() {
    let (network, chain) = (Network::create().await, Chain::of(BROKER));
    let broker = Broker::up("elasticmq", &[]).await;
    let _door =
        Door::open((network.host, 9324).into(), broker.address.clone(), Some(chain.server())).await;
    let gateway = gateway(&network, GATEWAY_PORT, on_topic).await;
    broker.tool(&["CreateQueue", "QueueName=orders"], "").await;
    let credentials = "[default]\naws_access_key_id = x\naws_secret_access_key = x\n";
    let run = run("sqs-connector", &network, &chain)
        .mount(&chain.file("aws-sqs-credentials", credentials), "/run/secrets/aws-sqs-credentials")
        .set("AWS_SHARED_CREDENTIALS_FILE", "/run/secrets/aws-sqs-credentials")
        .set("AWS_DEFAULT_REGION", "eu-west-1")
        .set("queue_url", format!("https://{BROKER}:9324/000000000000/orders"));

    let publish = async |payloads: &[String]| {
        for batch in payloads.chunks(BATCH) {
            send(&broker.address, batch).await;
        }
    };
    publish(&["first".to_owned()]).await;
    let container = begin(&run, &gateway).await;
    survive(&run, container, &gateway, publish, async || ()).await;
}

/// Payloads of letters, digits and dashes.
async fn send(address: &str, payloads: &[String]) {
    let mut url =
        format!("http://{address}/000000000000/orders?Action=SendMessageBatch&Version=2012-11-05");
    for (payload, n) in payloads.iter().zip(1..) {
        let entry = format!("&SendMessageBatchRequestEntry.{n}");
        url += &format!("{entry}.Id={n}{entry}.MessageBody={payload}");
    }
    let answer = reqwest::get(url).await.expect("the broker answers");
    let text = answer.text().await.expect("the answer is text");
    assert_eq!(text.matches("<SendMessageBatchResultEntry>").count(), payloads.len(), "{text}");
}
