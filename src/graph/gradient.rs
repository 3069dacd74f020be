//! Reverse mode: gradients are nodes like any others, so that they can be differentiated again.

use super::expr::{Compare, Expr, Kind};
use super::node::{Graph, NodeId, Op, Reduction};
use super::shape::Shape;
use crate::error::{Error, Result};

impl Graph {
    /// The gradient of a scalar with respect to each node in `wrt`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `of` is not a scalar; [`Error::Node`].
    pub fn gradient(&mut self, of: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>> {
        self.has("gradient", &[of])?;
        if *self.shape(of) != Shape::scalar() {
            return Err(Error::shape(format!("gradient of {}", self.describe(of)), self.shape(of), "a scalar"));
        }
        let one = self.fill(1.0, Shape::scalar());
        self.vjp(of, one, wrt)
    }

    /// The vector-Jacobian product: the gradient of the inner product of `of` and `cotangent` with respect to each
    /// node in `wrt`, `cotangent` held fixed.
    ///
    /// # Errors
    /// [`Error::Shape`] where `cotangent` has not the shape of `of`; [`Error::Node`].
    pub fn vjp(&mut self, of: NodeId, cotangent: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>> {
        self.has("gradient", &[of, cotangent])?;
        self.has("gradient", wrt)?;
        if self.shape(of) != self.shape(cotangent) {
            let op = format!("vector-Jacobian product of {}", self.describe(of));
            return Err(Error::shape(op, self.shape(of), self.shape(cotangent)));
        }
        let active = self.active(of, wrt);
        let mut adjoint: Vec<Option<NodeId>> = vec![None; of.0 + 1];
        adjoint[of.0] = Some(cotangent);
        for at in (0..=of.0).rev() {
            let Some(g) = adjoint[at].filter(|_| active[at]) else { continue };
            for (input, share) in self.shares(NodeId(at), g, &active)? {
                adjoint[input.0] = Some(match adjoint[input.0] {
                    None => share,
                    Some(sum) => self.map([sum, share], |[a, b]| a + b)?,
                });
            }
        }
        let mut found = Vec::with_capacity(wrt.len());
        for &node in wrt {
            let shape = self.shape(node).clone();
            let adjoint = adjoint.get(node.0).copied().flatten();
            found.push(adjoint.unwrap_or_else(|| self.fill(0.0, shape)));
        }
        Ok(found)
    }

    /// Which nodes up to `of` depend on one of `wrt`.
    fn active(&self, of: NodeId, wrt: &[NodeId]) -> Vec<bool> {
        let mut active = vec![false; of.0 + 1];
        for (id, node) in self.nodes().take(of.0 + 1) {
            active[id.0] = wrt.contains(&id) || node.inputs().iter().any(|i| active[i.0]);
        }
        active
    }

    /// What a node with adjoint `g` passes on to its inputs.
    fn shares(&mut self, id: NodeId, g: NodeId, active: &[bool]) -> Result<Vec<(NodeId, NodeId)>> {
        let node = self.node(id).clone();
        let mut shares = Vec::new();
        match node.op {
            Op::Map { expr, inputs } => {
                for (i, &input) in inputs.iter().enumerate() {
                    let slope = expr.derivative(i);
                    if active[input.0] && slope.as_const() != Some(0.0) {
                        shares.push((input, self.map_share(id, g, &slope, &inputs, input)?));
                    }
                }
            }
            Op::Reduce { op, input, .. } => {
                let shape = self.shape(input).clone();
                let share = match op {
                    Reduction::Sum => self.map_to(Expr::input(0), &[g], shape)?,
                    Reduction::Max => {
                        let reached = Expr::input(2).select(Compare::Equal, &Expr::input(1), Expr::input(0), 0.0);
                        self.map_to(reached, &[g, id, input], shape)?
                    }
                };
                shares.push((input, share));
            }
            Op::MatMul { a, b, ta, tb } => {
                // C = op(A) op(B), so dA and dB are again products of G with the other factor. A product is a matrix;
                // the factor may have been seen as one.
                if active[a.0] {
                    let da = if ta { self.matmul(b, g, tb, true)? } else { self.matmul(g, b, false, !tb)? };
                    let shape = self.shape(a).clone();
                    shares.push((a, self.view(da, shape)?));
                }
                if active[b.0] {
                    let db = if tb { self.matmul(g, a, true, ta)? } else { self.matmul(a, g, !ta, false)? };
                    let shape = self.shape(b).clone();
                    shares.push((b, self.view(db, shape)?));
                }
            }
            Op::View(input) => {
                let shape = self.shape(input).clone();
                shares.push((input, self.view(g, shape)?));
            }
            Op::Columns { input, offset } => {
                let width = self.shape(input).columns();
                shares.push((input, self.columns(g, -offset, width)?));
            }
            _ => {}
        }
        Ok(shares)
    }

    /// g times the slope of map `id`, summed to the shape of `input`.
    fn map_share(&mut self, id: NodeId, g: NodeId, slope: &Expr, inputs: &[NodeId], input: NodeId) -> Result<NodeId> {
        let output = Expr::input(inputs.len() + 1);
        let expr = Expr::input(0) * slope.substitute(&|i| Expr::input(i + 1), Some(&output));
        debug_assert!(!expr.any(&|k| *k == Kind::Output));
        let mut read = vec![g];
        read.extend_from_slice(inputs);
        read.push(id);
        let shape = self.shape(id).clone();
        let share = self.map_to(expr, &read, shape)?;
        let target = self.shape(input).clone();
        self.sum_to(share, &target)
    }
}
