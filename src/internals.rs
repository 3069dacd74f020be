//! What strait's own suites, benchmarks and examples look into. It is not part of the public interface: anything here may change
//! or go at any time, without a word in the changelog.
//!
//! Each module holds what the crate's module of that name has, public or not.

/// Any graph once on the GPU.
pub mod evaluator {
    pub use crate::evaluator::Evaluator;
}

/// Programs, readbacks and clocks.
pub mod gpu {
    pub use crate::gpu::pace::{Parts, Together};
    pub use crate::gpu::program::{Program, Work};
    pub use crate::gpu::readback::{Readback, Wait};
    pub use crate::gpu::timing::Clock;
    pub use crate::gpu::*;
}

/// What nodes are, and how tensors lie in memory.
pub mod graph {
    pub use crate::graph::expr::Binary;
    pub use crate::graph::function::Function;
    pub use crate::graph::layout::Layout;
    pub use crate::graph::node::{Node, Op};
    pub use crate::graph::own::Own;
    pub use crate::graph::real::Real;
    pub use crate::graph::scalars::Scalars;
    pub use crate::graph::shape::Access;
    pub use crate::graph::*;
}

/// Templates, tiles and reflection.
pub mod kernel {
    pub use crate::kernel::*;
}

/// A spec with its tensors.
pub mod model {
    pub use crate::model::network::Network;
    pub use crate::model::*;
}

/// From a graph to a recording.
pub mod plan {
    pub use crate::plan::*;
}

/// The bits of random numbers.
pub mod random {
    pub use crate::random::*;
}

/// The interpreters.
pub mod reference {
    pub use crate::reference::graph::{Element, Values, eval_expr, evaluate, evaluate_node};
    pub use crate::reference::recording::{Results, replay};
    pub use crate::reference::*;
}

/// The state of a run on the GPU.
pub mod state {
    pub use crate::state::*;
}

/// What tuning measured.
pub mod train {
    pub use crate::train::tune::Trial;
    pub use crate::train::*;
}
