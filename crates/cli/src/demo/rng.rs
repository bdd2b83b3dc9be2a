//! Random numbers that are the same everywhere: SplitMix64 (Steele, Lea and
//! Flood, 2014), in integers only.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Rng {
    /// The stream numbered `stream` of a seed. Streams are independent, so
    /// drawing more from one leaves the others as they were.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ mix(stream.wrapping_mul(GOLDEN_GAMMA)));
        rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// A number from 0 to `bound - 1`; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(bound)) >> 32) as u32
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// True in `permille` of 1000 cases.
    pub(super) fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < permille
    }

    /// The index of one of `weights`, drawn in proportion to them; 0 if all
    /// are zero.
    pub(super) fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let mut left = self.below(weights.clone().sum());
        for (index, weight) in weights.enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        0
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_splitmix64_sequence() {
        let mut rng = Rng(1_234_567);
        let first = [rng.next(), rng.next(), rng.next()];
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(Rng::new(1, 0).bits(), Rng::new(1, 1).bits());
        assert_ne!(Rng::new(1, 0).bits(), Rng::new(2, 0).bits());
    }

    #[test]
    fn stays_within_its_bounds_and_reaches_both() {
        let mut rng = Rng::new(7, 7);
        let draws: Vec<u32> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!(draws.iter().min(), Some(&3));
        assert_eq!(draws.iter().max(), Some(&6));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn draws_in_proportion_to_weights_and_never_a_weight_of_zero() {
        let mut rng = Rng::new(7, 8);
        let mut seen = [0_u32; 3];
        for _ in 0..4000 {
            seen[rng.weighted([1, 0, 3].into_iter())] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!(
            (900..1100).contains(&seen[0]),
            "about a quarter of 4000, was {}",
            seen[0]
        );
    }
}
