//! Kernels of the caller's own: what no other node says, by WGSL, an interpreter and a gradient that the caller gives.

use std::fmt;
use std::sync::Arc;

use super::build::Graph;
use super::node::{NodeId, Op};
use super::shape::Shape;
use crate::error::{Error, Result};

/// The most tensors that such a kernel reads: they and what it leaves fit the buffers that every device offers.
const MOST: usize = 4;

/// How one value of a result comes from tensors, each seen as a matrix: its last dimension gives the columns, everything else
/// is rows, those of the batch first.
///
/// A running sum along each row, in which each value has the ones before it added:
///
/// ```
/// use std::sync::Arc;
///
/// use strait::Result;
/// use strait::graph::{Graph, Matrix, NodeId, OwnKernel, Shape};
///
/// struct RunningSum {
///     backwards: bool,
/// }
///
/// impl OwnKernel for RunningSum {
///     fn name(&self) -> &str {
///         "running sum"
///     }
///
///     fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
///         Ok(inputs[0].clone())
///     }
///
///     fn wgsl(&self, inputs: &[&Shape]) -> String {
///         let (first, end) = match self.backwards {
///             false => ("0u".to_string(), "column + 1u".to_string()),
///             true => ("column".to_string(), format!("{}u", inputs[0].columns())),
///         };
///         format!(
///             "    var sum = 0.0;
///     for (var c = {first}; c < {end}; c++) {{
///         sum += input_0(row, c);
///     }}
///     return sum;
/// "
///         )
///     }
///
///     fn rounds(&self, inputs: &[&Shape]) -> usize {
///         inputs[0].columns()
///     }
///
///     fn value(&self, inputs: &[Matrix<'_>], row: usize, column: usize) -> f64 {
///         let range = if self.backwards { column..inputs[0].columns() } else { 0..column + 1 };
///         range.map(|c| inputs[0].at(row, c)).sum()
///     }
///
///     fn gradient(&self, g: &mut Graph, _: &[NodeId], _: NodeId, cotangent: NodeId) -> Result<Vec<Option<NodeId>>> {
///         let other = Arc::new(RunningSum { backwards: !self.backwards });
///         Ok(vec![Some(g.own(other, &[cotangent])?)])
///     }
/// }
///
/// let mut g = Graph::new(vec![], vec![]);
/// let x = g.input(0, 5);
/// let sums = g.own(Arc::new(RunningSum { backwards: false }), &[x])?;
/// let squares = g.map([sums], |[s]| s.square())?;
/// let total = g.sum_all(squares);
/// let slopes = g.gradient(total, &[x])?;
/// # let _ = slopes;
/// # Ok::<(), strait::Error>(())
/// ```
pub trait OwnKernel: Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// The shape of the result, from those of the one to four tensors that it reads.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Spec`] where they do not fit.
    fn shape(&self, inputs: &[&Shape]) -> Result<Shape>;

    /// WGSL statements that return the value (f32) at `row` and `column` (u32), in which `input_0(row, column)` to `input_3` are
    /// values that it reads, 0 outside the matrix, `rows_0` to `rows_3` how many rows those have in this batch, and
    /// `columns_0` to `columns_3` how many columns. Lines must not begin with `fn` or `const`; `dims`, `state` and names that
    /// begin with `own_` are taken.
    fn wgsl(&self, inputs: &[&Shape]) -> String;

    /// How many rounds the loops of one value take at most, all together: software adapters end a thread's loops after 65,000
    /// without a word, so that a kernel of more than a quarter of that is refused there.
    fn rounds(&self, inputs: &[&Shape]) -> usize;

    /// The same on the CPU.
    fn value(&self, inputs: &[Matrix<'_>], row: usize, column: usize) -> f64;

    /// Adds, for each tensor that it reads, the gradient by it of the inner product of the result and `cotangent`, which has the
    /// shape of the result; none where that is 0.
    ///
    /// # Errors
    /// Whatever hinders it.
    fn gradient(
        &self,
        g: &mut Graph,
        inputs: &[NodeId],
        output: NodeId,
        cotangent: NodeId,
    ) -> Result<Vec<Option<NodeId>>>;
}

/// A tensor as a matrix, for [`OwnKernel::value`].
pub struct Matrix<'a> {
    at: &'a dyn Fn(usize) -> f64,
    rows: usize,
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix whose values, row by row, `at` gives.
    pub(crate) fn new(at: &'a dyn Fn(usize) -> f64, rows: usize, columns: usize) -> Matrix<'a> {
        Matrix { at, rows, columns }
    }

    /// The value there; 0 outside.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        if row < self.rows && column < self.columns { (self.at)(row * self.columns + column) } else { 0.0 }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

impl fmt::Debug for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.rows, self.columns)
    }
}

/// A kernel of the caller's own in a node. Two are the same where they are one.
#[derive(Clone)]
pub struct Own(pub(crate) Arc<dyn OwnKernel>);

impl PartialEq for Own {
    fn eq(&self, other: &Own) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.name())
    }
}

impl Graph {
    /// A kernel of the caller's own over one to four tensors.
    ///
    /// # Errors
    /// [`Error::Spec`] where these are none or too many; as [`OwnKernel::shape`]; [`Error::Node`].
    pub fn own(&mut self, kernel: Arc<dyn OwnKernel>, inputs: &[NodeId]) -> Result<NodeId> {
        self.has(kernel.name(), inputs)?;
        let shape = self.own_shape(&*kernel, inputs)?;
        Ok(self.push(Op::Own { kernel: Own(kernel), inputs: inputs.to_vec() }, shape))
    }

    /// The shape that such a kernel says its result has.
    pub(super) fn own_shape(&self, kernel: &dyn OwnKernel, inputs: &[NodeId]) -> Result<Shape> {
        if !(1..=MOST).contains(&inputs.len()) {
            let field = format!("inputs of the kernel {:?}", kernel.name());
            return Err(Error::spec(field, inputs.len(), format!("1 to {MOST}")));
        }
        let shapes: Vec<&Shape> = inputs.iter().map(|&input| self.shape(input)).collect();
        kernel.shape(&shapes)
    }

    /// What such a kernel passes on to the inputs that `active` names.
    pub(super) fn own_shares(
        &mut self,
        kernel: &dyn OwnKernel,
        inputs: &[NodeId],
        [output, cotangent]: [NodeId; 2],
        active: &[bool],
    ) -> Result<Vec<(NodeId, NodeId)>> {
        let given = kernel.gradient(self, inputs, output, cotangent)?;
        if given.len() != inputs.len() {
            let field = format!("gradients of the kernel {:?}", kernel.name());
            return Err(Error::spec(field, given.len(), format!("{}, one for each input", inputs.len())));
        }
        let mut shares = Vec::new();
        for (&input, share) in inputs.iter().zip(given) {
            let Some(share) = share.filter(|_| active[input.0]) else { continue };
            self.has(kernel.name(), &[share])?;
            if self.shape(share) != self.shape(input) {
                let op = format!("gradient of the kernel {:?} by {}", kernel.name(), self.describe(input));
                return Err(Error::shape(op, self.shape(input), self.shape(share)));
            }
            shares.push((input, share));
        }
        Ok(shares)
    }
}
