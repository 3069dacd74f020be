//! What nodes are: their kinds, what each reads, a hash and a word for it, and the shape of what it gives.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::expr::Expr;
use super::own::Own;
use super::set::Arena;
use super::shape::Shape;

/// A node of a [`Graph`](super::Graph).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

/// What a reduction does with the values it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The largest of them; NaN where one is. Its gradient goes to every place where it is reached.
    Max,
}

impl Reduction {
    /// Every one, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Reduction; 2] = [Reduction::Sum, Reduction::Max];
}

/// What a reduction runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Over {
    /// The last dimension, which becomes 1.
    Columns,
    /// The batch and every dimension but the last.
    Rows,
    /// The batch alone.
    Batch,
    /// Every dimension but the batch and the last: of each row of the batch, what [`Shape::blocks`] counts.
    Blocks,
    /// The dimension before the last, which becomes 1.
    Inner,
}

impl Over {
    /// Every one, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Over; 5] = [Over::Columns, Over::Rows, Over::Batch, Over::Blocks, Over::Inner];
}

/// The kinds of node.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The i-th batch that the caller provides.
    Input(usize),
    /// Rows of the resident data set: the current batch, through the epoch's permutation where `shuffled`.
    Gather {
        /// Whether rows are taken in permuted order.
        shuffled: bool,
    },
    /// The i-th trainable tensor, counted through all sets.
    Param(usize),
    /// The i-th frozen tensor.
    Constant(usize),
    /// A whole arena, as a matrix.
    Arena(Arena),
    /// A column of the table of scalars: of the current step, or, in a graph that updates something, of the step that it
    /// belongs to.
    Table(usize),
    /// The same value everywhere.
    Fill(f64),
    /// 1 where row and column of a block are the same, 0 elsewhere.
    Identity,
    /// An expression of each element of the inputs, which are repeated to fill the shape.
    Map {
        /// What is computed.
        expr: Expr,
        /// What it is computed from.
        inputs: Vec<NodeId>,
    },
    /// A reduction.
    Reduce {
        /// What is done with the values.
        op: Reduction,
        /// Over which dimensions.
        over: Over,
        /// What is reduced.
        input: NodeId,
    },
    /// The product of two matrices (tensors seen as matrices: the last dimension gives the columns).
    MatMul {
        /// The left matrix,
        a: NodeId,
        /// and the right one.
        b: NodeId,
        /// Whether the left one is transposed,
        ta: bool,
        /// and whether the right one is.
        tb: bool,
        /// In how many parts a sum over the inner dimension is left, in a dimension before the columns: 1 but in plans,
        /// where the parts of a long sum are computed side by side and added up after.
        parts: usize,
    },
    /// The same values in another shape.
    View(NodeId),
    /// Columns moved within their rows: column `c` is column `c + offset` of the input, or 0 where that has none. What
    /// slices, pads and shifts, and the adjoint of all three.
    Columns {
        /// Whose columns.
        input: NodeId,
        /// How far they move to the left.
        offset: isize,
    },
    /// A kernel of the caller's own.
    Own {
        /// The kernel,
        kernel: Own,
        /// and what it reads.
        inputs: Vec<NodeId>,
    },
}

impl Op {
    /// A number that differs for most operations and shapes that are not the same.
    pub(super) fn hashed(&self, shape: &Shape) -> u64 {
        let mut hasher = DefaultHasher::new();
        shape.hash(&mut hasher);
        std::mem::discriminant(self).hash(&mut hasher);
        match self {
            Op::Input(i) | Op::Param(i) | Op::Constant(i) | Op::Table(i) => i.hash(&mut hasher),
            Op::Gather { shuffled } => shuffled.hash(&mut hasher),
            Op::Arena(arena) => arena.hash(&mut hasher),
            // Zeros of both signs are the same.
            Op::Fill(value) => (value + 0.0).to_bits().hash(&mut hasher),
            Op::Map { expr, inputs } => (inputs, expr.depth()).hash(&mut hasher),
            Op::Reduce { op, over, input } => (op, over, input).hash(&mut hasher),
            Op::MatMul { a, b, ta, tb, parts } => (a, b, ta, tb, parts).hash(&mut hasher),
            Op::Columns { input, offset } => (input, offset).hash(&mut hasher),
            Op::View(input) => input.hash(&mut hasher),
            Op::Own { kernel, inputs } => (kernel.0.name(), inputs).hash(&mut hasher),
            Op::Identity => {}
        }
        hasher.finish()
    }

    /// A word for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Op::Map { .. } => "map",
            Op::Reduce { op: Reduction::Sum, over: Over::Columns, .. } => "sum over columns",
            Op::Reduce { op: Reduction::Sum, .. } => "sum over rows",
            Op::Reduce { op: Reduction::Max, over: Over::Columns, .. } => "max over columns",
            Op::Reduce { op: Reduction::Max, .. } => "max over rows",
            Op::MatMul { .. } => "matmul",
            Op::View(_) => "view",
            Op::Columns { .. } => "columns",
            Op::Own { .. } => "own kernel",
            Op::Input(_) => "input",
            Op::Gather { shuffled: true } => "shuffled rows of the data",
            Op::Gather { shuffled: false } => "rows of the data",
            Op::Param(_) => "parameter",
            Op::Constant(_) => "constant",
            Op::Arena(_) => "arena",
            Op::Table(_) => "scalar",
            Op::Fill(_) => "fill",
            Op::Identity => "identity",
        }
    }

    /// The nodes it reads.
    fn inputs_mut(&mut self) -> Vec<&mut NodeId> {
        match self {
            Op::Map { inputs, .. } | Op::Own { inputs, .. } => inputs.iter_mut().collect(),
            Op::Reduce { input, .. } | Op::View(input) | Op::Columns { input, .. } => vec![input],
            Op::MatMul { a, b, .. } => vec![a, b],
            Op::Input(_) | Op::Gather { .. } | Op::Param(_) | Op::Constant(_) => vec![],
            Op::Arena(_) | Op::Table(_) | Op::Fill(_) | Op::Identity => vec![],
        }
    }

    /// Whether both compute the same. Inputs are compared first: they differ sooner than expressions do.
    pub(super) fn same(&self, other: &Op) -> bool {
        match (self, other) {
            (Op::Map { expr, inputs }, Op::Map { expr: other, inputs: others }) => inputs == others && expr == other,
            _ => self == other,
        }
    }
}

/// A node: what it computes and the shape of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// The shape of the result.
    pub shape: Shape,
    /// What people call it; may be empty.
    pub name: String,
}

impl Node {
    /// The same for a graph in which the nodes it reads have other numbers.
    pub(crate) fn moved(&self, to: impl Fn(NodeId) -> NodeId) -> Node {
        let mut node = self.clone();
        node.op.inputs_mut().into_iter().for_each(|input| *input = to(*input));
        node
    }

    /// The nodes this one reads.
    pub fn inputs(&self) -> Vec<NodeId> {
        match &self.op {
            Op::Map { inputs, .. } | Op::Own { inputs, .. } => inputs.clone(),
            Op::Reduce { input, .. } | Op::View(input) | Op::Columns { input, .. } => vec![*input],
            Op::MatMul { a, b, .. } => vec![*a, *b],
            Op::Input(_) | Op::Gather { .. } | Op::Param(_) | Op::Constant(_) => vec![],
            Op::Arena(_) | Op::Table(_) | Op::Fill(_) | Op::Identity => vec![],
        }
    }
}

/// Where a result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Sink {
    /// The gradient of the i-th trainable tensor, counted through all sets.
    Gradient(usize),
    /// The i-th term of the objective: a scalar that is watched for non-finite values and reported.
    #[doc(hidden)]
    Term(usize),
    /// The i-th result for the caller.
    Output(usize),
    /// A new value of a whole arena, element by element; elements that would not be finite are left alone and
    /// reported, and nothing is written once a step went bad.
    #[doc(hidden)]
    Update(Arena),
}

/// The shape of a reduction's result.
pub(crate) fn reduced(from: &Shape, over: Over) -> Shape {
    let columns = &from.dims[from.dims.len().saturating_sub(1)..];
    match over {
        Over::Columns if from.dims.is_empty() => from.clone(),
        Over::Columns => {
            let mut dims = from.dims.clone();
            if let Some(last) = dims.last_mut() {
                *last = 1;
            }
            Shape { batched: from.batched, dims }
        }
        Over::Rows => Shape::fixed(columns),
        Over::Batch => Shape::fixed(&from.dims),
        Over::Blocks => Shape { batched: from.batched, dims: columns.to_vec() },
        Over::Inner => {
            let mut shape = from.clone();
            if let [.., inner, _] = &mut shape.dims[..] {
                *inner = 1;
            }
            shape
        }
    }
}

/// The shape with so many columns, where there can be one.
pub(crate) fn resized(from: &Shape, width: usize) -> Option<Shape> {
    let mut shape = from.clone();
    *shape.dims.last_mut().filter(|_| width > 0)? = width;
    Some(shape)
}

/// The shape of a matrix product, where the factors fit.
pub(crate) fn product_shape(a: &Shape, b: &Shape, ta: bool, tb: bool) -> Option<Shape> {
    let columns = |b: &Shape| if b.batched { None } else { Some(if tb { b.blocks() } else { b.columns() }) };
    let inner_b = |b: &Shape| if tb { b.columns() } else { b.blocks() };
    if a.dims.is_empty() || b.dims.is_empty() {
        return None;
    }
    if !ta {
        // Rows stay rows: [.., k] x [k, n].
        let n = columns(b)?;
        let mut dims = a.lead().to_vec();
        dims.push(n);
        return (a.columns() == inner_b(b)).then_some(Shape { batched: a.batched, dims });
    }
    if !tb {
        // Both sum over the same rows, the batch included: [.., m]' x [.., n].
        let fits = a.batched == b.batched && a.blocks() == b.blocks();
        return fits.then(|| Shape::fixed(&[a.columns(), b.columns()]));
    }
    let n = columns(b)?;
    (!a.batched && a.blocks() == b.columns()).then(|| Shape::fixed(&[a.columns(), n]))
}

/// The shape of a matrix product whose sums are left in so many parts.
pub(crate) fn in_parts(mut shape: Shape, parts: usize) -> Shape {
    if parts > 1 {
        shape.dims.insert(shape.dims.len().saturating_sub(1), parts);
    }
    shape
}
