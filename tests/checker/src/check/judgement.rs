//! What the rules found, and how it is printed.

use std::fmt;

/// How many violations of one rule are named.
const NAMED: usize = 5;

/// The outcome of every rule for one run.
#[derive(Debug, Default)]
pub struct Judgement {
    /// The run's name and seed.
    pub(super) title: String,
    /// Figures: what, and how much.
    pub(super) figures: Vec<(String, String)>,
    /// The faults, a row each.
    pub(super) faults: Vec<FaultRow>,
    /// The rules in the order in which they were applied.
    pub(super) rules: Vec<Rule>,
}

/// What faults of one name did.
#[derive(Debug)]
pub(super) struct FaultRow {
    pub(super) what: String,
    pub(super) times: usize,
    /// The fewest calls that ran at one of them.
    pub(super) running: usize,
    /// The fewest events unread at one of them.
    pub(super) unread: usize,
    pub(super) repeated: usize,
    pub(super) bound: usize,
}

impl FaultRow {
    pub(super) fn add(&mut self, other: &Self) {
        self.times += other.times;
        self.running = self.running.min(other.running);
        self.unread = self.unread.min(other.unread);
        self.repeated += other.repeated;
        self.bound += other.bound;
    }
}

/// One rule, and where it is violated.
#[derive(Debug)]
pub struct Rule {
    /// The rule, as a sentence.
    pub name: &'static str,
    /// How many times there was something to check.
    pub checked: usize,
    /// How many times it was violated.
    pub violated: usize,
    /// The first violations, named.
    pub named: Vec<String>,
}

impl Rule {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, checked: 0, violated: 0, named: Vec::new() }
    }

    /// Notes one look; `wrong` says what is wrong, if anything.
    pub(super) fn look(&mut self, wrong: Option<String>) {
        self.checked += 1;
        if let Some(wrong) = wrong {
            self.violated += 1;
            if self.named.len() < NAMED {
                self.named.push(wrong);
            }
        }
    }
}

impl Judgement {
    /// Whether no rule is violated.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.rules.iter().all(|rule| rule.violated == 0)
    }

    /// The rules and what they found.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let wide = |texts: &mut dyn Iterator<Item = &str>| texts.map(str::len).max().unwrap_or(0);
        let width = wide(&mut self.figures.iter().map(|(name, _)| name.as_str()));
        for (name, value) in &self.figures {
            writeln!(f, "  {name:width$}  {value}")?;
        }
        if !self.faults.is_empty() {
            let width = wide(&mut self.faults.iter().map(|fault| fault.what.as_str())).max(5);
            writeln!(f, "\n  {:width$}  times  running  unread  repeated  at most", "fault")?;
            for FaultRow { what, times, running, unread, repeated, bound } in &self.faults {
                write!(f, "  {what:width$}  {times:5}  {running:7}  {unread:6}")?;
                writeln!(f, "  {repeated:8}  {bound:7}")?;
            }
        }
        let width = wide(&mut self.rules.iter().map(|rule| rule.name));
        writeln!(f, "\n  {:width$}  checked  violated", "rule")?;
        for Rule { name, checked, violated, .. } in &self.rules {
            writeln!(f, "  {name:width$}  {checked:7}  {violated:8}")?;
        }
        for rule in self.rules.iter().filter(|rule| rule.violated > 0) {
            writeln!(f, "\n  violated: {}", rule.name)?;
            for named in &rule.named {
                writeln!(f, "    {named}")?;
            }
            if rule.violated > rule.named.len() {
                writeln!(f, "    and {} more", rule.violated - rule.named.len())?;
            }
        }
        writeln!(
            f,
            "\n  {}",
            if self.kept() { "the promise was kept" } else { "THE PROMISE WAS BROKEN" }
        )
    }
}
