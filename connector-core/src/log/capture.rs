//! The log as tests see it.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::SubscriberExt as _;

use super::Lines;
use crate::settings::LogEncoding;

/// What has been logged so far.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

/// Captures what the current thread logs for as long as the guard lives.
pub(crate) fn captured() -> (Captured, tracing::subscriber::DefaultGuard) {
    let captured = Captured::default();
    let lines = Lines::new(LogEncoding::Console, captured.clone());
    let subscriber = tracing_subscriber::registry().with(lines);
    (captured, tracing::subscriber::set_default(subscriber))
}

impl Captured {
    /// The text since the last time.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    /// The lines since the last time, without their time.
    pub(crate) fn take(&self) -> Vec<String> {
        self.text().lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
