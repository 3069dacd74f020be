//! The reference: interpreters on the CPU, in f32 and f64, that say what the GPU ought to compute.

mod graph;
mod recording;

pub use graph::{Element, Environment, Values, eval_expr, evaluate, evaluate_node};
pub use recording::{Results, replay};
