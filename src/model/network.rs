//! From a spec to graphs: one for each purpose, over the same trainable and frozen tensors.

use super::{Init, Layer, Scaling, Spec};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Shape, Sink, Tensor};

/// What a graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Gradients and terms of the objective for the current batch of the resident data.
    Train,
    /// Terms of the objective for the current batch of the resident data, nothing corrupted.
    Evaluate,
    /// Codes of a batch from the caller.
    Encode,
    /// Reconstructions of codes from the caller.
    Decode,
    /// Reconstructions of a batch from the caller.
    Reconstruct,
    /// The loss of each row of a batch from the caller.
    Score,
}

/// The stream of random draws that corrupts the input.
const CORRUPTION: u32 = 1;

/// A spec with its tensors.
#[derive(Clone, Debug)]
pub struct Network {
    spec: Spec,
    params: Vec<Tensor>,
    constants: Vec<Tensor>,
    /// For every layer, encoder first: its weight, whether that is transposed, and its bias.
    layers: Vec<(usize, bool, usize)>,
    /// How each tensor starts: the initialisation of weights, nothing for biases.
    starts: Vec<Option<Init>>,
}

impl Network {
    /// Lists the tensors of a spec: `encoder.0.weight` `[in, out]`, `encoder.0.bias` `[out]` and so on, then the
    /// decoder's. With tied weights the decoder has biases only.
    ///
    /// # Errors
    /// As [`Spec::check`].
    pub fn new(spec: &Spec) -> Result<Network> {
        spec.check()?;
        let mut network =
            Network { spec: spec.clone(), params: vec![], constants: vec![], layers: vec![], starts: vec![] };
        let mut width = spec.input;
        for (part, layers) in [("encoder", &spec.encoder), ("decoder", &spec.decoder)] {
            for (i, layer) in layers.iter().enumerate() {
                let tied = spec.tied && part == "decoder";
                let weight = if tied {
                    network.layers[spec.encoder.len() - 1 - i].0
                } else {
                    network.tensor(format!("{part}.{i}.weight"), &[width, layer.units], Some(layer.init))
                };
                let bias = network.tensor(format!("{part}.{i}.bias"), &[layer.units], None);
                network.layers.push((weight, tied, bias));
                width = layer.units;
            }
        }
        if spec.scaling != Scaling::None {
            for name in ["input.shift", "input.scale"] {
                network.constants.push(Tensor { name: name.into(), shape: Shape::fixed(&[spec.input]) });
            }
        }
        Ok(network)
    }

    fn tensor(&mut self, name: String, dims: &[usize], start: Option<Init>) -> usize {
        self.params.push(Tensor { name, shape: Shape::fixed(dims) });
        self.starts.push(start);
        self.params.len() - 1
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The trainable tensors.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// The frozen tensors: what scales the input, (x − shift) · scale.
    pub fn constants(&self) -> &[Tensor] {
        &self.constants
    }

    /// Initial values of the trainable tensors.
    pub fn initial(&self, seed: u64) -> Vec<Vec<f32>> {
        let each = |(i, tensor): (usize, &Tensor)| match self.starts[i] {
            Some(init) => init.weights(tensor.shape.blocks(), tensor.shape.columns(), i, seed),
            None => vec![0.0; tensor.shape.elements(1)],
        };
        self.params.iter().enumerate().map(each).collect()
    }

    /// Builds the graph for a purpose. `shuffled` says whether the resident rows are taken in permuted order.
    ///
    /// # Errors
    /// [`crate::Error::Shape`], which a checked spec does not cause.
    pub fn graph(&self, purpose: Purpose, shuffled: bool) -> Result<Graph> {
        let mut g = Graph::new(self.params.clone(), self.constants.clone());
        g.set_scope("input");
        match purpose {
            Purpose::Train => {
                let x = g.gather(self.spec.input, shuffled);
                let x = self.scale(&mut g, x)?;
                let corrupted = self.spec.corruption.build(&mut g, x, CORRUPTION)?;
                self.train(&mut g, x, corrupted)?;
            }
            Purpose::Evaluate => {
                let x = g.gather(self.spec.input, false);
                let x = self.scale(&mut g, x)?;
                let params = self.param_nodes(&mut g)?;
                self.objective(&mut g, &params, x, x)?;
            }
            _ => {
                let width = if purpose == Purpose::Decode { self.spec.code() } else { self.spec.input };
                let x = g.input(0, width);
                let result = self.infer(&mut g, purpose, x)?;
                g.sink(Sink::Output(0), result);
            }
        }
        g.check()?;
        Ok(g)
    }

    fn infer(&self, g: &mut Graph, purpose: Purpose, input: NodeId) -> Result<NodeId> {
        let params = self.param_nodes(g)?;
        if purpose == Purpose::Decode {
            return self.decode_mean(g, &params, input);
        }
        let x = self.scale(g, input)?;
        let code = self.encode(g, &params, x)?;
        match purpose {
            Purpose::Encode => Ok(code),
            Purpose::Score => {
                let output = self.decode(g, &params, code)?;
                self.spec.loss.rows(g, output, x)
            }
            _ => self.decode_mean(g, &params, code),
        }
    }

    /// Gradients of the objective.
    fn train(&self, g: &mut Graph, target: NodeId, input: NodeId) -> Result<()> {
        let params = self.param_nodes(g)?;
        let total = self.objective(g, &params, target, input)?;
        g.set_scope("gradient");
        for (i, gradient) in g.gradient(total, &params)?.into_iter().enumerate() {
            g.sink(Sink::Gradient(i), gradient);
        }
        Ok(())
    }

    /// The terms of the objective, reported apart, and their sum.
    fn objective(&self, g: &mut Graph, params: &[NodeId], target: NodeId, input: NodeId) -> Result<NodeId> {
        let code = self.encode(g, params, input)?;
        let output = self.decode(g, params, code)?;
        g.set_scope("loss");
        let rows = self.spec.loss.rows(g, output, target)?;
        let reconstruction = g.batch_mean(rows)?;
        g.term("reconstruction", reconstruction);
        let mut total = reconstruction;
        if self.spec.weight_decay > 0.0 {
            g.set_scope("weight_decay");
            let decay = self.weight_decay(g, params)?;
            g.term("weight_decay", decay);
            total = g.map([total, decay], |[a, b]| a + b)?;
        }
        Ok(total)
    }

    /// ½ λ Σ ||W||².
    fn weight_decay(&self, g: &mut Graph, params: &[NodeId]) -> Result<NodeId> {
        let mut total = g.fill(0.0, Shape::scalar());
        for &(weight, ..) in self.layers.iter().filter(|(_, tied, _)| !tied) {
            let square = g.map([params[weight]], |[w]| w.square())?;
            let sum = g.sum_all(square);
            total = g.map([total, sum], |[a, b]| a + 0.5 * self.spec.weight_decay * b)?;
        }
        Ok(total)
    }

    fn param_nodes(&self, g: &mut Graph) -> Result<Vec<NodeId>> {
        (0..self.params.len()).map(|i| g.param(i)).collect()
    }

    /// (x − shift) · scale.
    fn scale(&self, g: &mut Graph, x: NodeId) -> Result<NodeId> {
        if self.constants.is_empty() {
            return Ok(x);
        }
        let (shift, scale) = (g.constant(0)?, g.constant(1)?);
        g.map([x, shift, scale], |[x, shift, scale]| (x - shift) * scale)
    }

    fn encode(&self, g: &mut Graph, params: &[NodeId], x: NodeId) -> Result<NodeId> {
        let layers = self.spec.encoder.iter().zip(&self.layers);
        self.dense(g, params, x, "encoder", layers)
    }

    /// The output of the last layer: the reconstruction, or its logits.
    fn decode(&self, g: &mut Graph, params: &[NodeId], code: NodeId) -> Result<NodeId> {
        let layers = self.spec.decoder.iter().zip(&self.layers[self.spec.encoder.len()..]);
        self.dense(g, params, code, "decoder", layers)
    }

    /// The reconstruction in the units of the input.
    fn decode_mean(&self, g: &mut Graph, params: &[NodeId], code: NodeId) -> Result<NodeId> {
        let output = self.decode(g, params, code)?;
        let mean = g.map([output], |[z]| self.spec.loss.mean(&z))?;
        if self.constants.is_empty() {
            return Ok(mean);
        }
        let (shift, scale) = (g.constant(0)?, g.constant(1)?);
        // A constant feature has scale 0 and comes back as its constant.
        g.map([mean, shift, scale], |[r, shift, scale]| {
            let inverse = scale.if_positive(1.0 / &scale, 0.0);
            r * inverse + shift
        })
    }

    fn dense<'a>(
        &self,
        g: &mut Graph,
        params: &[NodeId],
        mut x: NodeId,
        part: &str,
        layers: impl Iterator<Item = (&'a Layer, &'a (usize, bool, usize))>,
    ) -> Result<NodeId> {
        for (i, (layer, &(weight, transposed, bias))) in layers.enumerate() {
            g.set_scope(format!("{part}.{i}"));
            let product = g.matmul(x, params[weight], false, transposed)?;
            x = g.map([product, params[bias]], |[p, b]| layer.activation.of(&(p + b)))?;
        }
        Ok(x)
    }
}
