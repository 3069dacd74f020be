//! Row 26: chains that sample from what a denoising autoencoder knows.

use strait::Gpu;

use super::check::Check;
use super::outcome::Outcome;

/// Row 26.
pub fn sampling(_gpu: &Gpu, _seed: u64) -> Outcome<Vec<Check>> {
    Ok(vec![])
}
