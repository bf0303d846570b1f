//! The answer to a publisher that waits for one (MQTT 5, section 4.10).
//!
//! It goes out at QoS 0 over the session's own connection, before the PUBACK of the question: the
//! two travel in order, so a question whose answer was lost with the connection is asked again.

use bytes::Bytes;
use connector_core::lane::Reply;

use crate::client::{Gone, PublishProperties};
use crate::config::QualityOfService;
use crate::link::Link;
use crate::message::ReplyTo;

/// The user property that tells the function's HTTP status.
const STATUS: &str = "X-Status";

/// More than everything in the packet beside topic, payload and correlation data.
const REST: usize = 1024;

/// Publishes an answer. One that the broker does not take for its size is sent without its body.
///
/// # Errors
/// The connection has ended.
pub(crate) async fn publish(link: &Link, to: &ReplyTo, reply: &Reply) -> Result<(), Gone> {
    let own = to.topic.len() + to.correlation_data.as_ref().map_or(0, Bytes::len) + REST;
    let mut body = reply.body.clone();
    let content_type = reply.content_type.as_deref().and_then(|it| std::str::from_utf8(it).ok());
    let mut properties = PublishProperties {
        correlation_data: to.correlation_data.clone(),
        content_type: content_type.filter(|it| it.len() < REST / 2).map(str::to_owned),
        user_properties: vec![(STATUS.to_owned(), reply.status.to_string())],
        ..PublishProperties::default()
    };
    if own + body.len() > link.accepted.largest {
        body = Bytes::new();
        let why = "the answer is larger than the broker's largest packet";
        properties.user_properties.push(("X-Error".to_owned(), why.to_owned()));
    }
    link.client.publish(&to.topic, QualityOfService::AtMostOnce, body, properties).await
}
