//! Chance that can be had again.

use sha2::{Digest as _, Sha256};

/// SplitMix64: small, and the same everywhere and for ever, which a library's generator does not promise.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// Each fault draws from a sequence of its own: what hits one does not shift the others.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let hash = Sha256::digest(name.as_bytes());
        let name = hash.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        Self(seed ^ name)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to 1, without 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub(super) fn below(&mut self, share: f64) -> bool {
        self.part() < share
    }
}
