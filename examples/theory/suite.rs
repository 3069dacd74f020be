//! The suite: every row with its checks. The example prints it, `tests/suites/theory.rs` asserts what takes seconds.

#[path = "../common/outcome.rs"]
pub mod outcome;

#[path = "../common/kernels.rs"]
pub mod kernels;

pub mod boltzmann;
pub mod check;
pub mod device;
pub mod forward;
pub mod jacobians;
pub mod linear;

pub mod adversarial;
pub mod contractive;
pub mod decoders;
pub mod denoising;
pub mod fields;
pub mod joint;
pub mod manifold;
pub mod predictive;
pub mod pretraining;
pub mod recirculation;
pub mod sampling;
pub mod schemes;
pub mod score;
pub mod searched;
pub mod sparse;
pub mod stochastic;
pub mod structure;
pub mod variational;

use check::Check;
use outcome::Outcome;
use strait::Gpu;

/// Measures what a row claims, on made data that depends on the seed.
pub type Run = fn(&Gpu, u64) -> Outcome<Vec<Check>>;

/// A row of the list of systems.
pub struct Row {
    /// Its number in the list.
    pub number: u32,
    /// What it is about.
    pub name: &'static str,
    /// What takes seconds on a software adapter: it runs in `cargo test` too.
    pub run: Run,
    /// What takes longer.
    pub slow: Option<Run>,
}

/// Every section's rows, in the order of the list.
pub const SECTIONS: [&[Row]; 11] = [
    structure::ROWS,
    decoders::ROWS,
    sparse::ROWS,
    denoising::ROWS,
    contractive::ROWS,
    variational::ROWS,
    pretraining::PAIRS,
    schemes::ROWS,
    pretraining::LABELS,
    searched::ROWS,
    adversarial::ROWS,
];
