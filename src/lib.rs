//! strait
pub mod data;
pub mod error;
pub mod evaluator;
pub mod gpu;
pub mod graph;
pub mod kernel;
pub mod plan;
pub mod random;
pub mod reference;
pub mod state;
pub use error::{Error, Result};
