//! What is answered when a world asks what happens next.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// A source of choices, and what was chosen.
#[derive(Debug)]
pub struct Choices {
    ahead: Ahead,
    /// What was chosen, and of how many.
    taken: Vec<(usize, usize)>,
    tells: bool,
}

#[derive(Debug)]
enum Ahead {
    Listed(Vec<usize>),
    Seeded(SmallRng),
}

impl Choices {
    /// These choices, and after them always the first.
    #[must_use]
    pub fn listed(ahead: Vec<usize>) -> Self {
        Self { ahead: Ahead::Listed(ahead), taken: Vec::new(), tells: false }
    }

    /// Choices that depend on nothing but the seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let ahead = Ahead::Seeded(SmallRng::seed_from_u64(seed));
        Self { ahead, taken: Vec::new(), tells: false }
    }

    /// These choices, in a run whose history is told: that costs more than the run.
    #[must_use]
    pub fn telling(self) -> Self {
        Self { tells: true, ..self }
    }

    /// Whether the history is to be told.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.tells
    }

    /// Chooses one of `of` ways to go on. The first should be the most peaceful: it is what a
    /// failing run is reduced to wherever it can be.
    pub fn pick(&mut self, of: usize) -> usize {
        let picked = match &mut self.ahead {
            Ahead::Listed(ahead) => ahead.get(self.taken.len()).map_or(0, |&next| next.min(of - 1)),
            Ahead::Seeded(rng) => rng.random_range(0..of),
        };
        self.taken.push((picked, of));
        picked
    }

    /// What was chosen.
    #[must_use]
    pub fn taken(&self) -> Vec<usize> {
        self.taken.iter().map(|(picked, _)| *picked).collect()
    }

    /// The choices after these, where all are to be tried; `None`: these were the last.
    pub(crate) fn next(&self) -> Option<Vec<usize>> {
        let last = self.taken.iter().rposition(|(picked, of)| picked + 1 < *of)?;
        let mut next: Vec<_> = self.taken[..last].iter().map(|(picked, _)| *picked).collect();
        next.push(self.taken[last].0 + 1);
        Some(next)
    }
}
