//! Gradients against differences, in f64: for whoever declares a derivative or writes an objective of their own.

use super::{Environment, evaluate};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Op, Sink};

/// How far an element is moved to both sides.
const STEP: f64 = 1e-6;
/// What a slope may be off by: so much, and a part of itself. Both as in PyTorch's function of this name.
const ABSOLUTE: f64 = 1e-5;
const RELATIVE: f64 = 1e-3;

/// An element whose gradient is not what differences give.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// The trainable tensor, by its name, or the batch, as `input 0`.
    pub tensor: String,
    /// The element, row-major.
    pub element: usize,
    /// What the graph's backward pass gives,
    pub gradient: f64,
    /// and what the difference of the values to both sides does. Where the value has a kink the two may differ rightly.
    pub difference: f64,
}

/// Compares the gradient of a scalar of a graph with central differences of its value, for every element of every trainable
/// tensor and every batch that the scalar is made of; nothing is left where all agree to 1e-5 and a thousandth of themselves.
/// Random draws are those of the environment's seed and step, the same in every evaluation.
///
/// ```
/// use strait::graph::{Expr, Graph, Shape, Tensor};
/// use strait::reference::{Environment, gradcheck};
///
/// let mut g = Graph::new(vec![Tensor { name: "w".into(), shape: Shape::fixed(&[3]) }], vec![]);
/// let w = g.param(0)?;
/// // The slope of tanh is 1 - y², not 1 - y.
/// let wrong = |w: Expr| Expr::through_output(w.tanh(), &w, |y| 1.0 - y);
/// let y = g.map([w], |[w]| wrong(w))?;
/// let sum = g.sum_all(y);
/// let env = Environment { rows: 1, params: vec![vec![0.1, -0.5, 2.0]], ..Environment::default() };
/// let found = gradcheck(&g, sum, &env)?;
/// assert_eq!((found.len(), &found[0].tensor[..]), (3, "w"));
/// # Ok::<(), strait::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Shape`] where the node is not a scalar; as [`evaluate`].
pub fn gradcheck(graph: &Graph, scalar: NodeId, env: &Environment<f64>) -> Result<Vec<Mismatch>> {
    let mut g = graph.clone();
    g.sinks.clear();
    let mut leaves: Vec<(NodeId, Leaf)> = Vec::new();
    for (id, node) in graph.nodes() {
        match node.op {
            Op::Param(i) => leaves.push((id, Leaf::Param(i))),
            Op::Input(i) => leaves.push((id, Leaf::Input(i))),
            _ => {}
        }
    }
    let of: Vec<NodeId> = leaves.iter().map(|(id, _)| *id).collect();
    let gradients = g.gradient(scalar, &of)?;
    let mut alone = graph.clone();
    alone.sinks = vec![(Sink::Output(0), scalar)];
    gradients.iter().enumerate().for_each(|(i, &gradient)| g.sink(Sink::Output(i), gradient));
    let found = evaluate(&g, env)?;
    let missing = || Error::Internal("the environment lacks a value of the graph".into());
    let mut wrong = Vec::new();
    for (at, (_, leaf)) in leaves.into_iter().enumerate() {
        let gradients = env.sink(&g, &found, Sink::Output(at)).ok_or_else(missing)?;
        for (element, &gradient) in gradients.iter().enumerate() {
            let moved = |by: f64| -> Result<f64> {
                let mut env = env.clone();
                let values = match leaf {
                    Leaf::Param(i) => env.params.get_mut(i),
                    Leaf::Input(i) => env.inputs.get_mut(i),
                };
                *values.and_then(|values| values.get_mut(element)).ok_or_else(missing)? += by;
                let values = evaluate(&alone, &env)?;
                env.sink(&alone, &values, Sink::Output(0)).and_then(|v| v.first().copied()).ok_or_else(missing)
            };
            let difference = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
            // What is no number agrees with nothing.
            if (gradient - difference).abs() <= ABSOLUTE + RELATIVE * difference.abs() {
                continue;
            }
            let tensor = match leaf {
                Leaf::Param(i) => graph.params[i].name.clone(),
                Leaf::Input(i) => format!("input {i}"),
            };
            wrong.push(Mismatch { tensor, element, gradient, difference });
        }
    }
    Ok(wrong)
}

/// What a graph reads from outside that a gradient can be taken by.
#[derive(Clone, Copy)]
enum Leaf {
    Param(usize),
    Input(usize),
}
