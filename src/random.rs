//! Counter-based random numbers (Philox4x32-10; Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3", 2011) and a keyed permutation. shaders/random.wgsl computes the same bits on the GPU.

use rand::TryRng;
use rand::rngs::SysRng;

use crate::error::{Error, Result};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four random words for a counter and a key.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let product = |i: usize, x: u32| {
            let p = u64::from(MULTIPLIERS[i]) * u64::from(x);
            ((p >> 32) as u32, p as u32)
        };
        let (high0, low0) = product(0, counter[0]);
        let (high1, low1) = product(1, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The two key words of a seed.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// A seed from the operating system, for a run that need not be repeated.
///
/// # Errors
/// [`Error::Device`] where the system has no randomness to give.
pub fn fresh_seed() -> Result<u64> {
    SysRng.try_next_u64().map_err(|e| Error::Device { op: "a fresh seed".into(), message: e.to_string() })
}

/// Where a draw is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The seed of the run.
    pub seed: u64,
    /// Keeps draws of different places in a model apart.
    pub stream: u32,
    /// The training step.
    pub step: u32,
}

impl Draw {
    /// Four words, for the columns `4 * quad .. 4 * quad + 4` of a row.
    fn words(&self, row: u32, quad: u32) -> [u32; 4] {
        philox([row, quad, self.step, self.stream], key(self.seed))
    }

    /// Uniform on [0, 1): a multiple of 2^-24, exact in f32.
    pub fn uniform(&self, row: usize, column: usize) -> f64 {
        unit(self.words(row as u32, (column / 4) as u32)[column % 4])
    }

    /// Standard normal, by the Box–Muller transform of neighbouring words.
    pub fn normal(&self, row: usize, column: usize) -> f64 {
        let words = self.words(row as u32, (column / 4) as u32);
        let pair = column % 4 / 2 * 2;
        let radius = (-2.0 * (unit(words[pair]) + UNIT).ln()).sqrt();
        let angle = std::f64::consts::TAU * unit(words[pair + 1]);
        radius * if column.is_multiple_of(2) { angle.cos() } else { angle.sin() }
    }
}

const UNIT: f64 = 1.0 / (1u32 << 24) as f64;

fn unit(word: u32) -> f64 {
    f64::from(word >> 8) * UNIT
}

/// A seeded permutation of `0..count`, evaluated element by element so that no table is kept: a Feistel network of
/// eight rounds on the smallest even number of bits that holds `count`, walked until it lands inside (at most four
/// times as many numbers as `count` exist, so a few steps suffice).
pub fn permute(index: u32, count: u32, seed: u64, epoch: u32) -> u32 {
    if index >= count {
        return index;
    }
    let half = half_bits(count);
    let mask = (1u32 << half) - 1;
    let [key0, key1] = key(seed);
    let mut x = index;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..8u32 {
            let mixed = mix(right ^ mix(key0 ^ mix(key1 ^ mix(epoch.wrapping_add(round.wrapping_mul(WEYL[0]))))));
            (left, right) = (right, left ^ (mixed & mask));
        }
        x = (left << half) | right;
        if x < count {
            return x;
        }
    }
}

/// Half the bits of the permutation's domain.
fn half_bits(count: u32) -> u32 {
    (32 - count.saturating_sub(1).leading_zeros()).div_ceil(2).max(1)
}

/// A bijection of 32-bit words that spreads every bit over all (the finaliser of MurmurHash3, public domain).
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}
