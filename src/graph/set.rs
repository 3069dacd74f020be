//! Tensors come in sets: a list of tensors with one layout, and one buffer for each thing that is kept of them. What a step
//! trains is a property of the step: a set whose gradient nobody asks for keeps its bytes. Sets are also how parameters
//! that exceed one binding are spread over several.

use super::node::Tensor;

/// The number of a set in a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(pub usize);

/// What is kept of a set's tensors, each in a buffer of the same [`super::Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kept {
    /// Their values.
    Values,
    /// Their gradients.
    Gradients,
    /// The optimizer's first moments.
    First,
    /// The optimizer's second moments.
    Second,
    /// The best values on the validation split so far.
    Best,
}

/// A buffer of a set: the same offsets in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arena {
    /// Whose tensors.
    pub set: Set,
    /// What of them.
    pub kept: Kept,
}

impl Set {
    /// The set of a graph that has but one.
    pub const FIRST: Set = Set(0);

    /// One of its buffers.
    pub const fn arena(self, kept: Kept) -> Arena {
        Arena { set: self, kept }
    }
}

/// Tensors that lie in one buffer, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSet {
    /// Its name.
    pub name: String,
    /// Its tensors.
    pub tensors: Vec<Tensor>,
}

impl TensorSet {
    /// A set of this name.
    pub fn new(name: impl Into<String>, tensors: Vec<Tensor>) -> TensorSet {
        TensorSet { name: name.into(), tensors }
    }
}
