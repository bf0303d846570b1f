//! `ledger-checker FOLDER...`: judges the runs whose plans, samples and ledgers are in these folders.
//!
//! Exits with 0 when every run kept the promise, 1 when one did not, 2 when one cannot be judged.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use ledger_checker::judged;

const VIOLATED: u8 = 1;
const UNKNOWN: u8 = 2;

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let mut worst = u8::from(folders.is_empty()) * UNKNOWN;
    let mut out = io::stdout().lock();
    for folder in &folders {
        let (text, code) = match judged(folder) {
            Ok(judgement) => (judgement.to_string(), u8::from(!judgement.kept()) * VIOLATED),
            Err(error) => (format!("{} cannot be judged: {error}\n", folder.display()), UNKNOWN),
        };
        worst = worst.max(code);
        if out.write_all(text.as_bytes()).is_err() {
            return ExitCode::from(UNKNOWN);
        }
    }
    if folders.is_empty() {
        drop(writeln!(out, "usage: ledger-checker FOLDER..."));
    }
    ExitCode::from(worst)
}
