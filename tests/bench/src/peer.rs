//! Other software that calls functions when events come, where it is installed: `tests/bench/peers/README.md` has the
//! contract of the scripts that stand for it.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use integration::process::{Signal, send};
use integration::{Gateway, root};
use tokio::process::{Child, Command};

use crate::source::{Place, RUNNING, Source};

/// One that was found.
pub(crate) struct Peer {
    pub(crate) name: String,
    script: PathBuf,
}

/// One that runs.
pub(crate) struct Process(Child);

impl Peer {
    /// Those that are installed and can read the source.
    pub(crate) async fn found<S: Source>() -> Vec<Self> {
        let folder = root().join("tests/bench/peers");
        let files = fs::read_dir(folder).expect("the folder is there").flatten();
        let mut scripts: Vec<_> = files.map(|file| file.path()).collect();
        scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sh"));
        scripts.sort();
        let mut found = Vec::new();
        for script in scripts {
            let said = Command::new(&script).args(["found", S::NAME]).output().await;
            let said = said.expect("the script can be run");
            if said.status.success() {
                let name = String::from_utf8_lossy(&said.stdout).trim().to_owned();
                found.push(Self { name, script });
            }
        }
        found
    }

    pub(crate) fn start<S: Source>(&self, source: &S, place: &Place, gateway: &Gateway) -> Process {
        let child = Command::new(&self.script)
            .args(["run", S::NAME])
            .env("BENCH_BROKER", source.address())
            .env("BENCH_NAME", &place.name)
            .env("BENCH_TOPIC", &place.asked)
            .env("BENCH_GATEWAY", gateway.url())
            .env("BENCH_RUNNING", RUNNING.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Process(child.expect("the script can be run"))
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id().expect("it has not been waited for")
    }

    pub(crate) async fn end(mut self) {
        send(self.pid(), Signal::Terminate);
        self.0.wait().await.expect("a child can be waited for");
    }
}
