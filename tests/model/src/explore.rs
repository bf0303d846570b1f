//! Trying a world's choices: all of them, or many.

use std::fmt::Write as _;
use std::time::Instant;

use crate::choices::Choices;
use crate::rule::Violation;

/// What a run of a world tells: its history if it was asked for, and what it broke.
#[derive(Debug)]
pub struct Told {
    /// What happened, line by line; empty unless the choices ask for it.
    pub history: Vec<String>,
    /// How many steps there were.
    pub steps: usize,
    /// What was broken first.
    pub broken: Option<Violation>,
}

/// Runs a world once for each sequence of choices that it has. How long the sequences are is the
/// world's affair; that they are not too many is asserted.
///
/// # Panics
/// When an invariant is broken, with the history of the shortest way there that is found.
pub fn exhaust(name: &str, run: impl Fn(&mut Choices) -> Told) {
    if let Some(choices) = repeated(name) {
        return judge(name, choices, &run);
    }
    let began = Instant::now();
    let (mut next, mut runs, mut steps) = (Some(Vec::new()), 0_usize, 0);
    while let Some(ahead) = next {
        let mut choices = Choices::listed(ahead);
        let told = run(&mut choices);
        runs += 1;
        steps += told.steps;
        if told.broken.is_some() {
            return judge(name, choices.taken(), &run);
        }
        next = choices.next();
    }
    report(name, "all", runs, steps, began);
}

/// Runs a world once for each of `runs` seeds, which follow from `MODEL_SEED`.
///
/// # Panics
/// When an invariant is broken, with the history of the shortest way there that is found.
pub fn wander(name: &str, runs: usize, run: impl Fn(&mut Choices) -> Told) {
    if let Some(choices) = repeated(name) {
        return judge(name, choices, &run);
    }
    let began = Instant::now();
    let first = setting("MODEL_SEED").unwrap_or(1);
    let runs = setting("MODEL_RUNS").and_then(|runs| usize::try_from(runs).ok()).unwrap_or(runs);
    let mut steps = 0;
    for seed in (first..).take(runs) {
        let mut choices = Choices::seeded(seed);
        let told = run(&mut choices);
        steps += told.steps;
        if told.broken.is_some() {
            tell_seed(name, seed);
            return judge(name, choices.taken(), &run);
        }
    }
    report(name, "random", runs, steps, began);
}

/// How many steps deep everything is to be tried: so many, and as many more as `MODEL_DEEPER` says.
#[must_use]
pub fn deep(steps: usize) -> usize {
    let more = setting("MODEL_DEEPER").and_then(|more| usize::try_from(more).ok());
    steps + more.unwrap_or(0)
}

/// Fails with the shortest list of choices that breaks what these break.
fn judge(name: &str, choices: Vec<usize>, run: &impl Fn(&mut Choices) -> Told) {
    let broken = |list: &[usize]| run(&mut Choices::listed(list.to_vec())).broken.map(|v| v.rule);
    let Some(rule) = broken(&choices) else {
        assert!(
            repeated(name).is_some(),
            "{name}: a run broke something, and did not when repeated"
        );
        return;
    };
    let choices = shorten(choices, |list| broken(list) == Some(rule));
    let mut again = Choices::listed(choices.clone()).telling();
    let told = run(&mut again);
    let mut text = String::new();
    for line in &told.history {
        // Writing to a string cannot fail.
        writeln!(text, "  {line}").ok();
    }
    let why = told.broken.map_or_else(String::new, |broken| broken.why);
    let list: Vec<_> = choices.iter().map(ToString::to_string).collect();
    panic!(
        "{name}\n{text}\nBROKEN: {}\n  {why}\n  repeat it: MODEL_REPLAY={name}:{}\n",
        rule.name(),
        list.join(".")
    );
}

/// Takes away from a list of choices what is not needed.
fn shorten(mut list: Vec<usize>, breaks: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    let mut size = list.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < list.len() {
            let end = (at + size).min(list.len());
            let without = [&list[..at], &list[end..]].concat();
            let mut calm = list.clone();
            calm[at..end].fill(0);
            if breaks(&without) {
                list = without;
            } else {
                if calm != list && breaks(&calm) {
                    list = calm;
                }
                at = end;
            }
        }
        size /= 2;
    }
    while list.last() == Some(&0) {
        list.pop();
    }
    list
}

/// The choices that `MODEL_REPLAY=name:1.0.2` asks to be repeated, if it names this world.
fn repeated(name: &str) -> Option<Vec<usize>> {
    let replay = std::env::var("MODEL_REPLAY").ok()?;
    let list = replay.strip_prefix(name)?.strip_prefix(':')?;
    Some(list.split('.').filter_map(|number| number.parse().ok()).collect())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[expect(clippy::print_stderr, reason = "the result of a test that was asked for")]
fn report(name: &str, which: &str, runs: usize, steps: usize, began: Instant) {
    let took = began.elapsed().as_secs_f64();
    eprintln!("{name}: {runs} schedules ({which}), {steps} steps, {took:.1} s");
}

#[expect(clippy::print_stderr, reason = "beside the panic that follows")]
fn tell_seed(name: &str, seed: u64) {
    eprintln!("{name}: MODEL_SEED={seed} MODEL_RUNS=1 finds it");
}
