//! What a function is here: the name, annotations and labels the gateway lists, and how the function answers.
//!
//! The catalog holds every function by its qualified name `name.namespace`. It does not run them (`run`) and does not
//! read stack files (`stack`); it only keeps apart which functions came from the file and which from the API, so that
//! re-reading the file replaces its own functions alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// The namespace of a function whose name carries none.
pub const DEFAULT_NAMESPACE: &str = "openfaas-fn";

/// One function: what the gateway lists of it, and how it answers.
#[derive(Clone, Debug)]
pub struct Function {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) image: String,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) behaviour: Behaviour,
    pub(crate) created_at: jiff::Timestamp,
}

/// How a function answers a call.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// 200, the request's body and content type.
    Echo,
    /// Always the same reply.
    Answer(Reply),
    /// A command run once per request, as the classic watchdog does it.
    Exec { command: String, directory: PathBuf },
    /// Another HTTP server, the request's sub-path appended to its URL.
    Upstream(String),
    /// A closure of the test's.
    Handler(Handler),
}

type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A call as the function sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// The path below the function's own, `/` when there is none.
    pub path: String,
    /// The query string without its question mark.
    pub query: String,
    /// The headers, those that the gateway adds included.
    pub headers: HeaderMap,
    /// The payload.
    pub body: Bytes,
}

/// A function's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The status; 200 by default.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Function {
    /// A function of the default namespace that echoes. A name such as `f.ns` is split at its last dot.
    pub fn named(name: &str) -> Self {
        let (name, namespace) = split_name(name);
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            image: "dev/none:latest".to_owned(),
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            environment: BTreeMap::new(),
            behaviour: Behaviour::Echo,
            created_at: jiff::Timestamp::now(),
        }
    }

    /// Puts the function into another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Sets the annotation `topic`, by which connectors find the function.
    #[must_use]
    pub fn topic(self, topic: &str) -> Self {
        self.annotation("topic", topic)
    }

    /// Sets an annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets an environment variable of the command that [`Function::exec`] runs.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Answers 200 with the request's own body and content type. The default.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.behaviour = Behaviour::Echo;
        self
    }

    /// Always answers so.
    #[must_use]
    pub fn answer(mut self, reply: Reply) -> Self {
        self.behaviour = Behaviour::Answer(reply);
        self
    }

    /// Runs `command` with `sh -c` in `directory` for each call: body on stdin, reply on stdout, `Http_*` in its
    /// environment. A non-zero exit is a 500 with what it wrote to stderr.
    #[must_use]
    pub fn exec(mut self, command: &str, directory: impl Into<PathBuf>) -> Self {
        self.behaviour =
            Behaviour::Exec { command: command.to_owned(), directory: directory.into() };
        self
    }

    /// Passes each call on to an HTTP server; `url` has the form `http://host:port[/prefix]`.
    #[must_use]
    pub fn upstream(mut self, url: &str) -> Self {
        self.behaviour = Behaviour::Upstream(url.trim_end_matches('/').to_owned());
        self
    }

    /// Answers what the closure returns.
    #[must_use]
    pub fn handler<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        self.behaviour = Behaviour::Handler(Arc::new(move |request| Box::pin(handler(request))));
        self
    }

    /// `name.namespace`.
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }
}

impl Reply {
    /// A reply with this status and an empty body.
    ///
    /// # Panics
    ///
    /// When `status` is not a status code (100 to 999).
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status code is 100 to 999");
        Self { status, ..Self::default() }
    }

    /// A reply 200 with this body.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self::default().body(body)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// When name or value are illegal in HTTP: a mistake in the test.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a legal header name"),
            HeaderValue::from_str(value).expect("a legal header value"),
        );
        self
    }

    pub(crate) fn platform(status: StatusCode, origin: &'static str, text: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("x-openfaas-internal", HeaderValue::from_static(origin));
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        Self { status, headers, body: text.into() }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("echo"),
            Self::Answer(reply) => write!(f, "answer {}", reply.status.as_u16()),
            Self::Exec { command, .. } => write!(f, "exec {command}"),
            Self::Upstream(url) => write!(f, "upstream {url}"),
            Self::Handler(_) => f.write_str("handler"),
        }
    }
}

/// Splits `fn.ns` at its last dot; without a dot the namespace is the default one.
pub(crate) fn split_name(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, DEFAULT_NAMESPACE))
}

/// `name.namespace` of a name that may lack its namespace.
pub(crate) fn qualified(name: &str) -> String {
    let (name, namespace) = split_name(name);
    format!("{name}.{namespace}")
}

/// Whether the gateway's router takes this for a function's name.
pub(crate) fn is_legal_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Every function known, by its qualified name.
#[derive(Default)]
pub(crate) struct Catalog {
    functions: BTreeMap<String, (Arc<Function>, Origin)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Origin {
    StackFile,
    Deployed,
}

impl Catalog {
    pub(crate) fn get(&self, qualified: &str) -> Option<Arc<Function>> {
        self.functions.get(qualified).map(|(function, _)| Arc::clone(function))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values().map(|(function, _)| function)
    }

    pub(crate) fn deploy(&mut self, function: Function) {
        self.functions.insert(function.qualified_name(), (Arc::new(function), Origin::Deployed));
    }

    pub(crate) fn remove(&mut self, qualified: &str) -> bool {
        self.functions.remove(qualified).is_some()
    }

    /// Takes over a stack file as it is now; a function deployed under the same name through the API stays.
    pub(crate) fn replace_stack(&mut self, functions: Vec<Function>) {
        self.functions.retain(|_, (_, origin)| *origin == Origin::Deployed);
        for function in functions {
            self.functions
                .entry(function.qualified_name())
                .or_insert_with(|| (Arc::new(function), Origin::StackFile));
        }
    }

    /// The namespaces that hold a function, the default one always among them and first.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let mut namespaces = vec![DEFAULT_NAMESPACE.to_owned()];
        for function in self.iter() {
            if !namespaces.contains(&function.namespace) {
                namespaces.push(function.namespace.clone());
            }
        }
        namespaces
    }
}
