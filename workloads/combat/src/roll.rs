//! The dice: numbers that depend on the duel and on their place in the round, and on nothing else.
//!
//! Owns one counter-based generator: number `n` of a key is computed directly, without the numbers before it, so a rule
//! that is added later does not shift the rolls of the others. Not for secrets. The mixing function is the finaliser of
//! `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).

/// 2^64 divided by the golden ratio: consecutive counters land far apart.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The dice of one duel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    key: u64,
}

impl Dice {
    /// Dice for one duel. The fighters and the zone are a part of the key: a caller may pass one seed for a whole zone.
    pub(crate) fn new(seed: u64, zone: u64, a: u64, b: u64) -> Self {
        Self { key: [zone, a, b].into_iter().fold(mix(seed), |key, part| mix(key ^ part.wrapping_mul(STEP))) }
    }

    /// A number from 1 to `sides`, for the roll named `n`. The bias is below `sides` / 2^32.
    pub(crate) fn roll(self, n: u64, sides: u32) -> u32 {
        let word = mix(self.key.wrapping_add(STEP.wrapping_mul(n + 1)));
        let scaled = ((word >> 32) * u64::from(sides)) >> 32;
        u32::try_from(scaled).expect("a product scaled back by 2^32 is below `sides`") + 1
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
    fn every_side_comes_up_about_equally_often() {
        let mut seen = [0_u32; 100];
        for seed in 0..100_000 {
            let side = Dice::new(seed, 1, 2, 3).roll(0, 100);
            seen[usize::try_from(side).expect("small") - 1] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn seed_zone_fighters_and_roll_all_matter() {
        let word = |seed, zone, a, b, n| Dice::new(seed, zone, a, b).roll(n, u32::MAX);
        let base = word(1, 2, 3, 4, 0);
        for other in [word(2, 2, 3, 4, 0), word(1, 3, 3, 4, 0), word(1, 2, 4, 3, 0), word(1, 2, 3, 5, 0)] {
            assert_ne!(base, other);
        }
        assert_ne!(base, word(1, 2, 3, 4, 1));
        assert_eq!(base, word(1, 2, 3, 4, 0));
    }
}
