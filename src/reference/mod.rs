//! The reference: interpreters on the CPU, in f32 and f64, that say what the GPU ought to compute, and what its gradients ought
//! to be.

mod gradcheck;
mod graph;
mod recording;

pub use gradcheck::{Mismatch, gradcheck};
pub use graph::{Element, Environment, Values, eval_expr, evaluate, evaluate_node};
pub use recording::{Results, replay};
