//! How much is asked of tests that can do more than a run of all tests has time for: `make` says so in the environment.

/// The number of this name, such as `KILLS`; an empty one is none.
///
/// # Panics
/// When it is not a number.
#[must_use]
pub fn number(name: &str, otherwise: usize) -> usize {
    match std::env::var(name).unwrap_or_default().as_str() {
        "" => otherwise,
        number => number.parse().unwrap_or_else(|_| panic!("{name} is not a number: {number}")),
    }
}

/// What all is drawn from that is left to chance: `SEED`.
#[must_use]
pub fn seed() -> u64 {
    number("SEED", 1) as u64
}

/// The list with commas of this name.
#[must_use]
pub fn words(name: &str) -> Vec<String> {
    let list = std::env::var(name).unwrap_or_default();
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}
