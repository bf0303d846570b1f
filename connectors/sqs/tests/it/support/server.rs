//! HTTP servers within a test.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Answers what comes. An error of `answer` closes the connection instead.
pub(crate) async fn serve<A, E>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> A + Send + Sync + 'static,
) -> Infallible
where
    A: Future<Output = Result<Response<Full<Bytes>>, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request));
            let http = hyper::server::conn::http1::Builder::new();
            // A closed connection is what some tests want.
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}
