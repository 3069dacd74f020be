//! Tensors come in sets: a list of tensors with one layout, and one buffer for each thing that is kept of them. What a step
//! trains is a property of the step: a set whose gradient nobody asks for keeps its bytes. Sets are also how parameters
//! that exceed one binding are spread over several.

use std::ops::Range;

use super::build::Graph;
use super::layout::Layout;
use super::shape::Shape;
use crate::error::{Error, Result};

/// A named tensor that outlives a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name, for example `encoder.0.weight`.
    pub name: String,
    /// Its shape; never batched.
    pub shape: Shape,
}

impl Tensor {
    /// Fails where so many values are not all of it.
    ///
    /// # Errors
    /// [`Error::Data`] naming it.
    pub(crate) fn check_count(&self, count: usize) -> Result<()> {
        match self.shape.elements(1) {
            wanted if wanted == count => Ok(()),
            wanted => Err(Error::data(&self.name, format!("{count} values"), format!("{wanted} values"))),
        }
    }
}

/// The number of a set in a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(pub usize);

/// What is kept of a set's tensors, each in a buffer of the same [`super::Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kept {
    /// Their values.
    Values,
    /// Their gradients.
    #[doc(hidden)]
    Gradients,
    /// The first moments that an optimizer keeps: of the updates that train the set in a phase, each has its own, by its number
    /// among them.
    #[doc(hidden)]
    First(u8),
    /// Its second moments.
    #[doc(hidden)]
    Second(u8),
    /// The best values on the validation split so far.
    #[doc(hidden)]
    Best,
    /// Averages of the values over the updates so far, which begin at 0.
    #[doc(hidden)]
    Average,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kept::Values => f.write_str("values"),
            Kept::Gradients => f.write_str("gradients"),
            Kept::First(0) => f.write_str("first moments"),
            Kept::Second(0) => f.write_str("second moments"),
            Kept::First(update) => write!(f, "first moments (update {update})"),
            Kept::Second(update) => write!(f, "second moments (update {update})"),
            Kept::Best => f.write_str("best values"),
            Kept::Average => f.write_str("average"),
        }
    }
}

/// A buffer of a set: the same offsets in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arena {
    /// Whose tensors.
    #[doc(hidden)]
    pub set: Set,
    /// What of them.
    #[doc(hidden)]
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

impl Graph {
    /// An empty graph over sets of trainable tensors, which are numbered one set after the other, and frozen ones.
    #[doc(hidden)]
    pub fn with_sets(sets: Vec<TensorSet>, constants: Vec<Tensor>) -> Graph {
        let mut graph = Graph::default();
        graph.constants = constants;
        sets.into_iter().fold(graph, Graph::with_set)
    }

    /// The same with one more set, after those that it has.
    pub(crate) fn with_set(mut self, TensorSet { name, tensors }: TensorSet) -> Graph {
        let first = self.params.len();
        self.params.extend(tensors);
        self.sets.push((name, first..self.params.len()));
        self
    }

    /// Whether it is over the same tensors, in the same sets, and the same scalars as another.
    pub(crate) fn is_over(&self, other: &Graph) -> bool {
        let tensors = self.params == other.params && self.constants == other.constants;
        tensors && self.sets == other.sets && self.scalars == other.scalars
    }

    /// The sets.
    pub(crate) fn sets(&self) -> impl Iterator<Item = Set> + use<> {
        (0..self.sets.len()).map(Set)
    }

    /// The name of a set; empty where the graph has none of this number.
    pub(crate) fn set_name(&self, set: Set) -> &str {
        self.sets.get(set.0).map_or("", |(name, _)| name)
    }

    /// The numbers of a set's tensors; none where the graph has no such set.
    pub(crate) fn members(&self, set: Set) -> Range<usize> {
        self.sets.get(set.0).map_or(0..0, |(_, members)| members.clone())
    }

    /// The tensors of a set.
    pub(crate) fn tensors(&self, set: Set) -> &[Tensor] {
        self.params.get(self.members(set)).unwrap_or_default()
    }

    /// Where they lie in each of its buffers.
    pub(crate) fn layout(&self, set: Set) -> Layout {
        Layout::new(self.tensors(set))
    }

    /// The set of a trainable tensor.
    pub(crate) fn set_of(&self, param: usize) -> Option<Set> {
        self.sets.iter().position(|(_, members)| members.contains(&param)).map(Set)
    }

    /// Of every trainable tensor its set, and its offset in each of that set's buffers in bytes.
    pub(crate) fn offsets(&self) -> Vec<(Set, u64)> {
        self.sets().flat_map(|set| self.layout(set).offsets.into_iter().map(move |offset| (set, offset))).collect()
    }
}
