//! The ledger's file: JSON lines, one record a line, one `write(2)` a record.
//!
//! `open` when a gateway opens the file (monotonic times count from there), `start` and `end` for each call. A reader
//! joins start and end by `n`, within the lines that follow one `open`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::calls::{Call, Cause, End, Mode};

pub(crate) struct LedgerFile {
    file: File,
    /// Payloads up to this many bytes are written out.
    bodies: usize,
}

impl LedgerFile {
    pub(crate) fn open(path: &Path, bodies: usize, wall: Duration) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let ledger = Self { file, bodies };
        let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        ledger.write(&Record::Open { pid: std::process::id(), wall_ns })?;
        Ok(ledger)
    }

    pub(crate) fn start(&self, call: &Call, body: &[u8]) -> io::Result<()> {
        self.write(&Record::Start(Box::new(Start::of(
            call,
            Some(body).filter(|body| self.bodies > 0 && body.len() <= self.bodies),
        ))))
    }

    /// `call` is absent when it is no longer remembered; the record then has its number alone.
    pub(crate) fn end(&self, n: u64, call: Option<&Call>, end: End) -> io::Result<()> {
        self.write(&Record::End {
            n,
            call_id: call.map(|call| call.call_id.as_str()),
            function: call.map(|call| call.function.as_str()),
            status: end.status,
            fault: end.cause,
            mono_ns: end.at.monotonic_ns,
            wall_ns: end.at.wall_ns,
        })
    }

    fn write(&self, record: &Record<'_>) -> io::Result<()> {
        let mut line = Vec::with_capacity(512);
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        // Opened for appending: concurrent writes of whole lines do not mix.
        (&self.file).write_all(&line)
    }
}

/// One line. Absent values are left out.
#[derive(Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Record<'a> {
    Open {
        pid: u32,
        wall_ns: u64,
    },
    Start(Box<Start<'a>>),
    End {
        n: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        function: Option<&'a str>,
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<Cause>,
        mono_ns: u64,
        wall_ns: u64,
    },
}

/// The beginning of a call, as written to the file and shown by `/_dev/calls`.
#[derive(Serialize)]
pub(crate) struct Start<'a> {
    n: u64,
    mode: Mode,
    call_id: &'a str,
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_enc: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    peer: SocketAddr,
    connection: u64,
    method: &'a str,
    path: &'a str,
    body_length: usize,
    /// Hexadecimal: JSON numbers of 64 bits are not safe with every reader.
    body_fnv1a: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    mono_ns: u64,
    wall_ns: u64,
}

impl<'a> Start<'a> {
    pub(crate) fn of(call: &'a Call, body: Option<&[u8]>) -> Self {
        Self {
            n: call.number,
            mode: call.mode,
            call_id: &call.call_id,
            function: &call.function,
            topic: call.topic.as_deref(),
            event_id: call.event_id.as_deref(),
            attempt: call.attempt,
            key: call.key.as_deref(),
            key_enc: call.header("x-kafka-key-enc"),
            partition: call.partition,
            offset: call.offset,
            caller: call.caller.as_deref(),
            content_type: call.header("content-type"),
            peer: call.peer,
            connection: call.connection,
            method: call.method.as_str(),
            path: &call.path,
            body_length: call.body_length,
            body_fnv1a: format!("{:016x}", call.body_hash),
            body: body.map(|body| STANDARD.encode(body)),
            mono_ns: call.started.monotonic_ns,
            wall_ns: call.started.wall_ns,
        }
    }
}
