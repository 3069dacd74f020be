//! From a spec to nodes: one pass through the model, and what is inferred.

use super::latent::{self, Dictionary};
use super::loss::Decoded;
use super::network::{Dense, Network, Purpose};
use super::ramp::{CORRUPTION, SIGMA, layer_noise};
use super::{Corruption, Latent, Layer, Loss, Ramp, Spec};
use crate::error::{Error, Result};
use crate::graph::{Distribution, Expr, Graph, NodeId, Over, Reduction, Shape};

/// Streams of random draws; two neighbours are one draw's own.
pub(super) mod stream {
    pub const CORRUPTION: u32 = 1;
    pub const LATENT: u32 = 2;
    pub const SAMPLE: u32 = 4;
    pub const PENALTY: u32 = 64;
    pub const LAYER: u32 = 1 << 16;
    /// Apart for every alternation of a walkback.
    pub const WALKBACK: u32 = 1 << 20;
    /// Of a second objective in the same graph, beyond any walkback.
    pub const SECOND: u32 = 1 << 28;
}

/// What one pass computes in one layer.
pub(super) struct LayerPass {
    pub weight: NodeId,
    /// The product with the weights, without bias.
    pub product: NodeId,
    pub output: NodeId,
}

/// What one pass computes.
pub(super) struct Pass {
    /// What the encoder sees.
    pub input: NodeId,
    /// How much its rows count.
    pub weights: RowWeights,
    pub encoder: Vec<LayerPass>,
    /// The weight that the code meets, and whether it is transposed there.
    pub decoder: (NodeId, bool),
    /// The encoder's output.
    pub code: NodeId,
    pub log_variance: Option<NodeId>,
    /// The decoder's input.
    pub latent: NodeId,
    pub decoded: Decoded,
    /// What the decoder expects the input to be, scaled.
    pub mean: NodeId,
}

/// Rows of the training data.
pub(super) struct Batch {
    /// Features.
    pub x: NodeId,
    /// Labels, where there is a classifier.
    labels: Option<NodeId>,
    pub weights: RowWeights,
}

/// How much each row of a batch counts in means over its rows, [batch, 1], where they have weights.
#[derive(Clone, Copy)]
pub(super) struct RowWeights(pub Option<NodeId>);

impl RowWeights {
    /// What rows cost, [batch, ..], times their weights.
    pub fn times(self, g: &mut Graph, rows: NodeId) -> Result<NodeId> {
        self.0.map_or(Ok(rows), |weights| g.map([rows, weights], |[c, w]| w * c))
    }

    /// The mean over the batch of what rows cost, [batch, ..], each summed up: Σ w c / B.
    pub fn mean(self, g: &mut Graph, rows: NodeId) -> Result<NodeId> {
        let rows = self.times(g, rows)?;
        g.batch_mean(rows)
    }
}

/// Where the tensors and the scalars of a network are among those of a graph.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// The numbers of its trainable and of its frozen tensors there; none where they are the graph's own.
    pub tensors: Option<(&'a [usize], &'a [usize])>,
    /// What the names of its scalars begin with there.
    pub prefix: &'a str,
}

impl Places<'_> {
    /// Those of a graph that is over the network's tensors alone.
    pub const OWN: Places<'static> = Places { tensors: None, prefix: "" };

    /// The number that the i-th trainable tensor has there.
    pub fn param(&self, i: usize) -> usize {
        self.tensors.map_or(i, |(params, _)| params[i])
    }

    /// The number that the i-th frozen tensor has there.
    fn constant(&self, i: usize) -> usize {
        self.tensors.map_or(i, |(_, constants)| constants[i])
    }
}

/// A graph in the making.
pub(super) struct Builder<'a> {
    pub network: &'a Network,
    pub spec: &'a Spec,
    pub g: &'a mut Graph,
    /// Where its tensors are among those of the graph.
    pub places: Places<'a>,
    pub params: Vec<NodeId>,
    /// Whether noise is drawn: in training.
    pub noisy: bool,
    /// The coefficients that it reads from the table: in training all that have ramps, in evaluation those whose ramps are constant.
    pub ramps: Vec<&'a (String, Ramp, f64)>,
    /// How much the rows of the batch count.
    pub weights: RowWeights,
    /// Keeps its draws apart from those of another objective in the same graph.
    pub shift: u32,
    /// The terms of the objective, each with about how steep it is for one row.
    pub terms: Vec<(NodeId, f64)>,
}

impl<'a> Builder<'a> {
    /// The features of the current batch, scaled, and the labels, where there is a classifier.
    pub fn scaled_batch(&mut self, shuffled: bool) -> Result<(NodeId, Option<NodeId>)> {
        self.g.set_scope("input");
        let Batch { x, labels, weights } = self.batch(shuffled)?;
        self.weights = weights;
        Ok((self.scale(x)?, labels))
    }

    /// What there is of a coefficient in the table.
    pub(super) fn ramp(&self, path: &str) -> Option<&'a (String, Ramp, f64)> {
        self.ramps.iter().find(|(of, ..)| of == path).copied()
    }

    /// A coefficient of the spec: its value, or the scalar of the table.
    pub(super) fn coefficient(&mut self, path: &str, value: f64) -> Result<NodeId> {
        match self.ramp(path) {
            Some(_) => self.scalar(path),
            None => Ok(self.g.fill(value, Shape::scalar())),
        }
    }

    /// The scalar of a coefficient that has a ramp.
    pub(super) fn scalar(&mut self, path: &str) -> Result<NodeId> {
        self.g.scalar(&format!("{}{path}", self.places.prefix))
    }

    /// λ and γ of predictive sparse decomposition.
    pub(super) fn predictive(&mut self, weight: f64, gamma: f64) -> Result<[NodeId; 2]> {
        Ok([self.coefficient("latent.weight", weight)?, self.coefficient("latent.gamma", gamma)?])
    }

    /// The current batch.
    pub fn batch(&mut self, shuffled: bool) -> Result<Batch> {
        let (input, columns) = (self.spec.input, self.network.data_columns());
        let row = self.g.gather(columns, shuffled);
        if columns == input {
            return Ok(Batch { x: row, labels: None, weights: RowWeights(None) });
        }
        let x = self.g.slice(row, 0, input)?;
        let labels = self.spec.supervised.map(|supervised| self.g.slice(row, input, supervised.classes)).transpose()?;
        let weights = self.network.has_row_weights().then(|| self.g.slice(row, columns - 1, 1)).transpose()?;
        Ok(Batch { x, labels, weights: RowWeights(weights) })
    }

    pub fn infer(&mut self, purpose: Purpose, input: NodeId) -> Result<NodeId> {
        if purpose == Purpose::Decode {
            let (decoded, _) = self.decode(input, 0)?;
            let mean = self.spec.loss.mean(self.g, decoded)?;
            return self.unscale(mean);
        }
        let mut x = self.scale(input)?;
        let mut beyond = None;
        if matches!(purpose, Purpose::Score | Purpose::Evidence) {
            (x, beyond) = self.nearest(x)?;
        }
        let seen = self.corrupted(x, stream::CORRUPTION)?;
        if purpose == Purpose::Corrupt {
            return self.unscale(seen);
        }
        let pass = self.pass(x, seen, 0)?;
        let none = |what: &str| Error::spec("purpose", format!("{purpose:?}"), format!("a spec with {what}"));
        match purpose {
            Purpose::Encode => Ok(pass.code),
            Purpose::Resample => {
                let drawn = self.spec.loss.sample(self.g, pass.decoded, stream::SAMPLE)?;
                self.unscale(drawn)
            }
            Purpose::Score => self.loss_of_rows(pass.decoded, x, beyond),
            Purpose::LogVariance => pass.log_variance.ok_or_else(|| none("latent = gaussian")),
            Purpose::Evidence => {
                let gamma = pass.log_variance.ok_or_else(|| none("latent = gaussian"))?;
                self.evidence(pass.code, gamma, x, beyond)
            }
            Purpose::Sparse => self.minimised(x, pass.code)?.ok_or_else(|| none("latent = predictive_sparse")),
            Purpose::EncoderJacobian => self.jacobian(pass.code, x),
            Purpose::ReconstructionJacobian => self.jacobian(pass.mean, x),
            Purpose::Mixture => self.spec.loss.components(self.g, pass.decoded),
            Purpose::Classify => {
                let logits = self.classifier(pass.code)?;
                let decoded = Decoded::from(logits);
                Loss::Softmax { classes: self.g.shape(logits).columns() }.mean(self.g, decoded)
            }
            _ => self.unscale(pass.mean),
        }
    }

    /// x + (ε/2) (r(x) − x)/σ² + √ε z with r(x) the reconstruction and z normal: (r − x)/σ² estimates the score of the
    /// smoothed density (Alain and Bengio, "What regularized auto-encoders learn from the data-generating
    /// distribution", 2014).
    pub fn langevin(&mut self, rows: NodeId, length: f64, sigma: f64) -> Result<NodeId> {
        let x = self.scale(rows)?;
        let pass = self.pass(x, x, 0)?;
        let noise = Expr::random(Distribution::Normal, stream::SAMPLE);
        let moved = self.g.map([x, pass.mean], |[x, r]| {
            let drift = length / (2.0 * sigma * sigma) * (r - &x);
            x + drift + length.sqrt() * noise
        })?;
        self.unscale(moved)
    }

    fn jacobian(&mut self, of: NodeId, by: NodeId) -> Result<NodeId> {
        let ones = self.g.identity(false, self.g.shape(of).columns());
        let jacobian = self.g.vjp(of, ones, &[by])?[0];
        // That of a linear map is one for all rows.
        let shape = Shape { batched: true, ..self.g.shape(jacobian).clone() };
        self.g.map_to(Expr::input(0), &[jacobian], shape)
    }

    /// log p(x|z) + log p(z) − log q(z|x) for one draw z = μ + exp(γ/2) ∘ ε.
    fn evidence(&mut self, mu: NodeId, gamma: NodeId, x: NodeId, beyond: Option<NodeId>) -> Result<NodeId> {
        if !self.spec.loss.is_likelihood() {
            let allowed = "a likelihood: bernoulli, gaussian, softmax or mixture";
            return Err(Error::spec("loss", self.spec.loss.name(), allowed));
        }
        let z = latent::draw(self.g, mu, gamma, stream::LATENT)?;
        let (decoded, _) = self.decode(z, 0)?;
        let loss = self.loss_of_rows(decoded, x, beyond)?;
        // The normalisers of both densities of z are the same but for γ; ε² is its squared distance from μ.
        let ratio = self.g.map([z, mu, gamma], |[z, mu, gamma]| {
            let epsilon = (&z - mu) * (-0.5 * &gamma).exp();
            0.5 * (epsilon.square() - z.square() + gamma)
        })?;
        let ratio = self.g.sum(Over::Columns, ratio);
        self.g.map([ratio, loss], |[r, l]| r - l)
    }

    /// Encodes `input` and decodes the result; `x` is the clean input. `shift` keeps the draws of several passes apart.
    pub(super) fn pass(&mut self, x: NodeId, input: NodeId, shift: u32) -> Result<Pass> {
        let mut encoder: Vec<LayerPass> = Vec::with_capacity(self.spec.encoder.len());
        let mut last = input;
        let mut before = input;
        for (i, layer) in self.spec.encoder.iter().enumerate() {
            self.g.set_scope(format!("encoder.{i}"));
            let dense = self.network.layers[i];
            let weight = self.weight(i)?;
            let product = self.g.matmul(last, weight, false, false)?;
            let output = self.activate(product, dense.bias, layer, i, shift)?;
            encoder.push(LayerPass { weight, product, output });
            (before, last) = (last, output);
        }
        let code = last;
        let (mut latent, mut log_variance) = (code, None);
        if let Some(dense) = self.network.log_variance {
            self.g.set_scope("log_variance");
            let gamma = self.linear(before, dense)?;
            log_variance = Some(gamma);
            if self.noisy {
                latent = latent::draw(self.g, code, gamma, stream::LATENT + shift)?;
            }
        }
        if self.noisy {
            latent = self.minimised(x, code)?.unwrap_or(latent);
        }
        let (decoded, weight) = self.decode(latent, shift)?;
        let decoder = (weight, self.network.layers[encoder.len()].transposed);
        let mean = self.spec.loss.mean(self.g, decoded)?;
        Ok(Pass { input, weights: self.weights, encoder, decoder, code, log_variance, latent, decoded, mean })
    }

    /// The codes of predictive sparse decomposition.
    fn minimised(&mut self, x: NodeId, code: NodeId) -> Result<Option<NodeId>> {
        let Latent::PredictiveSparse { weight, gamma, steps } = self.spec.latent else { return Ok(None) };
        self.g.set_scope("code");
        let at = self.spec.encoder.len();
        let (mut atoms, dense) = (self.weight(at)?, self.network.layers[at]);
        if dense.transposed {
            // The product below wants rows to be atoms.
            let ones = self.g.identity(false, self.spec.code());
            atoms = self.g.matmul(ones, atoms, false, true)?;
        }
        let dictionary = Dictionary { atoms, bias: self.params[dense.bias] };
        let coefficients = self.predictive(weight, gamma)?;
        latent::proximal(self.g, x, code, &dictionary, coefficients, steps).map(Some)
    }

    /// What a code is decoded to, and the weight that it meets.
    fn decode(&mut self, code: NodeId, shift: u32) -> Result<(Decoded, NodeId)> {
        let first = self.spec.encoder.len();
        let (mut last, mut before, mut met) = (code, code, code);
        for (i, layer) in self.spec.decoder.iter().enumerate() {
            self.g.set_scope(format!("decoder.{i}"));
            let dense = self.network.layers[first + i];
            let weight = self.weight(first + i)?;
            met = if i == 0 { weight } else { met };
            let mut product = self.g.matmul(last, weight, false, dense.transposed)?;
            if let (&Loss::Mixture { components }, true) = (&self.spec.loss, i + 1 == self.spec.decoder.len()) {
                let each = if dense.transposed { 1 } else { components };
                product = self.g.view(product, Shape::batched(&[each, layer.units]))?;
            }
            let output = self.activate(product, dense.bias, layer, first + i, shift)?;
            (before, last) = (last, output);
        }
        let mut decoded = Decoded::from(last);
        if let Some([logits, log_sigma]) = self.network.mixture {
            decoded.logits = Some(self.linear(before, logits)?);
            decoded.log_sigma = Some(self.linear(before, log_sigma)?);
        }
        if let Some(at) = self.network.log_sigma {
            decoded.log_sigma = Some(self.params[at]);
        } else if self.ramp(SIGMA).is_some() {
            let sigma = self.scalar(SIGMA)?;
            decoded.log_sigma = Some(self.g.map([sigma], |[s]| s.log())?);
        }
        Ok((decoded, met))
    }

    /// A layer's weight as stored; the one that the code meets first has rows of norm 1 where the spec says so.
    fn weight(&mut self, layer: usize) -> Result<NodeId> {
        let dense = self.network.layers[layer];
        let weight = self.params[dense.weight];
        let meets_code = self.network.layers[self.spec.encoder.len()].weight;
        if !self.spec.unit_norm || dense.weight != meets_code {
            return Ok(weight);
        }
        // Tied weights are stored as [.., code]: a unit's are a column.
        let over = if self.spec.tied { Over::Rows } else { Over::Columns };
        let or_one = |n: &Expr| n.if_positive(n.clone(), 1.0);
        // The norm of w / max |w| neither overflows nor vanishes. What is divided by the norm does not depend on the
        // scale, so the maximum is a constant for the gradient. A row of zeros stays one.
        let size = self.g.map([weight], |[w]| w.abs())?;
        let largest = self.g.reduce(Reduction::Max, over, size);
        let scaled = self.g.map([weight, largest], |[w, m]| w / or_one(&Expr::detached(m)))?;
        let square = self.g.map([scaled], |[w]| w.square())?;
        let squares = self.g.sum(over, square);
        self.g.map([scaled, squares], |[w, n]| w / or_one(&n).sqrt())
    }

    pub fn linear(&mut self, x: NodeId, dense: Dense) -> Result<NodeId> {
        let product = self.g.matmul(x, self.params[dense.weight], false, dense.transposed)?;
        self.g.map([product, self.params[dense.bias]], |[p, b]| p + b)
    }

    /// The activation of product + bias, and the layer's noise.
    fn activate(&mut self, product: NodeId, bias: usize, layer: &Layer, at: usize, shift: u32) -> Result<NodeId> {
        let output = self.g.map([product, self.params[bias]], |[p, b]| layer.activation.of(&(p + b)))?;
        if !self.noisy {
            return Ok(output);
        }
        let place = match at.checked_sub(self.spec.encoder.len()) {
            None => layer_noise("encoder", at),
            Some(at) => layer_noise("decoder", at),
        };
        let strength = self.strength(&place)?;
        layer.noise.build(self.g, output, stream::LAYER + at as u32 + shift, [None, None], strength)
    }

    /// The scalar that says how strong a noise is in training, where that has a ramp.
    fn strength(&mut self, place: &str) -> Result<Option<NodeId>> {
        let of = |path: &str| path.strip_prefix(place).is_some_and(|rest| rest.starts_with('.'));
        let ramp = self.ramps.iter().find(|(path, ..)| of(path)).copied();
        ramp.map(|(path, ..)| self.scalar(path)).transpose()
    }

    /// Scaled rows, or ways from them, without what is missing.
    pub(super) fn without_missing(&mut self, x: NodeId) -> Result<NodeId> {
        match self.constant("input.keep")? {
            Some(keep) => self.g.map([x, keep], |[x, keep]| x * keep),
            None => Ok(x),
        }
    }

    /// What the encoder sees of scaled rows: corrupted where noise is drawn. What is missing is missing always.
    pub(super) fn corrupted(&mut self, x: NodeId, stream: u32) -> Result<NodeId> {
        if !self.noisy {
            return self.without_missing(x);
        }
        let aids = match self.spec.corruption {
            Corruption::Missing { .. } => [self.constant("input.keep")?, None],
            _ => [self.constant("input.low")?, self.constant("input.high")?],
        };
        let strength = self.strength(CORRUPTION)?;
        self.spec.corruption.build(self.g, x, stream, aids, strength)
    }

    /// The nearest rows that the loss is made for, and what each row costs for its distance from them.
    pub(super) fn nearest(&mut self, x: NodeId) -> Result<(NodeId, Option<NodeId>)> {
        Ok(match self.spec.loss.nearest(self.g, x)? {
            Some((nearest, cost)) => (nearest, Some(cost)),
            None => (x, None),
        })
    }

    /// The loss of each row, and what it costs to lie beyond what the loss is made for.
    pub(super) fn loss_of_rows(&mut self, decoded: Decoded, x: NodeId, beyond: Option<NodeId>) -> Result<NodeId> {
        let rows = self.spec.loss.rows(self.g, decoded, x)?;
        match beyond {
            Some(cost) => self.g.map([rows, cost], |[rows, cost]| rows + cost),
            None => Ok(rows),
        }
    }

    /// Logits of the classes.
    pub(super) fn classifier(&mut self, code: NodeId) -> Result<NodeId> {
        let Some(dense) = self.network.classifier else {
            return Err(Error::spec("supervised", "none", "a spec with a classifier"));
        };
        self.linear(code, dense)
    }

    /// (x − shift) · scale.
    pub(super) fn scale(&mut self, x: NodeId) -> Result<NodeId> {
        let Some([shift, scale]) = self.scaling()? else { return Ok(x) };
        self.g.map([x, shift, scale], |[x, shift, scale]| (x - shift) * scale)
    }

    /// What [`Builder::scale`] did, undone.
    pub(super) fn unscale(&mut self, x: NodeId) -> Result<NodeId> {
        let Some([shift, scale]) = self.scaling()? else { return Ok(x) };
        self.g.map([x, shift, scale], |[r, shift, scale]| r / scale + shift)
    }

    fn scaling(&mut self) -> Result<Option<[NodeId; 2]>> {
        Ok(self.constant("input.shift")?.zip(self.constant("input.scale")?).map(|(shift, scale)| [shift, scale]))
    }

    /// A frozen tensor, where the network has it.
    fn constant(&mut self, name: &str) -> Result<Option<NodeId>> {
        self.network.constant(name).map(|i| self.g.constant(self.places.constant(i))).transpose()
    }
}
