//! SQS: standard queues of ElasticMQ, which is slower than the connector by far. So there is nothing to learn from the
//! rate; processor time and memory are the connector's own.

use futures_util::future::join_all;
use integration::sqs::Queue;
use integration::{Gateway, Launch, script, unique};

use super::{Place, Sender, Source};

/// The most bytes of all messages of a request.
const LARGEST_REQUEST: usize = 250_000;

pub(crate) struct Sqs {
    name: String,
    endpoint: String,
}

impl Sqs {
    async fn queues(&self, place: &Place) -> Vec<Queue> {
        join_all(place.asked.split(',').map(|name| Queue::find(&self.endpoint, name))).await
    }
}

impl Source for Sqs {
    const NAME: &str = "sqs";
    const CONNECTOR: &str = "sqs";
    const TITLE: &str = "SQS";
    const WIDTHS: &str = "queues";
    const WIDTH: usize = 1;
    const EVENTS: u64 = 6_000;
    const MOST: u64 = 10_000;
    const LARGEST: usize = 100_000;
    const PACE: u64 = 100;
    const RECEIVES: &str = "consuming";

    type Sender = Sends;

    async fn start() -> Self {
        let name = unique("bench");
        let endpoint = format!("http://{}", script("elasticmq", "up", &name, [])["ADDRESS"]);
        Self { name, endpoint }
    }

    fn address(&self) -> String {
        self.endpoint.clone()
    }

    async fn place(&self, width: usize, _: &Gateway) -> Place {
        let mut names = Vec::new();
        for _ in 0..width {
            names.push(Queue::create(&self.endpoint, "bench", &[]).await.name);
        }
        Place { name: names[0].clone(), asked: names.join(","), width }
    }

    fn launch(&self, place: &Place) -> Launch {
        Launch::new("sqs")
            .set("endpoint_url", &self.endpoint)
            .set("topics", &place.asked)
            .set("AWS_ACCESS_KEY_ID", "key")
            .set("AWS_SECRET_ACCESS_KEY", "secret")
            .set("AWS_REGION", "eu-west-1")
    }

    async fn publish(&self, place: &Place, bytes: usize, count: u64) {
        let body = "x".repeat(bytes);
        let queues = self.queues(place).await;
        let fit = (LARGEST_REQUEST / bytes).max(1);
        let sends = queues.iter().enumerate().map(async |(turn, queue)| {
            // What does not divide evenly the first ones have.
            let mut missing = (count as usize + queues.len() - 1 - turn) / queues.len();
            while missing > 0 {
                let now = if fit < 10 { missing.min(fit) } else { missing };
                queue.send(&body, now).await;
                missing -= now;
            }
        });
        join_all(sends).await;
    }

    async fn sender(&self, place: &Place) -> Sends {
        Sends(self.queues(place).await.remove(0))
    }

    fn headers(&self, place: &Place) -> Vec<String> {
        let id = "f6a3a4a1-3f0c-4f5a-8a51-3c1d1a1f2b3c";
        vec![
            "Content-Type: text/plain".to_owned(),
            "X-Connector: sqs-connector".to_owned(),
            "X-Event-Attempt: 1".to_owned(),
            "X-SQS-Receive-Count: 1".to_owned(),
            "User-Agent: tributary-sqs-connector/0.1.0".to_owned(),
            format!("X-Topic: {}", place.name),
            format!("X-Event-Id: sqs:{id}"),
            format!("X-SQS-Message-ID: {id}"),
            format!("X-SQS-Queue-URL: {}/000000000000/{}", self.endpoint, place.name),
        ]
    }
}

impl Drop for Sqs {
    fn drop(&mut self) {
        script("elasticmq", "wipe", &self.name, []);
    }
}

pub(crate) struct Sends(Queue);

impl Sender for Sends {
    async fn send(&mut self, _: u64, payload: String) {
        let queue = self.0.clone();
        tokio::spawn(async move { queue.send(&payload, 1).await });
    }
}
