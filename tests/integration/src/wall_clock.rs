//! A wall clock for one process alone, which a test sets while the process runs.
//!
//! libfaketime answers the process in place of the C library when it asks what time it is. The monotonic clock stays as it is,
//! and so do the times of files. A wait that has begun when the clock is set ends when it would have: the kernel, which lets
//! waits until a time of day last longer when its clock is set back, knows nothing of this.

use std::fs;
use std::path::PathBuf;

use crate::{Launch, unique};

/// Debian's package `faketime` puts it there; the loader knows what `$LIB` is for its architecture.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// What time it is for a connector.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// One that agrees with the machine's.
    #[must_use]
    pub fn new() -> Self {
        let clock = Self { file: std::env::temp_dir().join(unique("wall-clock")) };
        clock.set(0);
        clock
    }

    /// Has a connector read this clock.
    pub fn of(&self, launch: Launch) -> Launch {
        launch
            .set("LD_PRELOAD", LIBRARY)
            .set("FAKETIME_TIMESTAMP_FILE", self.file.to_string_lossy())
            // Read anew each time, so that it is set when `set` returns.
            .set("FAKETIME_NO_CACHE", "1")
            .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .set("NO_FAKE_STAT", "1")
    }

    /// Sets it so many seconds ahead of the machine's; negative ones, behind.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    pub fn set(&self, seconds: i64) {
        // Beside it first: it is read at any moment.
        let new = self.file.with_extension("new");
        let set =
            fs::write(&new, format!("{seconds:+}\n")).and_then(|()| fs::rename(&new, &self.file));
        set.expect("the temporary folder can be written");
    }

    /// Sees to it that a running process reads it: the loader goes on without a library that it cannot find.
    ///
    /// # Panics
    /// When it does not.
    pub fn is_read_by(&self, pid: u32) {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let is_there = maps.contains("libfaketime");
        assert!(
            is_there,
            "no clock can be set without {LIBRARY}; run: tests/need.sh faketime=faketime"
        );
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        // What is left behind goes with the temporary folder.
        fs::remove_file(&self.file).ok();
    }
}
