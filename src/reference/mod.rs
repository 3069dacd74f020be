//! The reference: interpreters on the CPU, in f32 and f64, that say what the GPU ought to compute, and what its gradients ought
//! to be.

mod gradcheck;
pub(crate) mod graph;
pub(crate) mod recording;

pub use gradcheck::{Mismatch, gradcheck};
pub use graph::Environment;
pub(crate) use graph::evaluate;
