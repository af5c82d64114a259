//! The dice that decide what is asked.
//!
//! Owns the numbers and nothing else. The invariant: the same seed gives the same numbers everywhere.

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and the same everywhere.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` − 1. The bias of the remainder is far below what a game would notice.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// −`range` to `range`, in millimetres as a fraction.
    pub(super) fn metres(&mut self, range: u32) -> f64 {
        let millimetres = u32::try_from(self.below(2_000 * u64::from(range) + 1)).unwrap_or(0);
        f64::from(millimetres) / 1_000.0 - f64::from(range)
    }

    /// One of these.
    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }
}
