//! Random numbers for early refreshes and for the jitter of TTLs. The generator is cheap, and the
//! same seed yields the same numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA
/// 2014).
#[derive(Debug)]
pub(super) struct SplitMix64(AtomicU64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Draws a number from [0, 1).
    pub(super) fn draw(&self) -> f64 {
        let mut mixed = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 53 bits, the most that an `f64` holds exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn draws_are_spread_evenly_and_repeat_from_the_same_seed() {
        let (random, again) = (SplitMix64::new(7), SplitMix64::new(7));
        let mut tenths = [0_u32; 10];
        for _ in 0..100_000 {
            let drawn = random.draw();
            assert!(drawn.to_bits() == again.draw().to_bits() && (0.0..1.0).contains(&drawn));
            tenths[(drawn * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (9_500..10_500).contains(count)), "{tenths:?}");
    }
}
