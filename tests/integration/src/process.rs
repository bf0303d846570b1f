//! What can be done to a process and read of it from outside.

mod limit;

pub use limit::MemoryLimit;

use std::fs;
use std::process::Command;
use std::time::Duration;

/// A signal that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGKILL: the process is gone when `send` returns, as far as its own code is concerned.
    Kill,
    /// SIGHUP.
    HangUp,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// Sends a signal.
///
/// # Panics
/// When the process does not exist.
pub fn send(pid: u32, signal: Signal) {
    let name = match signal {
        Signal::Terminate => "-TERM",
        Signal::Interrupt => "-INT",
        Signal::Kill => "-KILL",
        Signal::HangUp => "-HUP",
        Signal::Stop => "-STOP",
        Signal::Continue => "-CONT",
    };
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {name} {pid} failed");
}

/// Whether it is stopped by a signal. A process that is gone is not.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tT"))
}

/// Resident memory, in bytes. `None`: the process is gone.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    in_status(pid, "VmRSS:")
}

/// What of that is the process's own and no page of a file, in bytes. `None`: the process is gone.
#[must_use]
pub fn anonymous(pid: u32) -> Option<u64> {
    in_status(pid, "RssAnon:")
}

/// The highest resident memory so far, in bytes. `None`: the process is gone.
#[must_use]
pub fn peak_resident(pid: u32) -> Option<u64> {
    in_status(pid, "VmHWM:")
}

fn in_status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Processor time used so far by all threads, in user and kernel. `None`: the process is gone.
#[must_use]
pub fn cpu(pid: u32) -> Option<Duration> {
    cpu_of(&format!("/proc/{pid}/stat"))
}

/// Processor time used so far by those of a process' running threads whose names begin so.
#[must_use]
pub fn cpu_of_threads(pid: u32, prefix: &str) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let threads = threads.flatten().map(|thread| thread.path());
    threads
        .filter(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with(prefix))
        })
        .filter_map(|thread| cpu_of(thread.join("stat").to_str()?))
        .sum()
}

fn cpu_of(path: &str) -> Option<Duration> {
    let stat = fs::read_to_string(path).ok()?;
    // The command, in parentheses, may itself contain blanks and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // In hundredths of a second on every Linux there is (USER_HZ).
    Some(Duration::from_millis((user + kernel) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_read() {
        let pid = std::process::id();
        // In this order: other tests of this process make it grow between the two.
        let now = resident(pid).unwrap();
        assert!(now > 100_000);
        assert!(peak_resident(pid).unwrap() >= now);
        assert!(anonymous(pid).unwrap() < now);
        let before = cpu(pid).unwrap();
        while cpu(pid).unwrap() == before {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
        assert_eq!(resident(u32::MAX), None);
    }
}
