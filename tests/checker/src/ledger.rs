//! Reads the gateway's ledger.
//!
//! A moment is the place of its record in the file: records are appended one at a time, so places are in the order of
//! the moments, and exact where times may tie.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};

use serde::Deserialize;

/// One call, as the gateway saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// `name.namespace`.
    pub function: String,
    /// Which process made it; empty if it did not say.
    pub process: String,
    /// The number of the connection it came on.
    pub connection: u64,
    /// The hash of the payload.
    pub body: u64,
    /// `X-Event-Id`.
    pub event_id: Option<String>,
    /// When it began.
    pub start: Moment,
    /// How it ended; `None` if it never did.
    pub end: Option<End>,
}

/// A moment of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// How long the ledger was once the moment's record had been written.
    pub place: u64,
    /// Nanoseconds since 1970 by the gateway's clock. For spans alone, never for what came first.
    pub ns: u64,
}

/// The end of a call.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// When.
    pub at: Moment,
    /// 0 if there was no answer.
    pub status: u16,
    /// Whether the caller had left before: it may have known long before the gateway noticed.
    pub caller_left: bool,
    /// Whether the caller had been told of a timeout instead.
    pub too_late: bool,
}

impl Call {
    /// When it was answered well, if it was.
    #[must_use]
    pub fn well(&self) -> Option<Moment> {
        self.end.filter(|end| (200..300).contains(&end.status) && !end.too_late).map(|end| end.at)
    }
}

/// A ledger that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the ledger: {why}")]
pub struct Unreadable {
    line: usize,
    why: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    record: Cow<'a, str>,
    n: Option<u64>,
    #[serde(borrow)]
    mode: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content_type: Option<Cow<'a, str>>,
    connection: Option<u64>,
    #[serde(borrow)]
    body_fnv1a: Option<Cow<'a, str>>,
    status: Option<u16>,
    #[serde(borrow)]
    fault: Option<Cow<'a, str>>,
    wall_ns: u64,
}

/// Reads the calls of a ledger in the order in which they began.
///
/// # Errors
/// A line that is no record of a ledger. A last line without its end is left out: the gateway was killed while it wrote.
pub fn read(file: File) -> Result<Vec<Call>, Unreadable> {
    parse(BufReader::with_capacity(1 << 20, file))
}

fn parse(mut file: BufReader<impl Read>) -> Result<Vec<Call>, Unreadable> {
    let mut reader = Reader::default();
    let mut text = String::new();
    loop {
        text.clear();
        file.read_line(&mut text).map_err(|error| reader.unreadable(error.to_string()))?;
        if !text.ends_with('\n') {
            return Ok(reader.calls);
        }
        reader.take(&text)?;
    }
}

/// Reads a ledger line by line, also one that still grows. The runs of queued calls are left out: their caller is the
/// gateway.
#[derive(Debug, Default)]
pub struct Reader {
    /// The calls so far, in the order in which they began.
    pub calls: Vec<Call>,
    /// How many bytes have been read.
    pub place: u64,
    lines: usize,
    /// By the gateway's number, where in `calls` a running call is.
    running: HashMap<u64, usize>,
}

/// What a line said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// This call, an index of [`Reader::calls`], began.
    Start(usize),
    /// This call ended.
    End(usize),
    /// Something else.
    Else,
}

impl Reader {
    /// Takes the next line, with its end.
    ///
    /// # Errors
    /// It is no record of a ledger.
    pub fn take(&mut self, text: &str) -> Result<Said, Unreadable> {
        self.lines += 1;
        self.place += text.len() as u64;
        let line: Line<'_> =
            serde_json::from_str(text).map_err(|error| self.unreadable(error.to_string()))?;
        let at = Moment { place: self.place, ns: line.wall_ns };
        let missing = |what: &str| self.unreadable(format!("has no {what}"));
        match &*line.record {
            "open" => {
                // Numbers begin anew; what ran when the gateway died never ends.
                self.running.clear();
                Ok(Said::Else)
            }
            "start" if line.mode.as_deref() == Some("async") => Ok(Said::Else),
            "start" => {
                let n = line.n.ok_or_else(|| missing("n"))?;
                let body = line.body_fnv1a.ok_or_else(|| missing("body_fnv1a"))?;
                let body = u64::from_str_radix(&body, 16);
                let process = line.content_type.as_deref().and_then(|t| t.split_once("process="));
                let call = Call {
                    function: line.function.ok_or_else(|| missing("function"))?.into_owned(),
                    process: process.map(|(_, name)| name.to_owned()).unwrap_or_default(),
                    connection: line.connection.ok_or_else(|| missing("connection"))?,
                    body: body.map_err(|error| self.unreadable(error.to_string()))?,
                    event_id: line.event_id.map(Cow::into_owned),
                    start: at,
                    end: None,
                };
                self.running.insert(n, self.calls.len());
                self.calls.push(call);
                Ok(Said::Start(self.calls.len() - 1))
            }
            "end" => {
                let n = line.n.ok_or_else(|| missing("n"))?;
                let status = line.status.ok_or_else(|| missing("status"))?;
                let fault = line.fault.as_deref();
                let caller_left = matches!(fault, Some("hang" | "caller_gone"));
                let too_late = fault == Some("too_late");
                // Else the run of a queued call.
                let Some(call) = self.running.remove(&n) else { return Ok(Said::Else) };
                self.calls[call].end = Some(End { at, status, caller_left, too_late });
                Ok(Said::End(call))
            }
            other => Err(self.unreadable(format!("is of the unknown kind {other:?}"))),
        }
    }

    fn unreadable(&self, why: String) -> Unreadable {
        Unreadable { line: self.lines, why }
    }
}

/// Follows a ledger's file while it grows.
#[derive(Debug)]
pub struct Follower {
    file: File,
    /// What has been read of a line whose end has not.
    begun: Vec<u8>,
    /// The calls so far.
    pub reader: Reader,
}

impl Follower {
    /// From the beginning of a file.
    #[must_use]
    pub fn of(file: File) -> Self {
        Self { file, begun: Vec::new(), reader: Reader::default() }
    }

    /// Reads what has been written since, and tells what each line said.
    ///
    /// # Errors
    /// See [`Reader::take`]; or the file cannot be read.
    pub fn catch_up(&mut self, mut tell: impl FnMut(&Reader, Said)) -> Result<(), Unreadable> {
        let read = self.file.read_to_end(&mut self.begun);
        read.map_err(|error| self.reader.unreadable(error.to_string()))?;
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.begun.split_off(end + 1);
        let lines = std::mem::replace(&mut self.begun, rest);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(line);
            let line = line.map_err(|error| self.reader.unreadable(error.to_string()))?;
            let said = self.reader.take(line)?;
            tell(&self.reader, said);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: &str = r#"{"record":"open","pid":1,"wall_ns":1000}
{"record":"start","n":0,"mode":"sync","call_id":"a","function":"f.fn","event_id":"e","content_type":"text/plain; process=7","peer":"127.0.0.1:1","connection":4,"method":"POST","path":"/","body_length":1,"body_fnv1a":"00000000000000ff","mono_ns":1,"wall_ns":1001}
{"record":"start","n":1,"mode":"sync","call_id":"b","function":"f.fn","peer":"127.0.0.1:1","connection":5,"method":"POST","path":"/","body_length":1,"body_fnv1a":"01","mono_ns":2,"wall_ns":1002}
{"record":"end","n":1,"function":"f.fn","status":0,"fault":"hang","mono_ns":3,"wall_ns":1003}
{"record":"end","n":0,"function":"f.fn","status":200,"mono_ns":4,"wall_ns":1004}
"#;

    fn parsed(text: &str) -> Result<Vec<Call>, Unreadable> {
        parse(BufReader::new(text.as_bytes()))
    }

    #[test]
    fn starts_and_ends_are_joined_and_moments_are_places() {
        let calls = parsed(LEDGER).unwrap();
        assert_eq!(calls.len(), 2);
        let (first, second) = (&calls[0], &calls[1]);
        assert_eq!((&*first.process, first.body, first.connection), ("7", 255, 4));
        assert_eq!(first.well().unwrap().place, LEDGER.len() as u64);
        assert_eq!((&*second.process, second.well()), ("", None));
        assert!(second.end.unwrap().caller_left);
        assert!(first.start.place < second.start.place);
    }

    #[test]
    fn a_line_cut_short_is_left_out_and_a_broken_one_is_an_error() {
        assert_eq!(parsed(&LEDGER[..LEDGER.len() - 9]).unwrap()[0].well(), None);
        let error = parsed(&LEDGER.replace("\"start\"", "\"begin\"")).unwrap_err();
        assert!(error.to_string().starts_with("line 2 of the ledger"), "{error}");
    }

    #[test]
    fn a_gateway_that_was_started_again_counts_anew() {
        let again = format!("{LEDGER}{LEDGER}");
        let calls = parsed(&again).unwrap();
        assert_eq!(calls.len(), 4);
        assert!(calls.iter().all(|call| call.end.is_some()));
    }
}
