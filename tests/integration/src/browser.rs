//! A real browser, for what people look at: Chromium, driven through its WebDriver.
//!
//! Four requests of the protocol (W3C WebDriver) are all it takes: whatever a person does on the
//! page is done by a script in it.

use std::process::Stdio;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::wait::until;

/// How often the driver is started until it says its port.
const ATTEMPTS: usize = 5;

/// A browser with one window. Dropping it ends it.
pub struct Browser {
    client: Client,
    /// The address of the session.
    session: String,
    _driver: Child,
}

impl Browser {
    /// Starts one without a screen.
    ///
    /// # Panics
    /// When Chromium or its driver is missing, or does not start.
    pub async fn start() -> Self {
        let (driver, port) = driver().await;
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder().build().expect("the client's settings are right");
        let mut browser =
            Self { client, session: format!("http://127.0.0.1:{port}/session"), _driver: driver };
        // As root, and in containers, Chromium has no sandbox; nor much shared memory.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": { "args": arguments },
        } } });
        let session = browser.ask(Method::POST, "", Some(wanted)).await;
        let id = session["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.ask(Method::POST, "/url", Some(json!({ "url": url }))).await;
    }

    /// Runs a script in the page, and gives what it returns.
    pub async fn run(&self, script: &str, arguments: Value) -> Value {
        let call = json!({ "script": script, "args": arguments });
        self.ask(Method::POST, "/execute/sync", Some(call)).await
    }

    /// The text of an element as a person sees it; empty while it is hidden.
    pub async fn text(&self, id: &str) -> String {
        let text = self.run("return document.getElementById(arguments[0]).innerText", json!([id]));
        text.await.as_str().unwrap_or_default().to_owned()
    }

    /// Types into a field, in place of what it has.
    pub async fn type_into(&self, id: &str, text: &str) {
        let script =
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];
                      field.dispatchEvent(new Event('input', { bubbles: true }))";
        self.run(script, json!([id, text])).await;
    }

    /// Waits until a person sees `part` in an element, and gives the element's text.
    pub async fn sees(&self, id: &str, part: &str) -> String {
        let look = async || self.text(id).await;
        until(&format!("{id} to show {part:?}"), look, |text| text.contains(part)).await
    }

    /// Gives the window this size, in CSS pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height });
        self.ask(Method::POST, "/window/rect", Some(size)).await;
    }

    /// # Panics
    /// When the browser refuses.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let request = self.client.request(method, format!("{}{path}", self.session));
        let body = body.unwrap_or_else(|| json!({})).to_string();
        let answer = request.header("content-type", "application/json").body(body).send().await;
        let answer = answer.expect("the driver answers");
        let status = answer.status();
        let text = answer.text().await.expect("the answer is text");
        assert!(status.is_success(), "{path}: {status} {text}");
        let mut answer: Value = serde_json::from_str(&text).expect("the answer is JSON");
        answer["value"].take()
    }

    /// Ends the browser in good order: its processes are not the driver's alone.
    pub async fn close(self) {
        self.ask(Method::DELETE, "", None).await;
    }
}

/// Starts the driver, and gives the port that it says. It looks for a free port first and listens there then, for either
/// version of IP: now and then somebody else comes in between, and it ends.
async fn driver() -> (Child, String) {
    let mut said = Vec::new();
    for _ in 0..ATTEMPTS {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect(
                "chromedriver can be started; it is installed by: apt-get install chromium-driver",
            );
        let stdout = driver.stdout.take().expect("it was asked for");
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.expect("text") {
            if let Some((_, port)) = line.split_once("successfully on port ") {
                return (driver, port.trim_end_matches('.').to_owned());
            }
            said.push(line);
        }
    }
    panic!("the driver ended {ATTEMPTS} times before it said its port: {}", said.join("\n"));
}
