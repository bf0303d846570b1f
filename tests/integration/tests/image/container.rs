//! Containers of the images under test, and the network they are in. Docker does the work; each call of it must succeed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use integration::metrics::Metrics;
use integration::{process, unique, until};
use tokio::process::Command;

use crate::choose_cryptography;

/// A network of its own. The test listens at its gateway's address, and containers find it there by names of their hosts file.
pub(crate) struct Network {
    name: String,
    pub(crate) host: IpAddr,
}

impl Network {
    pub(crate) async fn create() -> Self {
        let name = unique("image-check");
        docker(&["network", "create", &name]).await;
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let host = docker(&["network", "inspect", "--format", format, &name]).await;
        let host = host.split('/').next().expect("a text has a beginning").parse();
        Self { name, host: host.expect("a network has a gateway") }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&["network", "rm", &self.name]);
    }
}

/// What a container is to be run with.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) connector: &'static str,
    network: String,
    hosts: Vec<String>,
    memory: &'static str,
    environment: BTreeMap<String, String>,
    mounts: Vec<String>,
    capabilities: Vec<String>,
    command: Vec<String>,
}

impl Run {
    pub(crate) fn new(connector: &'static str, network: &Network) -> Self {
        Self {
            connector,
            network: network.name.clone(),
            hosts: Vec::new(),
            memory: "32m",
            environment: BTreeMap::new(),
            mounts: Vec::new(),
            capabilities: Vec::new(),
            command: Vec::new(),
        }
    }

    /// Lets a name stand for the host.
    pub(crate) fn host(mut self, name: &str, network: &Network) -> Self {
        self.hosts.push(format!("{name}:{}", network.host));
        self
    }

    pub(crate) fn memory(mut self, most: &'static str) -> Self {
        self.memory = most;
        self
    }

    pub(crate) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn mount(mut self, source: &Path, target: &str) -> Self {
        let source = source.display();
        self.mounts.push(format!("type=bind,source={source},target={target},readonly"));
        self
    }

    pub(crate) fn capability(mut self, name: &str) -> Self {
        self.capabilities.push(name.to_owned());
        self
    }

    /// Replaces the image's entrypoint, as faasd does with a service's command.
    pub(crate) fn command(mut self, command: &[String]) -> Self {
        self.command = command.to_vec();
        self
    }

    pub(crate) async fn start(&self) -> Container {
        let name = unique(self.connector);
        let mut arguments: Vec<String> =
            ["run", "--detach", "--read-only", "--cap-drop", "ALL"].map(str::to_owned).into();
        let mut option =
            |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
        option("--security-opt", "no-new-privileges");
        option("--name", &name);
        option("--network", &self.network);
        option("--memory", self.memory);
        option("--memory-swap", self.memory);
        self.hosts.iter().for_each(|host| option("--add-host", host));
        self.mounts.iter().for_each(|mount| option("--mount", mount));
        self.capabilities.iter().for_each(|capability| option("--cap-add", capability));
        self.environment
            .iter()
            .for_each(|(name, value)| option("--env", &format!("{name}={value}")));
        if let Some(binary) = self.command.first() {
            option("--entrypoint", binary);
        }
        arguments.push(image(self.connector));
        arguments.extend(self.command.iter().skip(1).cloned());
        docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        Container { name }
    }
}

/// A container, removed when it is dropped.
pub(crate) struct Container {
    name: String,
}

impl Container {
    /// The host's number for its process.
    pub(crate) async fn pid(&self) -> u32 {
        self.inspect("{{.State.Pid}}").await.parse().expect("a pid is a number")
    }

    /// Bytes of memory that are resident, and what of that is no page of a file.
    pub(crate) async fn memory(&self) -> (u64, u64) {
        let pid = self.pid().await;
        process::resident(pid).zip(process::anonymous(pid)).expect("the process runs")
    }

    /// When its process wrote its first line: a moment after it began.
    pub(crate) async fn first_line(&self) -> SystemTime {
        let look = async || docker(&["logs", "--timestamps", &self.name]).await;
        let log = until("the first line of the log", look, |log| log.contains(' ')).await;
        let first = log.lines().map(|line| line.split(' ').next().unwrap_or_default()).min();
        humantime::parse_rfc3339(first.expect("there is a line"))
            .expect("Docker writes the time first")
    }

    pub(crate) async fn log(&self) -> String {
        docker(&["logs", &self.name]).await
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let url = format!("http://{}:8081/metrics", self.inspect(format).await);
        choose_cryptography();
        let page = reqwest::get(url).await.expect("the admin server answers");
        Metrics::parse(&page.text().await.expect("the page is text"))
    }

    /// Asks it to stop and waits until it has; the exit code.
    pub(crate) async fn stop(self) -> i32 {
        docker(&["kill", "--signal", "TERM", &self.name]).await;
        let code = docker(&["wait", &self.name]).await.parse().expect("an exit code is a number");
        assert_eq!(
            self.inspect("{{.State.OOMKilled}}").await,
            "false",
            "there was too little memory"
        );
        if code != 0 {
            println!("{}", self.log().await);
        }
        code
    }

    /// Kills it at this moment.
    pub(crate) async fn kill(self) {
        docker(&["kill", &self.name]).await;
    }

    async fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.name]).await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::process::Command::new("docker").args(["logs", &self.name]).output();
            if let Ok(log) = log {
                println!(
                    "{}{}",
                    String::from_utf8_lossy(&log.stdout),
                    String::from_utf8_lossy(&log.stderr)
                );
            }
        }
        remove(&["rm", "--force", &self.name]);
    }
}

/// The image's size in bytes, as it lies unpacked on the disk.
pub(crate) async fn size(connector: &str) -> u64 {
    let size = docker(&["image", "inspect", "--format", "{{.Size}}", &image(connector)]).await;
    size.parse().expect("a size is a number")
}

/// The bundle of certificate authorities that the image was made with.
pub(crate) fn bundle(connector: &str) -> PathBuf {
    integration::root()
        .join("target/images")
        .join(connector)
        .join("etc/ssl/certs/ca-certificates.crt")
}

fn image(connector: &str) -> String {
    format!("tributary/{connector}:{}", env!("CARGO_PKG_VERSION"))
}

/// Runs Docker and gives what it has written, both streams of a log included.
async fn docker(arguments: &[&str]) -> String {
    let ran = Command::new("docker").args(arguments).stdin(Stdio::null()).output().await;
    let ran = ran.expect("there is no container engine: install Docker");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "docker {arguments:?}: {said}");
    let mut text = String::from_utf8_lossy(&ran.stdout).into_owned();
    if arguments[0] == "logs" {
        text += &said;
    }
    text.trim_end().to_owned()
}

/// From a drop, where nothing can be waited for and nobody could be told.
fn remove(arguments: &[&str]) {
    let removed = std::process::Command::new("docker").args(arguments).output();
    drop(removed);
}
