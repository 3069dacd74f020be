//! The graph itself: nodes in their order, and the functions that add them.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::expr::{Expr, Kind};
use super::node::{Node, NodeId, Op, Over, Reduction, Sink, product_shape, reduced, resized};
use super::scalars::Scalars;
use super::set::{Arena, Tensor, TensorSet};
use super::shape::{Access, Shape, product};
use crate::error::{Error, Result};

/// What is read through is not nested deeper, so that chains of such maps do not become one expression.
const SHALLOW: u16 = 64;

/// Nodes in the order they were added, which is an order they can be computed in.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) sinks: Vec<(Sink, NodeId)>,
    pub(crate) params: Vec<Tensor>,
    /// The name of each set, and which of the trainable tensors are its own.
    pub(super) sets: Vec<(String, Range<usize>)>,
    pub(crate) constants: Vec<Tensor>,
    pub(crate) scalars: Scalars,
    pub(crate) terms: Vec<String>,
    scope: String,
    /// Nodes by a hash of what they are, as far as they have been looked at.
    index: HashMap<u64, Vec<usize>>,
    indexed: usize,
}

impl Graph {
    /// The same graph before any node.
    pub(crate) fn without_nodes(&self) -> Graph {
        Graph { nodes: vec![], index: HashMap::new(), indexed: 0, ..self.clone() }
    }

    /// An empty graph over the given trainable tensors, all in one set, and frozen ones.
    pub fn new(params: Vec<Tensor>, constants: Vec<Tensor>) -> Graph {
        Graph::with_sets(vec![TensorSet::new("parameters", params)], constants)
    }

    /// The same graph with a table of scalars.
    #[doc(hidden)]
    pub fn with_scalars(self, scalars: Scalars) -> Graph {
        Graph { scalars, ..self }
    }

    /// Its table of scalars.
    #[doc(hidden)]
    pub fn scalars(&self) -> &Scalars {
        &self.scalars
    }

    /// The node. Where the graph has no such node: a scalar parameter that no graph has.
    #[doc(hidden)]
    pub fn node(&self, id: NodeId) -> &Node {
        static MISSING: Node =
            Node { op: Op::Param(usize::MAX), shape: Shape { batched: false, dims: Vec::new() }, name: String::new() };
        self.nodes.get(id.0).unwrap_or(&MISSING)
    }

    /// The shape of a node; see [`Graph::node`].
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.node(id).shape
    }

    /// Fails where one of the nodes is not in the graph.
    pub(crate) fn has(&self, op: &str, ids: &[NodeId]) -> Result<()> {
        match ids.iter().find(|id| id.0 >= self.nodes.len()) {
            Some(id) => Err(Error::Node { op: op.into(), node: id.0 }),
            None => Ok(()),
        }
    }

    /// The nodes with their ids.
    #[doc(hidden)]
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i), n))
    }

    /// The nodes that results need.
    pub(crate) fn needed(&self) -> BTreeSet<NodeId> {
        let mut needed: BTreeSet<NodeId> = self.sinks.iter().map(|(_, id)| *id).collect();
        for (id, node) in self.nodes().rev() {
            if needed.contains(&id) {
                needed.extend(node.inputs());
            }
        }
        needed
    }

    /// Where results go.
    #[doc(hidden)]
    pub fn sinks(&self) -> &[(Sink, NodeId)] {
        &self.sinks
    }

    /// The names of the terms, by number.
    #[doc(hidden)]
    pub fn terms(&self) -> &[String] {
        &self.terms
    }

    /// How people may call a node in a message: its number, its name, its operation.
    #[doc(hidden)]
    pub fn describe(&self, id: NodeId) -> String {
        let node = self.node(id);
        let name = |tensors: &[Tensor], i: usize| tensors.get(i).map_or("leaf".into(), |t| t.name.clone());
        let op = match &node.op {
            Op::Param(i) => name(&self.params, *i),
            Op::Constant(i) => name(&self.constants, *i),
            Op::Own { kernel, .. } => kernel.0.name().into(),
            op => op.name().to_string(),
        };
        format!("node {} {}({op})", id.0, if node.name.is_empty() { String::new() } else { node.name.clone() + " " })
    }

    /// Names the nodes added from here on.
    #[doc(hidden)]
    pub fn set_scope(&mut self, name: impl Into<String>) {
        self.scope = name.into();
    }

    /// Adds a node, unless the same one is there already. What reads a node that is not there is not added and has the
    /// number of the missing one, so that [`Graph::check`] or whoever returns a result refuses it.
    pub(super) fn push(&mut self, op: Op, shape: Shape) -> NodeId {
        // Passes may have added nodes past this function.
        for at in self.indexed..self.nodes.len() {
            let node = &self.nodes[at];
            self.index.entry(node.op.hashed(&node.shape)).or_default().push(at);
        }
        self.indexed = self.nodes.len();
        let alike = self.index.get(&op.hashed(&shape)).map_or(&[][..], Vec::as_slice);
        let same = |at: &&usize| self.nodes.get(**at).is_some_and(|node| node.shape == shape && node.op.same(&op));
        if let Some(&at) = alike.iter().find(same) {
            return NodeId(at);
        }
        let node = Node { op, shape, name: self.scope.clone() };
        if let Some(missing) = node.inputs().into_iter().find(|i| i.0 >= self.nodes.len()) {
            return missing;
        }
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// A batch from the caller: `columns` values a row.
    pub fn input(&mut self, index: usize, columns: usize) -> NodeId {
        self.push(Op::Input(index), Shape::batched(&[columns]))
    }

    /// The current batch of the resident data set.
    pub fn gather(&mut self, columns: usize, shuffled: bool) -> NodeId {
        self.push(Op::Gather { shuffled }, Shape::batched(&[columns]))
    }

    /// The i-th trainable tensor.
    ///
    /// # Errors
    /// [`Error::Spec`] where there is none.
    pub fn param(&mut self, index: usize) -> Result<NodeId> {
        let tensor = self.params.get(index).ok_or_else(|| absent("parameter", index, self.params.len()))?;
        let shape = tensor.shape.clone();
        Ok(self.push(Op::Param(index), shape))
    }

    /// The i-th frozen tensor.
    ///
    /// # Errors
    /// [`Error::Spec`] where there is none.
    pub fn constant(&mut self, index: usize) -> Result<NodeId> {
        let tensor = self.constants.get(index).ok_or_else(|| absent("constant", index, self.constants.len()))?;
        let shape = tensor.shape.clone();
        Ok(self.push(Op::Constant(index), shape))
    }

    /// A whole buffer of a set.
    pub fn arena(&mut self, arena: Arena) -> NodeId {
        let shape = self.layout(arena.set).matrix();
        self.push(Op::Arena(arena), shape)
    }

    /// The current step's value of a scalar.
    ///
    /// # Errors
    /// [`Error::Spec`] where the graph's table has none of this name.
    pub fn scalar(&mut self, name: &str) -> Result<NodeId> {
        let column = self.scalars.column(name)?;
        Ok(self.push(Op::Table(column), Shape::scalar()))
    }

    /// The same value everywhere.
    pub fn fill(&mut self, value: f64, shape: Shape) -> NodeId {
        self.push(Op::Fill(value), shape)
    }

    /// Ones on the diagonal of every block of `size` rows and columns: the cotangents of a Jacobian.
    pub fn identity(&mut self, batched: bool, size: usize) -> NodeId {
        self.push(Op::Identity, Shape { batched, dims: vec![size, size] })
    }

    /// `f` of each element, the inputs repeated to fill their common shape.
    pub fn map<const N: usize>(&mut self, inputs: [NodeId; N], f: impl FnOnce([Expr; N]) -> Expr) -> Result<NodeId> {
        self.map_expr(f(std::array::from_fn(Expr::input)), &inputs)
    }

    /// A map by its expression.
    ///
    /// # Errors
    /// As [`Graph::map_to`]; [`Error::Shape`] where the inputs have no common shape.
    #[doc(hidden)]
    pub fn map_expr(&mut self, expr: Expr, inputs: &[NodeId]) -> Result<NodeId> {
        let mut shape = Shape::scalar();
        for &input in inputs {
            let other = self.shape(input);
            shape = shape
                .broadcast(other)
                .ok_or_else(|| Error::shape(format!("map reading {}", self.describe(input)), other, &shape))?;
        }
        self.map_to(expr, inputs, shape)
    }

    /// A map whose inputs are repeated to fill `shape`.
    ///
    /// # Errors
    /// [`Error::Shape`] where an input cannot be repeated so, or where the expression names more inputs than there are;
    /// [`Error::Spec`] where it is nested too deep or too large for a kernel, see [`Expr`]; [`Error::Node`].
    pub fn map_to(&mut self, expr: Expr, inputs: &[NodeId], shape: Shape) -> Result<NodeId> {
        self.has("map", inputs)?;
        expr.check()?;
        if !expr.reads_below(inputs.len()) {
            return Err(Error::shape("map", "its expression", format!("{} inputs", inputs.len())));
        }
        // Copies of small tensors and constants are read through, not computed apart; then what is not used goes.
        let mut flat: Vec<NodeId> = Vec::new();
        let mut parts: Vec<Expr> = Vec::new();
        let mut place = |id: NodeId| {
            let at = flat.iter().position(|&f| f == id).unwrap_or(flat.len());
            if at == flat.len() {
                flat.push(id);
            }
            Expr::input(at)
        };
        let used = expr.used(inputs.len());
        for (i, &input) in inputs.iter().enumerate() {
            if used.binary_search(&i).is_err() {
                parts.push(Expr::constant(0.0));
                continue;
            }
            let part = match self.node(input) {
                Node { op: Op::Fill(v), .. } => Expr::constant(*v),
                node @ Node { op: Op::Map { expr, inputs }, .. } if self.reads_through(node, &shape) => {
                    let inner: Vec<Expr> = inputs.iter().map(|&id| place(id)).collect();
                    expr.substitute(&|i| inner[i].clone(), None)
                }
                _ => place(input),
            };
            parts.push(part);
        }
        let expr = expr.substitute(&|i| parts[i].clone(), None);
        if let Some(value) = expr.as_const() {
            return Ok(self.fill(value, shape));
        }
        for &input in &flat {
            if Access::new(self.shape(input), &shape).is_none() {
                return Err(Error::shape(format!("map reading {}", self.describe(input)), self.shape(input), &shape));
            }
        }
        expr.check()?;
        // Substitution may have folded an input away.
        let (expr, inputs) = expr.compact(&flat);
        Ok(self.push(Op::Map { expr, inputs }, shape))
    }

    /// Whether a map is a mere repetition of a smaller tensor or a constant of the batch, cheap enough to be repeated
    /// wherever it is read. One tensor at most, so that whoever reads maps does not come to read ever more tensors.
    fn reads_through(&self, node: &Node, space: &Shape) -> bool {
        let Op::Map { expr, inputs } = &node.op else { return false };
        expr.depth() < SHALLOW
            && !expr.is_placed()
            && !expr.any(&|k| matches!(k, Kind::Unary(..) | Kind::Half(_)))
            && inputs.len() <= 1
            && inputs.iter().all(|&i| *self.shape(i) != node.shape && Access::new(self.shape(i), space).is_some())
    }

    /// Reduces `input`.
    pub fn reduce(&mut self, op: Reduction, over: Over, input: NodeId) -> NodeId {
        let from = self.shape(input).clone();
        let shape = reduced(&from, over);
        if shape.elements(1) == from.elements(1) && shape.batched == from.batched {
            return self.view_as(input, shape);
        }
        self.push(Op::Reduce { op, over, input }, shape)
    }

    /// The sum over `over`.
    pub fn sum(&mut self, over: Over, input: NodeId) -> NodeId {
        self.reduce(Reduction::Sum, over, input)
    }

    /// The sum over everything, as a scalar.
    pub fn sum_all(&mut self, input: NodeId) -> NodeId {
        let rows = self.sum(Over::Columns, input);
        let all = self.sum(Over::Rows, rows);
        self.view_as(all, Shape::scalar())
    }

    /// The sum over everything but the batch, divided by the number of rows: the reduction most losses use.
    pub fn batch_mean(&mut self, input: NodeId) -> Result<NodeId> {
        let sum = self.sum_all(input);
        self.map([sum], |[s]| s / Expr::rows())
    }

    /// Sums `input` until it has `shape`, which must repeat to fill the shape of `input`.
    pub(crate) fn sum_to(&mut self, mut input: NodeId, shape: &Shape) -> Result<NodeId> {
        let from = self.shape(input).clone();
        if !shape.broadcasts_to(&from) {
            return Err(Error::shape(format!("sum of {}", self.describe(input)), &from, shape));
        }
        if from.columns() != shape.columns() {
            input = self.sum(Over::Columns, input);
        }
        if from.batched && !shape.batched {
            let over = if shape.blocks() == 1 { Over::Rows } else { Over::Batch };
            input = self.sum(over, input);
        }
        // Neighbouring dimensions that were repeated are summed as one, between what lies before and behind them.
        let Shape { batched, mut dims } = self.shape(input).clone();
        let missing = dims.len().saturating_sub(shape.dims.len());
        let repeated = |i: usize| i < missing || shape.dims.get(i - missing) == Some(&1);
        let mut end = dims.len().saturating_sub(1);
        while end > 0 {
            let start = (0..end).rev().take_while(|&i| repeated(i)).last().unwrap_or(end);
            if dims[start..end].iter().any(|&d| d != 1) {
                let parts = [&dims[..start], &dims[start..end], &dims[end..]].map(product);
                let seen = self.view_as(input, Shape { batched, dims: parts.to_vec() });
                input = self.sum(Over::Inner, seen);
                dims[start..end].fill(1);
            }
            end = start.min(end - 1);
        }
        Ok(self.view_as(input, shape.clone()))
    }

    /// The matrix product of `a` and `b`, each transposed where said.
    ///
    /// # Errors
    /// [`Error::Shape`] where the inner dimensions differ, or where the result would have as many columns as the
    /// batch has rows; [`Error::Node`].
    pub fn matmul(&mut self, a: NodeId, b: NodeId, ta: bool, tb: bool) -> Result<NodeId> {
        self.has("matmul", &[a, b])?;
        let (left, right) = (self.shape(a), self.shape(b));
        let shape = product_shape(left, right, ta, tb).ok_or_else(|| {
            let t = |t: bool| if t { " transposed" } else { "" };
            let op = format!("matmul of {}{} and {}{}", self.describe(a), t(ta), self.describe(b), t(tb));
            Error::shape(op, left, right)
        })?;
        Ok(self.push(Op::MatMul { a, b, ta, tb, parts: 1 }, shape))
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] where the number of values differs; [`Error::Node`].
    pub fn view(&mut self, input: NodeId, shape: Shape) -> Result<NodeId> {
        self.has("view", &[input])?;
        let from = self.shape(input);
        if from.batched != shape.batched || from.elements(1) != shape.elements(1) {
            return Err(Error::shape(format!("view of {}", self.describe(input)), from, &shape));
        }
        Ok(self.view_as(input, shape))
    }

    fn view_as(&mut self, input: NodeId, shape: Shape) -> NodeId {
        if *self.shape(input) == shape {
            return input;
        }
        // What reads no tensor has no memory to be seen in another shape.
        match self.node(input).op.clone() {
            op @ Op::Fill(_) => self.push(op, shape),
            Op::Map { expr, inputs } if inputs.is_empty() && !expr.is_placed() => {
                self.push(Op::Map { expr, inputs }, shape)
            }
            _ => self.push(Op::View(input), shape),
        }
    }

    /// Columns moved within their rows: `width` columns, of which column `c` is column `c + offset` of `input`, or 0 where
    /// that has none.
    ///
    /// # Errors
    /// [`Error::Shape`] where `width` is 0 or `input` has no dimension; [`Error::Node`].
    #[doc(hidden)]
    pub fn columns(&mut self, input: NodeId, offset: isize, width: usize) -> Result<NodeId> {
        self.has("columns", &[input])?;
        let from = self.shape(input);
        let op = || format!("{width} columns of {}", self.describe(input));
        let shape = resized(from, width).ok_or_else(|| Error::shape(op(), from, "a width of 1 or more"))?;
        if offset == 0 && shape == *from {
            return Ok(input);
        }
        let end = if offset < 0 { width } else { from.columns() };
        if offset.unsigned_abs() >= end {
            return Ok(self.fill(0.0, shape));
        }
        Ok(self.push(Op::Columns { input, offset }, shape))
    }

    /// The columns from `first` on, `count` of them.
    ///
    /// # Errors
    /// As [`Graph::columns`], also where `input` has not so many.
    pub fn slice(&mut self, input: NodeId, first: usize, count: usize) -> Result<NodeId> {
        let room = self.shape(input).columns().checked_sub(first).is_some_and(|room| count <= room);
        match isize::try_from(first) {
            Ok(offset) if room => self.columns(input, offset, count),
            _ => {
                self.has("slice", &[input])?;
                let op = format!("slice of {}", self.describe(input));
                Err(Error::shape(op, self.shape(input), format!("{count} columns from {first} on")))
            }
        }
    }

    /// `width` columns that are 0 but for those of `input`, which start at `first`. The sum of such tensors is their
    /// concatenation; the gradient is a slice.
    ///
    /// # Errors
    /// As [`Graph::columns`], also where `input` does not fit.
    pub fn pad(&mut self, input: NodeId, first: usize, width: usize) -> Result<NodeId> {
        let room = width.checked_sub(first).is_some_and(|room| self.shape(input).columns() <= room);
        match isize::try_from(first) {
            Ok(offset) if room => self.columns(input, -offset, width),
            _ => {
                self.has("pad", &[input])?;
                let op = format!("pad of {}", self.describe(input));
                Err(Error::shape(op, self.shape(input), format!("{width} columns from column {first} on")))
            }
        }
    }

    /// Sends the value of a node somewhere.
    pub fn sink(&mut self, sink: Sink, node: NodeId) {
        self.sinks.push((sink, node));
    }

    /// Sends a scalar to be reported and watched under `name`.
    pub fn term(&mut self, name: &str, node: NodeId) {
        self.sinks.push((Sink::Term(self.terms.len()), node));
        self.terms.push(name.to_string());
    }
}

/// What is said of a tensor, a term or a scalar that is not there.
pub(super) fn absent(what: &str, index: usize, count: usize) -> Error {
    Error::spec(what, index, format!("below {count}"))
}
