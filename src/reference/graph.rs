//! The interpreter of the graph: every node in plain loops, generic over f32 and f64.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::{Access, Arena, Distribution, Expr, Graph, Kind, Matrix, NodeId, Op, Over, Real, Reduction, Shape};
use crate::graph::{Sink, eval_binary, is_nan};
use crate::random::{Draw, permute};

/// Everything a step reads from outside the graph. Tensors are row-major without padding.
#[derive(Clone, Debug, Default)]
pub struct Environment<R> {
    /// Rows in the batch.
    pub rows: usize,
    /// Batches by number.
    pub inputs: Vec<Vec<R>>,
    /// The resident data set.
    pub data: Vec<R>,
    /// The row of the data set at which the batch starts.
    #[doc(hidden)]
    pub first_row: usize,
    /// The epoch, which keys the permutation.
    #[doc(hidden)]
    pub epoch: u32,
    /// Trainable tensors.
    pub params: Vec<Vec<R>>,
    /// Frozen tensors.
    pub constants: Vec<Vec<R>>,
    /// Whole arenas, with the padding of their [`crate::graph::Layout`].
    #[doc(hidden)]
    pub arenas: BTreeMap<Arena, Vec<R>>,
    /// The current step's scalars.
    pub table: Vec<R>,
    /// The seed of the run.
    pub seed: u64,
    /// The step.
    pub step: u32,
}

/// The values of nodes, by number.
pub type Values<R> = BTreeMap<NodeId, Vec<R>>;

/// Evaluates all nodes that the sinks need.
///
/// # Errors
/// As [`Graph::check`] where the graph is not sound; [`Error::Internal`] where the environment lacks something;
/// [`Error::Limit`] where a node has more elements than kernels can count.
pub fn evaluate<R: Real>(graph: &Graph, env: &Environment<R>) -> Result<Values<R>> {
    graph.check()?;
    let mut needed = vec![false; graph.nodes.len()];
    for (_, id) in graph.sinks() {
        needed[id.0] = true;
    }
    for (id, node) in graph.nodes().rev() {
        if needed[id.0] {
            node.inputs().iter().for_each(|i| needed[i.0] = true);
        }
    }
    let mut values = Values::new();
    for (id, _) in graph.nodes() {
        if needed[id.0] {
            let value = evaluate_node(graph, env, id, &values)?;
            values.insert(id, value);
        }
    }
    Ok(values)
}

impl<R: Real> Environment<R> {
    /// The value that a sink received.
    #[doc(hidden)]
    pub fn sink<'a>(&self, graph: &Graph, values: &'a Values<R>, sink: Sink) -> Option<&'a [R]> {
        let (_, id) = graph.sinks().iter().find(|(s, _)| *s == sink)?;
        values.get(id).map(Vec::as_slice)
    }
}

/// Evaluates one node from the values of those it reads.
///
/// # Errors
/// [`Error::Internal`] where the environment or `values` lacks something; [`Error::Limit`] where the node has more elements
/// than kernels can count.
pub fn evaluate_node<R: Real>(graph: &Graph, env: &Environment<R>, id: NodeId, values: &Values<R>) -> Result<Vec<R>> {
    let node = graph.node(id);
    let missing = |what: &str| Error::Internal(format!("{}: {what} is missing", graph.describe(id)));
    let whole = |id: NodeId, v: &&Vec<R>| v.len() == graph.shape(id).elements(env.rows);
    let get = |id: NodeId| values.get(&id).filter(|v| whole(id, v)).ok_or_else(|| missing("an input"));
    let length = node.shape.elements(env.rows);
    if length as u64 > u32::MAX.into() {
        let what = format!("{} {} in elements", graph.describe(id), node.shape);
        return Err(Error::Limit { what, needs: length as u64, allowed: u32::MAX.into(), limit: "u32" });
    }
    let mut value = match &node.op {
        Op::Input(i) => env.inputs.get(*i).cloned().ok_or_else(|| missing("the batch"))?,
        Op::Gather { shuffled } => gather(env, node.shape.columns(), *shuffled).ok_or_else(|| missing("a row"))?,
        Op::Param(i) => env.params.get(*i).cloned().ok_or_else(|| missing("the parameter"))?,
        Op::Constant(i) => env.constants.get(*i).cloned().ok_or_else(|| missing("the constant"))?,
        Op::Arena(arena) => env.arenas.get(arena).cloned().ok_or_else(|| missing("the arena"))?,
        Op::Table(i) => vec![*env.table.get(*i).ok_or_else(|| missing("the table"))?],
        Op::Fill(v) => vec![R::of(*v); length],
        Op::Identity => {
            let size = node.shape.columns();
            (0..length).map(|i| R::of(if i / size % size == i % size { 1.0 } else { 0.0 })).collect()
        }
        Op::View(input) => get(*input)?.clone(),
        Op::Columns { input, offset } => {
            columns(get(*input)?, graph.shape(*input).columns(), *offset, node.shape.columns())
        }
        Op::Own { kernel, inputs } => {
            let mut read = Vec::with_capacity(inputs.len());
            for &input in inputs {
                let (values, shape) = (get(input)?, graph.shape(input));
                read.push((move |at: usize| values[at].wide(), shape.matrix_rows(env.rows), shape.columns()));
            }
            let matrices: Vec<Matrix<'_>> = read.iter().map(|(at, r, c)| Matrix::new(at, *r, *c)).collect();
            let columns = node.shape.columns();
            (0..length).map(|i| R::of(kernel.0.value(&matrices, i / columns, i % columns))).collect()
        }
        Op::Map { expr, inputs } => {
            let mut read = Vec::with_capacity(inputs.len());
            for &input in inputs {
                let access = Access::new(graph.shape(input), &node.shape).ok_or_else(|| missing("an access"))?;
                read.push((get(input)?, access, graph.shape(input).columns()));
            }
            map(expr, &read, &node.shape, env)
        }
        Op::Reduce { op, over, input } => reduce(*op, *over, get(*input)?, graph.shape(*input), env.rows, length),
        Op::MatMul { a, b, ta, tb, parts } => {
            let (ca, cb) = (graph.shape(*a).columns(), graph.shape(*b).columns());
            matmul([get(*a)?, get(*b)?], [ca, cb], [*ta, *tb], (*parts).max(1))
        }
    };
    if value.len() != length {
        return Err(missing(&format!("a value of length {length} (found {})", value.len())));
    }
    let update = |(sink, of): &(Sink, NodeId)| match sink {
        Sink::Update(arena) if *of == id => Some(arena.set),
        _ => None,
    };
    if let Some(set) = graph.sinks().iter().find_map(update).filter(|&set| !graph.stays_zero(id, set)) {
        graph.layout(set).clear_padding(graph.tensors(set), &mut value);
    }
    Ok(value)
}

fn gather<R: Real>(env: &Environment<R>, columns: usize, shuffled: bool) -> Option<Vec<R>> {
    let count = env.data.len().checked_div(columns)?;
    let mut batch = Vec::new();
    for row in env.first_row..env.first_row.checked_add(env.rows)? {
        let row = if shuffled { permute(row as u32, count as u32, env.seed, env.epoch) as usize } else { row };
        batch.extend_from_slice(env.data.get(row * columns..(row + 1) * columns)?);
    }
    Some(batch)
}

fn map<R: Real>(expr: &Expr, read: &[(&Vec<R>, Access, usize)], shape: &Shape, env: &Environment<R>) -> Vec<R> {
    let columns = shape.columns();
    let order = expr.ordered();
    let mut out = Vec::with_capacity(shape.elements(env.rows));
    let mut values = Vec::with_capacity(order.len());
    for row in 0..shape.matrix_rows(env.rows) {
        for column in 0..columns {
            let input = |i: usize| {
                let (values, access, width) = &read[i];
                values[access.row(row) * width + if access.splat { 0 } else { column }]
            };
            let draw = |distribution, stream| {
                let draw = Draw { seed: env.seed, stream, step: env.step };
                match distribution {
                    Distribution::Uniform => draw.uniform(row, column),
                    Distribution::Normal => draw.normal(row, column),
                }
            };
            let element = Element { input: &input, rows: env.rows, column, draw: &draw };
            out.push(eval_ordered(&order, &element, &mut values));
        }
    }
    out
}

/// What an expression is evaluated for: one element.
pub struct Element<'a, R> {
    /// The element of the i-th input.
    pub input: &'a dyn Fn(usize) -> R,
    /// Rows in the batch.
    pub rows: usize,
    /// The element's column.
    pub column: usize,
    /// A random draw for the element.
    pub draw: &'a dyn Fn(Distribution, u32) -> f64,
}

/// Evaluates an expression for one element.
pub fn eval_expr<R: Real>(expr: &Expr, element: &Element<R>) -> R {
    eval_ordered(&expr.ordered(), element, &mut Vec::new())
}

/// Evaluates the parts of an expression one after the other; `values` is room for theirs.
fn eval_ordered<R: Real>(order: &[(&Expr, Vec<usize>)], element: &Element<R>, values: &mut Vec<R>) -> R {
    values.clear();
    for (part, of) in order {
        let at = |i: usize| values[of[i]];
        let value = match &*part.0 {
            Kind::Input(i) => (element.input)(*i),
            Kind::Output | Kind::Excess => R::NAN,
            Kind::Const(v) => R::of(*v),
            Kind::Rows => R::of(element.rows as f64),
            Kind::Column => R::of(element.column as f64),
            Kind::Unary(f, _) => f.eval(at(0)),
            Kind::Half(_) => at(0).half(),
            Kind::Binary(op, ..) => eval_binary(*op, at(0), at(1)),
            Kind::Select(..) if is_nan(at(0)) || is_nan(at(1)) => R::NAN,
            Kind::Select(compare, _) => at(if compare.holds(at(0), at(1)) { 2 } else { 3 }),
            Kind::Random(distribution, stream) => R::of((element.draw)(*distribution, *stream)),
            Kind::Through { .. } => at(0),
        };
        values.push(value);
    }
    values.last().copied().unwrap_or(R::NAN)
}

fn columns<R: Real>(input: &[R], from: usize, offset: isize, width: usize) -> Vec<R> {
    let moved = |row: &[R], c: usize| c.checked_add_signed(offset).and_then(|at| row.get(at).copied());
    let rows = input.chunks(from.max(1));
    rows.flat_map(|row| (0..width).map(move |c| moved(row, c).unwrap_or(R::of(0.0)))).collect()
}

fn reduce<R: Real>(op: Reduction, over: Over, input: &[R], from: &Shape, rows: usize, length: usize) -> Vec<R> {
    let columns = from.columns();
    let (blocks, inner) = (from.blocks(), from.inner());
    let mut out: Vec<Option<R>> = vec![None; length];
    for row in 0..from.matrix_rows(rows) {
        for column in 0..columns {
            let at = match over {
                Over::Columns => row,
                Over::Rows => column,
                Over::Batch => row % blocks * columns + column,
                Over::Blocks => row / blocks * columns + column,
                Over::Inner => row / inner * columns + column,
            };
            let v = input[row * columns + column];
            out[at] = Some(match (out[at], op) {
                (None, _) => v,
                (Some(sum), Reduction::Sum) => sum + v,
                (Some(top), Reduction::Max) => eval_binary(crate::graph::Binary::Max, top, v),
            });
        }
    }
    out.into_iter().map(|v| v.unwrap_or(R::of(0.0))).collect()
}

/// op(A) op(B) for row-major matrices with `ca` and `cb` columns, its sums in so many parts. Kernels may cut the sum
/// into parts elsewhere: only what the parts come to together is the same.
fn matmul<R: Real>([a, b]: [&[R]; 2], [ca, cb]: [usize; 2], [ta, tb]: [bool; 2], parts: usize) -> Vec<R> {
    let (ra, rb) = (a.len() / ca.max(1), b.len() / cb.max(1));
    let (m, k) = if ta { (ca, ra) } else { (ra, ca) };
    let n = if tb { rb } else { cb };
    let each = k.div_ceil(parts).max(1);
    let mut out = vec![R::of(0.0); m * parts * n];
    for i in 0..m {
        for l in 0..k {
            let at = (i * parts + l / each) * n;
            let row = &mut out[at..at + n];
            let x = if ta { a[l * ca + i] } else { a[i * ca + l] };
            for (j, sum) in row.iter_mut().enumerate() {
                *sum = *sum + x * if tb { b[j * cb + l] } else { b[l * cb + j] };
            }
        }
    }
    out
}
