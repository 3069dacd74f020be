//! The graph: a model, its losses and its penalties as very few kinds of node, a set that is closed under
//! differentiation. Everything else in strait is a function that builds nodes here.

mod check;
mod expr;
mod function;
mod gradient;
mod half;
mod layout;
mod node;
mod own;
mod padding;
mod real;
mod scalars;
mod set;
mod shape;

pub use expr::{Binary, Compare, Distribution, Expr};
pub(crate) use expr::{Kind, eval_binary, is_nan};
pub use function::Function;
pub(crate) use gradient::Seed;
pub use layout::Layout;
pub use node::{Graph, Node, NodeId, Op, Over, Reduction, Sink};
pub(crate) use node::{in_parts, reduced};
pub use own::{Matrix, Own, OwnKernel};
pub use real::Real;
pub use scalars::Scalars;
pub use set::{Arena, Kept, Set, Tensor, TensorSet};
pub use shape::{Access, Shape};
