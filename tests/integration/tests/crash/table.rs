//! The matrix as a table in the documentation: written there by the runs, and compared with the code's own list.

use std::path::PathBuf;

use connector_core::fail_point::Step;
use integration::root;

use crate::judge::Judgement;
use crate::source::Kind;

/// What stands around the table.
const MARK: &str = "make crash-matrix";
const HEAD: &str = "\
| source | promised | step | killed at | events | lost | called again | at most | letters twice |
|---|---|---|---|---:|---:|---:|---:|---:|
";
const NO_STEP: &str = "no such step";

/// One cell: a step of a source, and its runs, each with the passing at which it was killed.
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) step: Step,
    pub(crate) runs: Vec<(usize, Judgement)>,
}

impl Cell {
    /// What must not have been, each with the run that it was seen in.
    pub(crate) fn violations(&self) -> impl Iterator<Item = String> {
        let of_run = |(passing, judgement): &(usize, Judgement)| {
            let place = format!("{}, {}={passing}", self.kind.name(), self.step.name());
            let violations = judgement.violations.iter();
            violations.map(|violation| format!("{place}: {violation}")).collect::<Vec<_>>()
        };
        self.runs.iter().flat_map(of_run)
    }

    fn line(&self) -> String {
        let each = |value: fn(&Judgement) -> usize| {
            let values: Vec<_> = self.runs.iter().map(|(_, run)| value(run).to_string()).collect();
            values.join(", ")
        };
        let sum = |value: fn(&Judgement) -> usize| -> usize {
            self.runs.iter().map(|(_, run)| value(run)).sum()
        };
        let passings: Vec<_> = self.runs.iter().map(|(passing, _)| passing.to_string()).collect();
        let killed =
            if self.kind.has(self.step) { passings.join(", ") } else { NO_STEP.to_owned() };
        format!(
            "{}{killed} | {} | {} | {} | {} | {} |",
            label(self.kind, self.step),
            sum(|run| run.events),
            sum(|run| run.lost),
            each(|run| run.again),
            each(|run| run.at_most),
            sum(|run| run.letters_again),
        )
    }
}

/// What the line of a cell begins with.
fn label(kind: Kind, step: Step) -> String {
    format!("| {} | {} | {} | ", kind.name(), kind.promise(), step.name())
}

/// The labels of all lines, in order.
fn labels() -> impl Iterator<Item = (Kind, Step, String)> {
    let all = Kind::ALL.into_iter().flat_map(|kind| Step::ALL.map(|step| (kind, step)));
    all.map(|(kind, step)| (kind, step, label(kind, step)))
}

/// Puts these cells into the documentation; the lines of the others stay as they are.
///
/// # Panics
/// When there is no place for the table.
pub(crate) fn write(cells: &[Cell]) {
    let table = golden::marked(&document(), MARK);
    let known: Vec<String> = cells.iter().map(Cell::line).collect();
    let lines = known.iter().map(String::as_str).chain(table.lines());
    let line = |label: &str| {
        let line = lines.clone().find(|line| line.starts_with(label));
        line.map_or_else(|| format!("{label}not run | | | | | |\n"), |line| format!("{line}\n"))
    };
    let table: String = labels().map(|(_, _, label)| line(&label)).collect();
    golden::replace_marked(&document(), MARK, &format!("{HEAD}{table}"));
}

/// Compares the documentation with the code: a line for each step of each source, each run, and each keeping its promise.
///
/// # Panics
/// When it says something else.
pub(crate) fn check() {
    let table = golden::marked(&document(), MARK);
    let lines = table.strip_prefix(HEAD).expect("the table has this head").lines();
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), labels().count(), "a line for each step of each source");
    for (line, (kind, step, label)) in lines.into_iter().zip(labels()) {
        let cells = line.strip_prefix(&label).unwrap_or_else(|| panic!("{line}\nis not {label}"));
        let cells: Vec<&str> = cells.trim_end_matches(" |").split(" | ").collect();
        let [killed, _, lost, again, _, _] = cells[..] else { panic!("{line}\nwas not run") };
        assert_eq!(killed == NO_STEP, !kind.has(step), "{line}");
        let none = if kind.keeps() { lost } else { again };
        assert!(none.split(", ").all(|count| count == "0"), "{line}\nbreaks the promise");
    }
}

fn document() -> PathBuf {
    root().join("docs/delivery.md")
}
