//! The graph: a model, its losses and its penalties as very few kinds of node, a set that is closed under
//! differentiation. Everything else in strait is a function that builds nodes here.

mod build;
mod check;
pub(crate) mod expr;
pub(crate) mod function;
mod gradient;
mod half;
pub(crate) mod layout;
pub(crate) mod node;
pub(crate) mod own;
mod padding;
pub(crate) mod real;
pub(crate) mod scalars;
mod set;
pub(crate) mod shape;

pub use build::Graph;
pub(crate) use expr::{Binary, Kind, eval_binary, is_nan};
pub use expr::{Compare, Distribution, Expr};
pub(crate) use function::Function;
pub(crate) use gradient::Seed;
pub(crate) use layout::Layout;
pub(crate) use node::{Node, Op, in_parts, reduced};
pub use node::{NodeId, Over, Reduction, Sink};
pub use own::{Matrix, OwnKernel};
pub(crate) use real::Real;
pub(crate) use scalars::Scalars;
pub use set::{Arena, Kept, Set, Tensor, TensorSet};
pub(crate) use shape::Access;
pub use shape::Shape;
