//! What the kernel knows of this process, under the names every Prometheus client uses.

use std::fmt::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::book::Row;

const START: Row = gauge("process_start_time_seconds", "When the process started, in Unix time");
const MEMORY: Row = gauge("process_resident_memory_bytes", "Resident memory");
const FILES: Row = gauge("process_open_fds", "Open file descriptors");
const CPU: Row = Row {
    kind: "counter",
    ..gauge("process_cpu_seconds_total", "Processor time used, in user and system mode")
};

/// What this process is asked for. Each is left out where the kernel does not tell.
pub(super) const ROWS: [Row; 4] = [START, MEMORY, FILES, CPU];

const fn gauge(name: &'static str, help: &'static str) -> Row {
    Row { name, kind: "gauge", labels: &[], help }
}

/// Asks the kernel whenever it is asked itself.
#[derive(Debug)]
pub(super) struct Process {
    /// When it started.
    pub(super) started: SystemTime,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut tell = |row: &Row, value: Option<f64>| match value {
            Some(value) => tell(&mut encoder, row, value),
            None => Ok(()),
        };
        tell(&START, Some(started.as_secs_f64()))?;
        tell(&MEMORY, resident_bytes())?;
        tell(&FILES, std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64))?;
        tell(&CPU, cpu_seconds())
    }
}

fn tell(encoder: &mut DescriptorEncoder<'_>, row: &Row, value: f64) -> Result<(), Error> {
    match row.name.strip_suffix("_total") {
        Some(name) => {
            let counter = ConstCounter::new(value);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(name, row.help, None, kind)?)
        }
        None => {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(row.name, row.help, None, kind)?)
        }
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = rss.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024.0)
}

/// User and system time of the whole process. Linux counts it in ticks of 10 ms on every
/// architecture we build for (`USER_HZ`, proc(5)).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold spaces and parentheses; the fields count from its last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
