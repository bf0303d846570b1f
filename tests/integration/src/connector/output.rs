//! What a process has written, line by line, and waiting for more of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::wait::PATIENCE;

/// The standard output of a process and, its lines marked by `!`, its standard error.
pub(crate) struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    /// Counts the lines; closed when both streams have ended.
    written: watch::Receiver<usize>,
}

impl Output {
    /// Reads both streams until they end.
    pub(crate) fn capture(stdout: ChildStdout, stderr: ChildStderr) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (tell, written) = watch::channel(0);
        tokio::spawn(read(stdout, "", Arc::clone(&lines), tell.clone()));
        tokio::spawn(read(stderr, "! ", Arc::clone(&lines), tell));
        Self { lines, written }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// The first line of which `wanted` holds, past or to come.
    pub(crate) async fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut written = self.written.clone();
        let mut seen = 0;
        let find = async {
            loop {
                written.mark_unchanged();
                {
                    let lines = self.lock();
                    if let Some(line) = lines[seen..].iter().find(|line| wanted(line)) {
                        return Some(line.clone());
                    }
                    seen = lines.len();
                }
                if written.changed().await.is_err() {
                    // Both streams have ended: one last look.
                    return self.lock()[seen..].iter().find(|line| wanted(line)).cloned();
                }
            }
        };
        match timeout(PATIENCE, find).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the process ended without a line {what:?}:\n{self}"),
            Err(_) => panic!("waited {PATIENCE:?} for a line {what:?}:\n{self}"),
        }
    }

    /// Waits until both streams have ended.
    pub(crate) async fn ended(&mut self) {
        while self.written.changed().await.is_ok() {}
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

async fn read(
    stream: impl AsyncRead + Unpin,
    mark: &str,
    lines: Arc<Mutex<Vec<String>>>,
    tell: watch::Sender<usize>,
) {
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    while stream.read_until(b'\n', &mut bytes).await.is_ok_and(|read| read > 0) {
        let line = format!("{mark}{}", String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
        bytes.clear();
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        tell.send_modify(|count| *count += 1);
    }
}
