//! Chance: numbers to choose by, and names that clients cannot guess.
//!
//! invariant: the same seed gives the same numbers and names, so that a run can be repeated.
//! invariant: whatever clients see of it, they cannot compute a name that the broker has made up for another: names
//! come from a cryptographic generator, and from no other.

use std::fmt;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

/// Where chance starts from.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Seed {
    key: [u8; 32],
    stream: u64,
}

impl Seed {
    /// A seed of this key, which nobody else may know.
    pub fn new(key: [u8; 32]) -> Self {
        Seed { key, stream: 0 }
    }

    /// One of many seeds of the same key, none of which tells anything of another.
    #[must_use]
    pub fn stream(self, number: u64) -> Self {
        Seed { stream: number, ..self }
    }
}

/// For runs that are to be repeated.
impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        Seed::new(key)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed").finish_non_exhaustive()
    }
}

/// What a virtual host draws from.
pub struct Chance {
    names: ChaCha20Rng,
    /// why: drawn from for many messages, and nothing depends on its being a secret.
    numbers: fastrand::Rng,
}

impl Chance {
    /// Chance that starts from this seed.
    pub fn new(seed: Seed) -> Self {
        let mut names = ChaCha20Rng::from_seed(seed.key);
        names.set_stream(seed.stream);
        let numbers = fastrand::Rng::with_seed(names.next_u64());
        Chance { names, numbers }
    }

    /// A number to choose by.
    pub fn number(&mut self) -> u64 {
        self.numbers.u64(..)
    }

    /// The octets of a name.
    pub fn name(&mut self) -> [u8; 16] {
        let mut octets = [0; 16];
        self.names.fill_bytes(&mut octets);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_its_streams_differ() {
        let drawn = |seed: Seed| {
            let mut chance = Chance::new(seed);
            (chance.name(), chance.number(), chance.name(), chance.number())
        };
        let seed = Seed::from(7);
        assert_eq!(drawn(seed), drawn(seed));
        let all = [seed, seed.stream(1), seed.stream(2), Seed::from(8), Seed::new([7; 32])];
        let names: std::collections::BTreeSet<_> =
            all.iter().flat_map(|seed| [drawn(*seed).0, drawn(*seed).2]).collect();
        assert_eq!(names.len(), 2 * all.len());
    }

    /// The key stream of RFC 8439, appendix A.1, test vector 1: the generator is the cipher and nothing less.
    #[test]
    fn names_are_the_key_stream_of_chacha20() {
        let mut chance = Chance::new(Seed::default());
        // The first eight octets are the seed of the other generator.
        let expected = [
            0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d,
            0xed, 0x1a,
        ];
        assert_eq!(chance.name(), expected);
        let expected = [
            0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7, 0xda, 0x41, 0x59, 0x7c, 0x51, 0x57,
            0x48, 0x8d,
        ];
        assert_eq!(chance.name(), expected);
    }
}
