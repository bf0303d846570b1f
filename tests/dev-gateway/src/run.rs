//! Runs a function: echoes, answers, runs its command, or passes the request on to another server.
//!
//! What a command sees follows the classic watchdog: body on stdin, `Http_*` variables, stdout is the reply.

use std::error::Error;
use std::path::Path;
use std::process::{Output, Stdio};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::functions::{Behaviour, Function, Reply, Request};

type BoxError = Box<dyn Error + Send + Sync>;

pub(crate) struct Runner {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Runner {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    pub(crate) async fn run(&self, function: &Function, request: Request) -> Reply {
        match &function.behaviour {
            Behaviour::Echo => echo(request),
            Behaviour::Answer(reply) => reply.clone(),
            Behaviour::Handler(handler) => handler(request).await,
            Behaviour::Exec { command, directory } => {
                exec(function, command, directory, request).await
            }
            Behaviour::Upstream(url) => {
                self.pass_on(function, url, request).await.unwrap_or_else(|error| {
                    tracing::warn!(
                        error = &*error,
                        function = function.name,
                        url,
                        "the upstream did not answer"
                    );
                    let text = format!("Can't reach service for: {}.", function.name);
                    Reply::platform(StatusCode::INTERNAL_SERVER_ERROR, "proxy", text)
                })
            }
        }
    }

    /// Posts and waits for the end of the answer, whatever it is.
    pub(crate) async fn post(
        &self,
        url: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), BoxError> {
        let mut request = http::Request::post(url).body(Full::new(body))?;
        *request.headers_mut() = headers;
        // The body's own length is what counts, not that of a message which passed through here.
        request.headers_mut().remove(header::CONTENT_LENGTH);
        self.client.request(request).await?.into_body().collect().await?;
        Ok(())
    }

    async fn pass_on(
        &self,
        function: &Function,
        url: &str,
        request: Request,
    ) -> Result<Reply, BoxError> {
        let query =
            if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        let uri = Uri::try_from(format!("{url}{}{query}", request.path))
            .map_err(|error| format!("the upstream of {} is not a URL: {error}", function.name))?;
        let mut passed = http::Request::builder()
            .method(request.method)
            .uri(uri)
            .body(Full::new(request.body))?;
        *passed.headers_mut() = request.headers;
        passed.headers_mut().remove(header::HOST);
        passed.headers_mut().remove(header::CONTENT_LENGTH);
        let (head, body) = self.client.request(passed).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut headers = head.headers;
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
            headers.remove(name);
        }
        Ok(Reply { status: head.status, headers, body })
    }
}

fn echo(request: Request) -> Reply {
    let mut reply = Reply::text(request.body);
    if let Some(content_type) = request.headers.get(header::CONTENT_TYPE) {
        reply.headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    reply
}

async fn exec(function: &Function, command: &str, directory: &Path, request: Request) -> Reply {
    let content_type = match function.environment.get("content_type") {
        Some(content_type) => HeaderValue::from_str(content_type).ok(),
        None => request.headers.get(header::CONTENT_TYPE).cloned(),
    };
    let output = match output_of(function, command, directory, request).await {
        Ok(output) => output,
        Err(error) => {
            tracing::warn!(%error, function = function.name, command, "the command could not be run");
            let text = format!("the command could not be run: {error}");
            return Reply::platform(StatusCode::INTERNAL_SERVER_ERROR, "of-watchdog", text);
        }
    };
    if !output.status.success() {
        let mut text = output.stderr;
        if text.is_empty() {
            text = output.status.to_string().into_bytes();
        }
        return Reply::status(500).body(text);
    }
    let mut reply = Reply::text(output.stdout);
    if let Some(content_type) = content_type {
        reply.headers.insert(header::CONTENT_TYPE, content_type);
    }
    reply
}

async fn output_of(
    function: &Function,
    command: &str,
    directory: &Path,
    request: Request,
) -> std::io::Result<Output> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(directory)
        .envs(&function.environment)
        .envs(http_environment(&request))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command may end without reading its input: that is its own affair.
            _ = stdin.write_all(&request.body).await;
        }
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    output
}

/// The request as environment variables. The first value of a repeated header counts.
fn http_environment(request: &Request) -> Vec<(String, String)> {
    let mut environment = vec![
        ("Http_Method".to_owned(), request.method.to_string()),
        ("Http_Path".to_owned(), request.path.clone()),
        ("Http_Query".to_owned(), request.query.clone()),
        ("Http_ContentLength".to_owned(), request.body.len().to_string()),
    ];
    for name in request.headers.keys() {
        if let Some(value) = request.headers.get(name) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            environment.push((variable_name(name.as_str()), value));
        }
    }
    environment
}

/// `x-kafka-key` becomes `Http_X_Kafka_Key`.
fn variable_name(header: &str) -> String {
    let mut name = "Http".to_owned();
    for part in header.split('-') {
        name.push('_');
        let mut characters = part.chars();
        if let Some(first) = characters.next() {
            name.push(first.to_ascii_uppercase());
            name.push_str(characters.as_str());
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_spelt_as_the_watchdog_spells_them() {
        assert_eq!(variable_name("x-topic"), "Http_X_Topic");
        assert_eq!(variable_name("x-kafka-my-header"), "Http_X_Kafka_My_Header");
        assert_eq!(variable_name("host"), "Http_Host");
    }
}
