//! How long a matrix product takes, alone and many times over.

use std::time::{Duration, Instant};

use strait::graph::{Kept, Set};
use strait::internals::gpu::{Program, Work};
use strait::internals::kernel::Tile;
use strait::internals::plan::{Product, Recording, Role, Target};
use strait::internals::state::State;
use strait::{Gpu, Result};

use super::ceiling::{Clock, fastest, many};

/// How long one product is measured, the first run of its kernel left out.
pub const EACH: Duration = Duration::from_millis(60);

/// What one measurement gave.
pub struct Found {
    /// The tile that was used.
    pub tile: Tile,
    /// Seconds of one product.
    pub seconds: f64,
    /// Bytes that it must move at least.
    pub bytes: u64,
}

/// Seconds of one product with a tile, or with that of the table of defaults.
///
/// # Errors
/// Where the device refuses it or has too little memory.
pub fn timed(gpu: &Gpu, clock: &Clock, product: Product, tile: Option<Tile>) -> Result<Found> {
    let recording = Recording::new(&product.graph()?, Target { tile, ..Target::of(gpu, 1) })?;
    let tile = recording.products()[0].1;
    let state = gpu.buffer("state", 64)?;
    gpu.write(&state, 0, bytemuck::bytes_of(&State::once(1, 0)))?;
    let program = Program::new(gpu, &recording, &state, &Default::default())?;
    let factors = program.buffer(Role::Arena(Set::FIRST.arena(Kept::Values)))?;
    // Numbers of every kind: some hardware multiplies zeros faster.
    let mut word = 1u32;
    let values: Vec<f32> = (0..1 << 20)
        .map(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 8) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect();
    let pattern: &[u8] = bytemuck::cast_slice(&values);
    let mut at = 0;
    while at < factors.bytes() {
        let part = (factors.bytes() - at).min(pattern.len() as u64);
        gpu.write(factors, at, &pattern[..part as usize])?;
        at += part;
    }
    clock.settle(gpu)?;
    let seconds = match product.half && gpu.has_timestamps() {
        false => many(Instant::now() + EACH, |times| {
            gpu.submit((0..times).map(|_| Work::Run(&program)))?;
            gpu.wait()
        })?,
        // Rounding the factors comes before the product, and is not what is asked for.
        true => {
            let mut least = f64::MAX;
            fastest(Instant::now() + EACH, || {
                // Some at a time: a GPU that waits for its host runs at a low clock.
                let timed = gpu.timed(&[&program; 32])?;
                // What follows the product adds up parts of its sums.
                let own = |run: &[strait::gpu::Timed]| -> f64 {
                    run.iter().skip_while(|timed| timed.cost.flops == 0).map(|timed| timed.seconds).sum()
                };
                least = timed.chunks(program.dispatches()).map(own).fold(least, f64::min);
                Ok(())
            })?;
            least
        }
    };
    Ok(Found { tile, seconds, bytes: recording.cost().bytes })
}
