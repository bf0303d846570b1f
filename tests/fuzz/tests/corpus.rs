//! Tries everything that was ever found, and a little beside it: the bounded run of `make test`.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// How many inputs are made of those in the corpus, for each target, and how long at most: reading
/// all settings takes milliseconds.
const MADE: usize = 500;
const WHILE: Duration = Duration::from_secs(1);
/// No longer ones are made.
const LONGEST: usize = 512;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.expect("a file of the corpus").path())
        .collect();
    files.sort();
    files.iter().map(|path| fs::read(path).expect("it can be read")).collect()
}

#[test]
fn every_input_of_the_corpus_is_read() {
    each_target(|target, run| {
        corpus(target).iter().for_each(|data| run(data));
    });
}

#[test]
fn inputs_like_those_of_the_corpus_are_read() {
    each_target(|target, run| {
        let (rng, began) = (&mut SmallRng::seed_from_u64(1), Instant::now());
        let corpus = corpus(target);
        for _ in 0..MADE {
            run(&altered(&corpus, rng));
            if began.elapsed() > WHILE {
                break;
            }
        }
    });
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = fs::read_dir(root).expect("the corpora").map(|it| it.expect("one").file_name());
    let folders: BTreeSet<_> = folders.map(|it| it.into_string().expect("UTF-8")).collect();
    assert_eq!(folders, fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect());
}

/// Goes on with the next target where one is broken. Tells of the input that broke it.
#[expect(clippy::print_stderr, reason = "shown when a test fails, and else to nobody")]
fn each_target(mut try_all: impl FnMut(&'static str, &mut dyn FnMut(&[u8]))) {
    let mut broken = Vec::new();
    for (target, run) in fuzz::TARGETS {
        let mut last = Vec::new();
        let tried = catch_unwind(AssertUnwindSafe(|| {
            try_all(target, &mut |data| {
                data.clone_into(&mut last);
                run(data);
            });
        }));
        if tried.is_err() {
            eprintln!("{target} is broken by: {}", last.escape_ascii());
            broken.push(*target);
        }
    }
    assert!(broken.is_empty(), "broken: {}", broken.join(", "));
}

/// One input, with parts of another, and some bytes changed, doubled or left out.
fn altered(corpus: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut data = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=data.len());
        let end = (at + rng.random_range(0..8)).min(data.len());
        match rng.random_range(0..5) {
            0 => drop(data.splice(at..at, [rng.random::<u8>()])),
            1 => drop(data.drain(at..end)),
            2 => {
                let part = data[at..end].to_vec();
                drop(data.splice(at..at, part));
            }
            3 => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                let from = rng.random_range(0..=other.len());
                drop(data.splice(at..end, other[from..].iter().copied()));
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
        }
    }
    data.truncate(LONGEST);
    data
}
