//! The objective of training: its terms, each reported apart, and their gradients.

use super::build::{Builder, Pass, stream};
use super::latent;
use super::loss::Decoded;
use super::ramp::{SIGMA, penalty_place};
use super::{Latent, Loss, Precision};
use crate::error::Result;
use crate::graph::{Expr, Graph, NodeId, Seed, Shape, Sink};

/// The power of two that brings slopes of about this size near 1, where 16 bits hold what is much smaller or larger, too.
fn power_for(slope: f64) -> i32 {
    if slope > 0.0 { (-slope.log2().ceil()).clamp(-60.0, 60.0) as i32 } else { 0 }
}

/// Adds the gradients, by tensors of these numbers, of the sum of some terms divided by the number of `objectives` that they are
/// of. Terms are means over the batch; beside each stands about how steep it is for one row. In half precision each goes backward
/// by itself, for all rows and brought near 1, since the slopes of single rows of a large batch would be lost.
pub(super) fn gradients(
    g: &mut Graph,
    precision: Precision,
    terms: &[(NodeId, f64)],
    objectives: usize,
    of: &[(usize, NodeId)],
) -> Result<()> {
    let (numbers, params): (Vec<usize>, Vec<NodeId>) = of.iter().copied().unzip();
    if precision == Precision::F32 {
        let mut total = g.fill(0.0, Shape::scalar());
        for (at, &(term, _)) in terms.iter().enumerate() {
            total = if at == 0 { term } else { g.map([total, term], |[a, b]| a + b)? };
        }
        if objectives > 1 {
            total = g.map([total], |[t]| t / objectives as f64)?;
        }
        for (i, gradient) in numbers.into_iter().zip(g.gradient(total, &params)?) {
            g.sink(Sink::Gradient(i), gradient);
        }
        return Ok(());
    }
    let mut seeds = Vec::with_capacity(terms.len());
    for &(of, slope) in terms {
        let power = power_for(slope);
        let cotangent = g.map_to(Expr::rows() * 2f64.powi(power), &[], Shape::scalar())?;
        seeds.push(Seed { of, cotangent, power });
    }
    for (i, (gradient, power)) in numbers.into_iter().zip(g.backward(&seeds, &params, &[])?) {
        let scale = objectives as f64 * 2f64.powi(power);
        let gradient = g.map([gradient], |[d]| d / (Expr::rows() * scale))?;
        g.sink(Sink::Gradient(i), gradient);
    }
    Ok(())
}

impl Builder<'_> {
    /// Gradients of the mean of so many objectives, whose terms these are, by the trainable tensors of these numbers.
    pub fn gradients(&mut self, objectives: usize, of: &[usize]) -> Result<()> {
        self.g.set_scope("gradient");
        let params: Vec<(usize, NodeId)> = of.iter().map(|&i| (self.places.param(i), self.params[i])).collect();
        gradients(self.g, self.spec.precision, &self.terms, objectives, &params)
    }

    /// How steep the loss of a row is in each output, for an output that is off by about 1.
    fn steepness(&self) -> f64 {
        let pass = match self.spec.loss {
            Loss::Mse => 1.0 / self.spec.input as f64,
            Loss::Gaussian { sigma, .. } => {
                let ramp = self.network.ramps().iter().find(|(path, ..)| path == SIGMA);
                ramp.map_or(sigma, |(_, ramp, to)| ramp.least(*to)).powi(-2)
            }
            // Of the caller's own nothing is known.
            Loss::SquaredError | Loss::Bernoulli | Loss::Softmax { .. } | Loss::Mixture { .. } | Loss::Own(_) => 1.0,
        };
        pass / (1.0 + self.spec.walkback as f64)
    }

    /// The terms of the objective, each reported apart.
    pub fn objective(&mut self, shuffled: bool) -> Result<()> {
        let (x, labels) = self.scaled_batch(shuffled)?;
        self.objective_of(x, labels)
    }

    /// The same for rows that are scaled, with their labels.
    pub fn objective_of(&mut self, mut x: NodeId, labels: Option<NodeId>) -> Result<()> {
        let (weights, shift) = (self.weights, self.shift);
        let mut beyond = None;
        if !self.noisy {
            // Rows to train on are checked instead.
            (x, beyond) = self.nearest(x)?;
        }
        let input = self.corrupted(x, stream::CORRUPTION + shift)?;
        let pass = self.pass(x, input, shift)?;
        self.g.set_scope("loss");
        let mut reconstruction = self.reconstruction(&pass, x)?;
        if let Some(beyond) = beyond {
            let mean = weights.mean(self.g, beyond)?;
            reconstruction = self.g.map([reconstruction, mean], |[a, b]| a + b)?;
        }
        if self.noisy && self.spec.walkback > 0 {
            reconstruction = self.walkback(&pass, x, reconstruction)?;
        }
        // Of a second objective only the loss is told.
        let name = if shift == 0 { "reconstruction" } else { "found" };
        self.g.term(name, reconstruction);
        self.terms.push((reconstruction, self.steepness()));
        self.g.set_scope("code");
        match (self.spec.latent, pass.log_variance) {
            (Latent::Gaussian { beta }, Some(gamma)) => {
                let rows = latent::divergence(self.g, pass.code, gamma)?;
                let mean = weights.mean(self.g, rows)?;
                let kl = self.g.map([mean], |[kl]| beta * kl)?;
                self.weighted("kl", kl, beta, "latent.beta")?;
            }
            (Latent::PredictiveSparse { weight, gamma, .. }, _) => {
                let [by, towards] = self.predictive(weight, gamma)?;
                let each = self.g.map([pass.latent, by], |[h, weight]| weight * h.abs())?;
                let sparsity = weights.mean(self.g, each)?;
                self.term("sparsity", sparsity, self.most("latent.weight", weight));
                let each = self.g.map([pass.latent, pass.code, towards], |[h, f, gamma]| gamma * (h - f).square())?;
                let prediction = weights.mean(self.g, each)?;
                self.term("prediction", prediction, self.most("latent.gamma", gamma));
            }
            _ => {}
        }
        for (i, penalty) in self.spec.penalties.iter().enumerate() {
            // Two of a kind, on different layers, are reported apart.
            let alike = self.spec.penalties.iter().filter(|other| other.name() == penalty.name()).count();
            let name = if alike > 1 { format!("{} (penalties[{i}])", penalty.name()) } else { penalty.name().into() };
            self.g.set_scope(&name);
            let beside = match penalty.beside() {
                Some((name, value)) => self.coefficient(&penalty_place(i, name), value)?,
                None => self.g.fill(0.0, Shape::scalar()),
            };
            let cost = penalty.build(self.g, self.spec, &pass, stream::PENALTY + i as u32 + shift, beside)?;
            self.weighted(&name, cost, penalty.weight(), &penalty_place(i, "weight"))?;
        }
        if let (Some(supervised), Some(labels)) = (self.spec.supervised, labels) {
            self.g.set_scope("supervised");
            let mean = self.mistaken(pass.code, labels)?;
            let cost = self.g.map([mean], |[c]| supervised.weight * c)?;
            self.weighted("supervised", cost, supervised.weight, "supervised.weight")?;
        }
        if self.spec.weight_decay > 0.0 || self.spec.ramps.contains_key("weight_decay") {
            self.g.set_scope("weight_decay");
            let decay = self.weight_decay()?;
            self.weighted("weight_decay", decay, self.spec.weight_decay, "weight_decay")?;
        }
        Ok(())
    }

    /// A term with a weight, which may be read from the table: the term is that of weight 1 then.
    fn weighted(&mut self, name: &str, value: NodeId, weight: f64, path: &str) -> Result<()> {
        let Some((_, ramp, to)) = self.ramp(path) else {
            self.term(name, value, weight);
            return Ok(());
        };
        let scalar = self.scalar(path)?;
        let value = self.g.map([value, scalar], |[v, w]| v * w)?;
        self.term(name, value, ramp.most(*to));
        Ok(())
    }

    /// The largest value of a coefficient.
    fn most(&self, path: &str, value: f64) -> f64 {
        self.ramp(path).map_or(value, |(_, ramp, to)| ramp.most(*to))
    }

    /// Adds a term that is about so steep for one row, and reports it; of a second objective only the loss is told.
    fn term(&mut self, name: &str, value: NodeId, slope: f64) {
        if self.shift == 0 {
            self.g.term(name, value);
        }
        self.terms.push((value, slope));
    }

    /// The loss of a pass, mean over the batch.
    fn reconstruction(&mut self, pass: &Pass, x: NodeId) -> Result<NodeId> {
        let rows = self.spec.loss.rows(self.g, pass.decoded, x)?;
        pass.weights.mean(self.g, rows)
    }

    /// The mean of the losses along a walkback (Bengio, Yao, Alain and Vincent, 2013): each pass starts from a corrupted
    /// draw of the pass before, and all are to come back to x.
    fn walkback(&mut self, first: &Pass, x: NodeId, loss: NodeId) -> Result<NodeId> {
        let (mut decoded, mut total) = (first.decoded, loss);
        for i in 1..=self.spec.walkback {
            let shift = self.shift + stream::WALKBACK * i as u32;
            let drawn = self.spec.loss.sample(self.g, decoded, stream::SAMPLE + shift)?;
            let drawn = self.g.map([drawn], |[x]| Expr::detached(x))?;
            let input = self.corrupted(drawn, stream::CORRUPTION + shift)?;
            let pass = self.pass(x, input, shift)?;
            let loss = self.reconstruction(&pass, x)?;
            total = self.g.map([total, loss], |[a, b]| a + b)?;
            decoded = pass.decoded;
        }
        let passes = 1.0 + self.spec.walkback as f64;
        self.g.map([total], |[t]| t / passes)
    }

    /// −log p(label | code), mean over the batch.
    fn mistaken(&mut self, code: NodeId, labels: NodeId) -> Result<NodeId> {
        let logits = self.classifier(code)?;
        let classes = self.g.shape(labels).columns();
        let rows = Loss::Softmax { classes }.rows(self.g, Decoded::from(logits), labels)?;
        self.weights.mean(self.g, rows)
    }

    /// The same as a term that is all of an objective.
    pub fn classification(&mut self, code: NodeId, labels: NodeId) -> Result<()> {
        let mean = self.mistaken(code, labels)?;
        self.term("classification", mean, 1.0);
        Ok(())
    }

    /// ½ λ Σ ||W||².
    fn weight_decay(&mut self) -> Result<NodeId> {
        let mut total = self.g.fill(0.0, Shape::scalar());
        let heads = self.network.log_variance.iter().chain(self.network.mixture.iter().flatten());
        let layers = self.network.layers.iter().chain(heads).chain(&self.network.classifier);
        for dense in layers.filter(|dense| !dense.transposed) {
            let square = self.g.map([self.params[dense.weight]], |[w]| w.square())?;
            let sum = self.g.sum_all(square);
            total = self.g.map([total, sum], |[a, b]| a + 0.5 * self.spec.weight_decay * b)?;
        }
        Ok(total)
    }
}
