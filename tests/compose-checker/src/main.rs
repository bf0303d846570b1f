//! `compose-checker FILE...`: tells what faasd would refuse, ignore or take otherwise in these compose files.
//!
//! Exits with 0 when there is nothing of that, 1 when there is, 2 when a file cannot be read.

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

const MISTAKEN: u8 = 1;
const UNKNOWN: u8 = 2;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    let mut out = io::stdout().lock();
    if files.is_empty() {
        drop(writeln!(out, "usage: compose-checker FILE..."));
        return ExitCode::from(UNKNOWN);
    }
    let mut worst = 0;
    for file in files {
        let name = file.display();
        let (text, code) = match fs::read_to_string(&file).map(|text| compose_checker::check(&text))
        {
            Err(error) => (format!("{name} cannot be read: {error}\n"), UNKNOWN),
            Ok(Err(mistakes)) => {
                let lines = mistakes.0.iter().map(|mistake| format!("{name}, {mistake}\n"));
                (lines.collect(), MISTAKEN)
            }
            Ok(Ok(services)) => {
                (format!("{name}: {} services, faasd does all that it says\n", services.len()), 0)
            }
        };
        worst = worst.max(code);
        if out.write_all(text.as_bytes()).is_err() {
            return ExitCode::from(UNKNOWN);
        }
    }
    ExitCode::from(worst)
}
