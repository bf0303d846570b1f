//! A bound on a process' memory, kept by the kernel: who goes beyond it is killed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::unique;

/// A control group with a limit. It is removed when it is dropped, by when its processes have to
/// have ended.
pub struct MemoryLimit {
    group: PathBuf,
    /// The file that counts the processes killed for memory.
    kills: &'static str,
}

impl MemoryLimit {
    /// Bounds what `pid` takes from now on. `None`: this machine does not let us.
    #[must_use]
    pub fn on(pid: u32, bytes: u64) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        // The second version of control groups, else the first.
        let (parent, limit, kills) = if root.join("cgroup.controllers").exists() {
            (root.to_owned(), "memory.max", "memory.events")
        } else {
            (root.join("memory"), "memory.limit_in_bytes", "memory.oom_control")
        };
        let limited = Self { group: parent.join(unique("tributary")), kills };
        fs::create_dir(&limited.group).ok()?;
        fs::write(limited.group.join(limit), bytes.to_string()).ok()?;
        fs::write(limited.group.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(limited)
    }

    /// How many processes the kernel has killed for it.
    ///
    /// # Panics
    /// When the kernel does not tell.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.group.join(self.kills)).expect("the group is there");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).expect("the kernel counts them")
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Left behind it is an empty folder of the kernel's, until the machine starts anew.
        drop(fs::remove_dir(&self.group));
    }
}
