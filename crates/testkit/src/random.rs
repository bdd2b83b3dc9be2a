//! Random numbers of tests, each from a seed that is told.

use std::time::SystemTime;

/// Draws numbers from a seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed draws the same numbers. Neighbouring seeds have nothing
    /// in common.
    pub fn of(seed: u64) -> Self {
        // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    /// From the seed in `CHURNWATCH_TEST_SEED`, else from the clock; says which.
    pub fn told() -> Self {
        let seed = seed();
        println!("CHURNWATCH_TEST_SEED={seed}");
        Self::of(seed)
    }

    /// A number from `low` up to and without `high`.
    ///
    /// # Panics
    /// There is none.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        assert!(low < high, "no number from {low} to below {high}");
        // xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + (self.0 % (high - low) as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: usize) -> bool {
        self.between(0, 100) < share
    }

    /// One of these.
    ///
    /// # Panics
    /// There is none.
    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len())]
    }
}

/// The seed in `CHURNWATCH_TEST_SEED`, else one from the clock.
///
/// # Panics
/// The clock stands before 1970.
pub fn seed() -> u64 {
    let given = std::env::var("CHURNWATCH_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    given.unwrap_or(since_epoch.expect("a clock after 1970").as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again_and_its_neighbour_something_else() {
        let drawn = |seed| {
            let mut random = Random::of(seed);
            [(); 8].map(|()| random.between(0, 1_000))
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }
}
