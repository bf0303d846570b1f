//! A real Prometheus that scrapes connectors, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use reqwest::Client;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{root, unique, until};

/// A running Prometheus. Dropping it ends it and removes its data.
pub struct Prometheus {
    client: Client,
    url: String,
    folder: PathBuf,
    _process: Child,
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, without the name.
    pub labels: BTreeMap<String, String>,
    /// Its value now.
    pub value: f64,
}

impl Prometheus {
    /// Starts one that scrapes each target, a job and an address, once a second, and evaluates
    /// these rules as often.
    ///
    /// # Panics
    /// When `prometheus` is missing or refuses its configuration.
    pub async fn start(targets: &[(&str, String)], rules: &str) -> Self {
        let folder = root().join("var").join(unique("prometheus"));
        fs::create_dir_all(&folder).expect("var can be written to");
        fs::write(folder.join("rules.yaml"), rules).expect("the folder has just been made");
        let mut config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n\
                          rule_files: [rules.yaml]\nscrape_configs:\n"
            .to_owned();
        for (job, address) in targets {
            writeln!(
                config,
                "  - {{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}"
            )
            .expect("a string takes everything");
        }
        fs::write(folder.join("prometheus.yml"), config).expect("the folder has just been made");
        let mut process = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus can be started; it is installed by: apt-get install prometheus");
        let mut lines = BufReader::new(process.stderr.take().expect("it was asked for")).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next_line().await.expect("its log is text");
            let line = line.unwrap_or_else(|| panic!("prometheus ended: {}", said.join("\n")));
            if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                break address.to_owned();
            }
            said.push(line);
        };
        // What it says later is read, or it would stand still once the pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder().build().expect("the client's settings are right");
        // It listens before it has read what it has stored.
        let ready = format!("http://{address}/-/ready");
        let look = async || client.get(&ready).send().await.is_ok_and(|it| it.status() == 200);
        until("prometheus to be ready", look, |is| *is).await;
        Self { client, url: format!("http://{address}/api/v1"), folder, _process: process }
    }

    /// What a query comes to now. Without a number (0/0) a series is left out.
    ///
    /// # Panics
    /// When Prometheus refuses the query.
    pub async fn query(&self, query: &str) -> Vec<Sample> {
        let mut form = String::from("query=");
        for byte in query.bytes() {
            write!(form, "%{byte:02X}").expect("a string takes everything");
        }
        let answer = self.ask("query", Some(form)).await;
        let result = &answer["data"]["result"];
        let result = result.as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        result.iter().filter_map(sample).collect()
    }

    /// The alerts that fire now, by name; and those too that wait for their time, if asked for.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn alerts(&self, pending: bool) -> BTreeSet<String> {
        let answer = self.ask("alerts", None).await;
        let alerts = answer["data"]["alerts"].as_array().expect("a list of alerts").iter();
        alerts
            .filter(|alert| pending || alert["state"] == "firing")
            .map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned())
            .collect()
    }

    async fn ask(&self, what: &str, form: Option<String>) -> Value {
        let url = format!("{}/{what}", self.url);
        let request = match form {
            Some(form) => self
                .client
                .post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form),
            None => self.client.get(url),
        };
        let answer = request.send().await.expect("prometheus answers");
        let text = answer.text().await.expect("the answer is text");
        serde_json::from_str(&text).expect("the answer is JSON")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Left behind, it goes with `make clean`.
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn sample(series: &Value) -> Option<Sample> {
    let value: f64 = series["value"][1].as_str()?.parse().ok()?;
    let labels = series["metric"].as_object()?.iter();
    let labels = labels.filter(|(name, _)| *name != "__name__");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = labels.map(|(name, value)| (name.clone(), text(value))).collect();
    (!value.is_nan()).then_some(Sample { labels, value })
}
