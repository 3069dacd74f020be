//! Rows 22 to 25: the displacement r(x) − x of a denoising autoencoder as a field.

use strait::Gpu;

use super::check::Check;
use super::outcome::Outcome;

/// Row 22.
pub fn energy(_gpu: &Gpu, _seed: u64) -> Outcome<Vec<Check>> {
    Ok(vec![])
}

/// Row 23.
pub fn gradient_field(_gpu: &Gpu, _seed: u64) -> Outcome<Vec<Check>> {
    Ok(vec![])
}

/// Row 24.
pub fn contractive_limit(_gpu: &Gpu, _seed: u64) -> Outcome<Vec<Check>> {
    Ok(vec![])
}

/// Row 25.
pub fn vector_fields(_gpu: &Gpu, _seed: u64) -> Outcome<Vec<Check>> {
    Ok(vec![])
}
