//! Reverse mode: gradients are nodes like any others, so that they can be differentiated again.

use super::build::Graph;
use super::expr::{Compare, Expr, Kind};
use super::node::{NodeId, Op, Over, Reduction};
use super::shape::{Shape, product};
use crate::error::{Error, Result};

/// The most cotangents that a node takes one after the other: each is a node of its own.
const APART: usize = 4096;

/// Where a backward pass starts.
pub(crate) struct Seed {
    /// The value that is differentiated.
    pub of: NodeId,
    /// What its slope is multiplied by, times 2^`power`.
    pub cotangent: NodeId,
    /// How many times too large the cotangent is, as a power of two.
    pub power: i32,
}

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

    /// Vector-Jacobian products: the gradient of the inner product of `of` and `cotangent` with respect to each node
    /// in `wrt`, `cotangent` held fixed.
    ///
    /// A cotangent may have further leading dimensions, and every result has them too: `[k, k]` ones on the diagonal
    /// ([`Graph::identity`]) give the whole Jacobian `[k, n]` of a `[k]` by an `[n]` for every row of the batch. With
    /// them it need not be batched where it is the same for every row. All of them meet the same random draws: those
    /// that `of` was computed with.
    ///
    /// A product whose left factor alone depends on `wrt` takes all cotangents at once; one whose left factor is
    /// transposed, or whose right one depends on `wrt`, takes them one after the other, as a kernel of the caller's own does.
    ///
    /// # Errors
    /// [`Error::Shape`] where `cotangent` does not end in the shape of `of`; [`Error::Limit`] where more than 4,096
    /// cotangents would have to go through a node one after the other; [`Error::Node`].
    pub fn vjp(&mut self, of: NodeId, cotangent: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>> {
        self.has("gradient", &[of, cotangent])?;
        self.has("gradient", wrt)?;
        let (value, given) = (self.shape(of), self.shape(cotangent));
        let further = given.dims.len().checked_sub(value.dims.len()).filter(|&f| given.dims[f..] == value.dims[..]);
        let Some(further) = further.filter(|&f| given.batched == value.batched || (f > 0 && value.batched)) else {
            let op = format!("vector-Jacobian product of {}", self.describe(of));
            return Err(Error::shape(op, value, given));
        };
        let extra = given.dims[..further].to_vec();
        let found = self.backward(&[Seed { of, cotangent, power: 0 }], wrt, &extra)?;
        Ok(found.into_iter().map(|(gradient, _)| gradient).collect())
    }

    /// The sum of what several values give by their cotangents, with respect to each node in `wrt`: how many times too large
    /// it is, as a power of two, stands beside each. Where terms that are scaled differently meet, the smaller scale is that
    /// of their sum.
    pub(crate) fn backward(&mut self, seeds: &[Seed], wrt: &[NodeId], extra: &[usize]) -> Result<Vec<(NodeId, i32)>> {
        let end = seeds.iter().map(|seed| seed.of.0 + 1).max().unwrap_or(0);
        let active = self.active(end, wrt);
        let mut adjoint: Vec<Option<(NodeId, i32)>> = vec![None; end];
        for seed in seeds {
            adjoint[seed.of.0] = Some(self.sum_of(adjoint[seed.of.0], (seed.cotangent, seed.power))?);
        }
        for at in (0..end).rev() {
            let Some((g, power)) = adjoint[at].filter(|_| active[at]) else { continue };
            for (input, share) in self.shares(NodeId(at), g, &active, extra)? {
                adjoint[input.0] = Some(self.sum_of(adjoint[input.0], (share, power))?);
            }
        }
        let mut found = Vec::with_capacity(wrt.len());
        for &node in wrt {
            let shape = extended(self.shape(node), extra);
            let adjoint = match adjoint.get(node.0).copied().flatten() {
                None => (self.fill(0.0, shape), 0),
                Some((same, power)) if *self.shape(same) != shape => {
                    (self.map_to(Expr::input(0), &[same], shape)?, power)
                }
                Some(adjoint) => adjoint,
            };
            found.push(adjoint);
        }
        Ok(found)
    }

    /// Both adjoints of a node together.
    fn sum_of(&mut self, sum: Option<(NodeId, i32)>, share: (NodeId, i32)) -> Result<(NodeId, i32)> {
        let Some(sum) = sum else { return Ok(share) };
        let power = sum.1.min(share.1);
        let [a, b] = [sum.1, share.1].map(|own| 2f64.powi(power - own));
        Ok((self.map([sum.0, share.0], |[x, y]| x * a + y * b)?, power))
    }

    /// Which of the first `end` nodes depend on one of `wrt`.
    fn active(&self, end: usize, wrt: &[NodeId]) -> Vec<bool> {
        let mut active = vec![false; end];
        for (id, node) in self.nodes().take(end) {
            active[id.0] = wrt.contains(&id) || node.inputs().iter().any(|i| active[i.0]);
        }
        active
    }

    /// What a node with adjoint `g` passes on to its inputs; adjoints have the `extra` dimensions in front.
    fn shares(&mut self, id: NodeId, g: NodeId, active: &[bool], extra: &[usize]) -> Result<Vec<(NodeId, NodeId)>> {
        let node = self.node(id).clone();
        let mut shares = Vec::new();
        // The shape of an input's adjoint; where several cotangents are the same for every row, so is what is made of
        // them alone.
        let batched = self.shape(g).batched || extra.is_empty();
        let like_g = |shape: &Shape| Shape { batched: shape.batched && batched, ..extended(shape, extra) };
        match node.op {
            Op::Map { expr, inputs } => {
                for (i, &input) in inputs.iter().enumerate() {
                    let slope = expr.derivative(i);
                    if active[input.0] && slope.as_const() != Some(0.0) {
                        shares.push((input, self.map_share(id, g, &slope, &inputs, input, extra)?));
                    }
                }
            }
            Op::Reduce { op, over, input } => {
                let from = self.shape(input).clone();
                let shape = extended(&from, extra);
                // What was reduced away comes back as dimensions of extent 1, so that the rest lines up.
                let g = if extra.is_empty() { g } else { self.view(g, like_g(&kept(&from, over)))? };
                let share = match op {
                    Reduction::Sum => self.map_to(Expr::input(0), &[g], shape)?,
                    Reduction::Max => {
                        let reached = Expr::input(2).select(Compare::Equal, &Expr::input(1), Expr::input(0), 0.0);
                        self.map_to(reached, &[g, id, input], shape)?
                    }
                };
                shares.push((input, share));
            }
            // The rows of a result would have to lie in another order.
            Op::MatMul { b, ta, .. } if !extra.is_empty() && (ta || active[b.0]) => {
                return self.shares_apart(id, g, active, extra);
            }
            Op::Own { .. } if !extra.is_empty() => return self.shares_apart(id, g, active, extra),
            Op::Own { kernel, inputs } => shares = self.own_shares(&*kernel.0, &inputs, [id, g], active)?,
            Op::MatMul { a, b, ta, tb, .. } => {
                // C = op(A) op(B), so dA and dB are again products of G with the other factor. A product is a matrix;
                // the factor may have been seen as one.
                if active[a.0] {
                    let da = if ta { self.matmul(b, g, tb, true)? } else { self.matmul(g, b, false, !tb)? };
                    let shape = like_g(self.shape(a));
                    shares.push((a, self.view(da, shape)?));
                }
                if active[b.0] {
                    let db = if tb { self.matmul(g, a, true, ta)? } else { self.matmul(a, g, !ta, false)? };
                    let shape = self.shape(b).clone();
                    shares.push((b, self.view(db, shape)?));
                }
            }
            Op::View(input) => {
                let shape = like_g(self.shape(input));
                shares.push((input, self.view(g, shape)?));
            }
            Op::Columns { input, offset } => {
                let width = self.shape(input).columns();
                shares.push((input, self.columns(g, -offset, width)?));
            }
            // What reads no node passes nothing on.
            Op::Input(_) | Op::Gather { .. } | Op::Param(_) | Op::Constant(_) => {}
            Op::Arena(_) | Op::Table(_) | Op::Fill(_) | Op::Identity => {}
        }
        Ok(shares)
    }

    /// g times the slope of map `id`, summed to the shape of `input`.
    fn map_share(
        &mut self,
        id: NodeId,
        g: NodeId,
        slope: &Expr,
        inputs: &[NodeId],
        input: NodeId,
        extra: &[usize],
    ) -> Result<NodeId> {
        if let Some(factor) = slope.as_const().filter(|_| self.shape(input) == self.shape(id)) {
            return if factor == 1.0 { Ok(g) } else { self.map([g], |[g]| g * factor) };
        }
        let mut read = [inputs, &[id]].concat();
        let mut slope = slope.clone();
        if slope.is_placed() && !extra.is_empty() {
            // What a map drew belongs to its own elements; computed there, it is the same for every cotangent.
            let own = slope.substitute(&Expr::input, Some(&Expr::input(inputs.len())));
            read = vec![self.map_to(own, &read, self.shape(id).clone())?];
            slope = Expr::input(0);
        }
        let expr = Expr::input(0) * slope.substitute(&|i| Expr::input(i + 1), Some(&Expr::input(read.len())));
        debug_assert!(!expr.any(&|k| *k == Kind::Output));
        read.insert(0, g);
        let space = extended(self.shape(id), extra);
        let share = self.map_to(expr, &read, space)?;
        // Dimensions that the input lacks lie between the further ones and its own.
        let Shape { batched, dims } = self.shape(input).clone();
        let rank = if extra.is_empty() { dims.len() } else { self.shape(id).dims.len() };
        let lacking = vec![1; rank.saturating_sub(dims.len())];
        let aligned = Shape { batched, dims: [extra, &lacking, &dims].concat() };
        let share = self.sum_to(share, &aligned)?;
        self.view(share, Shape { batched, dims: [extra, &dims].concat() })
    }

    /// As [`Graph::shares`] for a node that several cotangents cannot go through at once: one after the other.
    fn shares_apart(
        &mut self,
        id: NodeId,
        g: NodeId,
        active: &[bool],
        extra: &[usize],
    ) -> Result<Vec<(NodeId, NodeId)>> {
        let (shape, batched) = (self.shape(id).clone(), self.shape(g).batched);
        let (count, size) = (product(extra), shape.elements(1));
        if count > APART {
            let what = format!("cotangents through {}", self.describe(id));
            let limit = "cotangents that go through a node one after the other";
            return Err(Error::Limit { what, needs: count as u64, allowed: APART as u64, limit });
        }
        let flat = self.view(g, Shape { batched, dims: vec![count.saturating_mul(size)] })?;
        // For each input what every cotangent gives it, if anything.
        let mut parts: Vec<(NodeId, Vec<Option<NodeId>>)> = Vec::new();
        for i in 0..count {
            let one = self.slice(flat, i.saturating_mul(size), size)?;
            let mut one = self.view(one, Shape { batched, ..shape.clone() })?;
            if batched != shape.batched {
                one = self.map_to(Expr::input(0), &[one], shape.clone())?;
            }
            let mut taken = vec![false; parts.len()];
            for (input, share) in self.shares(id, one, active, &[])? {
                // An input that is read twice has two shares.
                let free = |at: &usize| parts[*at].0 == input && !taken[*at];
                let at = (0..parts.len()).find(free).unwrap_or_else(|| {
                    parts.push((input, vec![None; count]));
                    taken.push(false);
                    parts.len() - 1
                });
                (parts[at].1[i], taken[at]) = (Some(share), true);
            }
        }
        let mut shares = Vec::with_capacity(parts.len());
        for (input, each) in parts {
            let shape = self.shape(input).clone();
            let none = |g: &mut Graph| g.fill(0.0, shape.clone());
            let each: Vec<NodeId> = each.into_iter().map(|share| share.unwrap_or_else(|| none(self))).collect();
            shares.push((input, self.stacked(&each, extra)?));
        }
        Ok(shares)
    }

    /// Tensors of one shape behind one another, which gives them the `extra` dimensions in front.
    fn stacked(&mut self, each: &[NodeId], extra: &[usize]) -> Result<NodeId> {
        let shape = self.shape(each[0]).clone();
        let size = shape.elements(1);
        let flat = |width: usize| Shape { batched: shape.batched, dims: vec![width] };
        let mut rows: Vec<(NodeId, usize)> = Vec::with_capacity(each.len());
        for &one in each {
            rows.push((self.view(one, flat(size))?, size));
        }
        // In pairs, so that few nodes are as wide as the result.
        while rows.len() > 1 {
            let mut wider = Vec::with_capacity(rows.len().div_ceil(2));
            for pair in rows.chunks(2) {
                let &[(left, before), (right, behind)] = pair else {
                    wider.extend_from_slice(pair);
                    continue;
                };
                let width = before.saturating_add(behind);
                let (left, right) = (self.pad(left, 0, width)?, self.pad(right, before, width)?);
                wider.push((self.map([left, right], |[l, r]| l + r)?, width));
            }
            rows = wider;
        }
        self.view(rows[0].0, extended(&shape, extra))
    }
}

/// The shape of an adjoint with further dimensions in front.
fn extended(shape: &Shape, extra: &[usize]) -> Shape {
    Shape { batched: shape.batched, dims: [extra, &shape.dims].concat() }
}

/// The shape before a reduction, with extent 1 where values were reduced away.
fn kept(from: &Shape, over: Over) -> Shape {
    let columns = from.dims.len().saturating_sub(1);
    let each = |(i, &d): (usize, &usize)| match over {
        Over::Columns if i == columns => 1,
        Over::Rows | Over::Blocks if i != columns => 1,
        Over::Inner if i + 1 == columns => 1,
        _ => d,
    };
    let batched = from.batched && matches!(over, Over::Columns | Over::Blocks | Over::Inner);
    Shape { batched, dims: from.dims.iter().enumerate().map(each).collect() }
}
