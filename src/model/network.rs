//! From a spec to graphs: one for each purpose, over the same trainable and frozen tensors.

use super::build::stream::SECOND;
use super::build::{Builder, Places, RowWeights};
use super::start::{Start, Values};
use super::{Corruption, Init, Latent, Layer, Loss, Precision, Ramp, Scaling, Spec};
use crate::error::{Error, Result};
use crate::graph::{Expr, Graph, Layout, NodeId, Scalars, Shape, Sink, Tensor, TensorSet};

/// What a graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Purpose {
    /// Gradients and terms of the objective for the current batch of the resident data.
    #[doc(hidden)]
    Train,
    /// Terms of the objective for the current batch of the resident data, without noise.
    #[doc(hidden)]
    Evaluate,
    /// Codes of a batch from the caller; of a variational autoencoder the means μ.
    Encode,
    /// Reconstructions of codes from the caller.
    Decode,
    /// Reconstructions of a batch from the caller.
    Reconstruct,
    /// The loss of each row of a batch from the caller.
    Score,
    /// The logarithms γ of the posterior's variances for a batch from the caller (variational autoencoders).
    LogVariance,
    /// log p(x, z) − log q(z|x) of each row for one draw of z (variational autoencoders).
    #[doc(hidden)]
    Evidence,
    /// Codes that minimise the objective of predictive sparse decomposition.
    Sparse,
    /// The Jacobian of the code by the scaled input, [code, input] for each row.
    EncoderJacobian,
    /// The Jacobian of the reconstruction by the scaled input, [input, input] for each row, in scaled units.
    ReconstructionJacobian,
    /// Probabilities of the classes for each row (specs with a classifier).
    Classify,
    /// The components of a mixture decoder for each row: K weights, K deviations σ, then K means (specs with a
    /// mixture).
    Mixture,
    /// A corrupted input, encoded, and a draw from p(x|h): one step of a denoising autoencoder's chain.
    #[doc(hidden)]
    Resample,
    /// A batch from the caller, corrupted as in training and in the units of the input.
    #[doc(hidden)]
    Corrupt,
}

/// The most bytes of a set: what Vulkan and DX12 bind at most.
const MOST: u64 = i32::MAX as u64;

/// The deviation of a mixture's first biases, so that its components differ.
const SPREAD: f64 = 0.1;

/// A spec with its tensors.
#[derive(Clone, Debug)]
pub struct Network {
    spec: Spec,
    /// The same with coefficients of 1 where they have ramps: terms of weight 1 are what the scalars of a step
    /// multiply.
    unit: Spec,
    /// The same where only those are 1 whose ramps are constant, which evaluation reads from the table, too.
    looked: Spec,
    scalars: Scalars,
    /// The coefficients that have ramps, by their place, each with its own value.
    ramps: Vec<(String, Ramp, f64)>,
    params: Vec<Tensor>,
    /// The sets that they lie in by name, each with how many; none where they lie in one, or in as many as bindings ask for.
    sets: Vec<(String, usize)>,
    /// Whether the last column of a row of training data is its weight.
    row_weights: bool,
    /// The most bytes of a set.
    most: u64,
    constants: Vec<Tensor>,
    /// Encoder layers, then decoder layers.
    pub(super) layers: Vec<Dense>,
    /// The second last layer of a variational encoder.
    pub(super) log_variance: Option<Dense>,
    /// A mixture's logits and log σ.
    pub(super) mixture: Option<[Dense; 2]>,
    /// A normal decoder's learned log σ.
    pub(super) log_sigma: Option<usize>,
    pub(super) classifier: Option<Dense>,
    starts: Vec<Start>,
}

/// A dense layer's tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dense {
    pub weight: usize,
    pub transposed: bool,
    pub bias: usize,
}

impl Network {
    /// Lists the tensors of a spec: `encoder.0.weight` `[in, out]`, `encoder.0.bias` `[out]` and so on, then the
    /// decoder's. With tied weights the decoder has biases only. A variational encoder has `log_variance.weight` and
    /// `.bias` too; a mixture decoder `mixture.logits` and `mixture.log_sigma`, its last layer's weight is
    /// `[in, K n]` (tied: shared by all components) and its bias `[K, n]`; a learned σ is `decoder.log_sigma` `[1]`;
    /// a classifier has `classifier.weight` and `.bias`.
    ///
    /// # Errors
    /// As [`Spec::check`]; [`crate::Error::Spec`] where it names a loss or a penalty of the caller's own whose meaning
    /// was not given.
    pub fn new(spec: &Spec) -> Result<Network> {
        spec.check()?;
        spec.check_given()?;
        let (mut unit, mut looked) = (spec.clone(), spec.clone());
        for (path, ramp) in &spec.ramps {
            unit.coefficient_mut(path).into_iter().for_each(|value| *value = 1.0);
            looked.coefficient_mut(path).filter(|_| ramp.is_constant()).into_iter().for_each(|value| *value = 1.0);
        }
        let mut network = Network {
            spec: spec.clone(),
            unit,
            looked,
            scalars: Scalars::beside_update(spec.ramps.keys().cloned())?,
            ramps: spec.ramped(),
            params: vec![],
            sets: vec![],
            row_weights: false,
            most: MOST,
            constants: vec![],
            layers: vec![],
            log_variance: None,
            mixture: None,
            log_sigma: None,
            classifier: None,
            starts: vec![],
        };
        let mut width = spec.input;
        for (i, layer) in spec.encoder.iter().enumerate() {
            let dense = network.dense_layer(&format!("encoder.{i}"), width, layer);
            network.layers.push(dense);
            if i + 1 == spec.encoder.len() && matches!(spec.latent, Latent::Gaussian { .. }) {
                network.log_variance = Some(network.dense_layer("log_variance", width, layer));
            }
            width = layer.units;
        }
        for (i, layer) in spec.decoder.iter().enumerate() {
            let mirrored = spec.tied.then(|| network.layers[spec.encoder.len() - 1 - i].weight);
            let dense = network.decoder_layer(i, width, layer, mirrored);
            network.layers.push(dense);
            width = layer.units;
        }
        if let Loss::Gaussian { sigma, learned: true } = spec.loss {
            network.log_sigma = Some(network.tensor("decoder.log_sigma".into(), &[1], Values::Constant(sigma.ln())));
        }
        if let Some(supervised) = &spec.supervised {
            let head = Layer::new(supervised.classes);
            network.classifier = Some(network.dense_layer("classifier", spec.code(), &head));
        }
        let feature = Shape::fixed(&[spec.input]);
        let single = Shape::fixed(&[1]);
        let wanted = [
            ("input.shift", spec.scaling != Scaling::None, &feature),
            ("input.scale", spec.scaling != Scaling::None, &feature),
            ("input.low", matches!(spec.corruption, Corruption::SaltAndPepper { .. }), &single),
            ("input.high", matches!(spec.corruption, Corruption::SaltAndPepper { .. }), &single),
            ("input.keep", matches!(spec.corruption, Corruption::Missing { .. }), &feature),
        ];
        for (name, _, shape) in wanted.into_iter().filter(|(_, wanted, _)| *wanted) {
            network.constants.push(Tensor { name: name.into(), shape: shape.clone() });
        }
        Ok(network)
    }

    fn tensor(&mut self, name: String, dims: &[usize], values: Values) -> usize {
        self.params.push(Tensor { name, shape: Shape::fixed(dims) });
        self.starts.push(Start::new(values, self.starts.len()));
        self.params.len() - 1
    }

    fn dense_layer(&mut self, name: &str, width: usize, layer: &Layer) -> Dense {
        let weight = self.tensor(format!("{name}.weight"), &[width, layer.units], Values::Weights(layer.init));
        let bias = self.tensor(format!("{name}.bias"), &[layer.units], Values::Zero);
        Dense { weight, transposed: false, bias }
    }

    fn decoder_layer(&mut self, i: usize, width: usize, layer: &Layer, mirrored: Option<usize>) -> Dense {
        let name = format!("decoder.{i}");
        let components = match self.spec.loss {
            Loss::Mixture { components } if i + 1 == self.spec.decoder.len() => Some(components),
            _ => None,
        };
        let units = layer.units * components.unwrap_or(1);
        let weight = mirrored
            .unwrap_or_else(|| self.tensor(format!("{name}.weight"), &[width, units], Values::Weights(layer.init)));
        let bias = match components {
            None => self.tensor(format!("{name}.bias"), &[layer.units], Values::Zero),
            Some(k) => self.tensor(format!("{name}.bias"), &[k, layer.units], Values::Normal(SPREAD)),
        };
        if let Some(k) = components {
            let head = Layer { init: Init::Lecun, ..Layer::new(k) };
            self.mixture = Some(["mixture.logits", "mixture.log_sigma"].map(|n| self.dense_layer(n, width, &head)));
        }
        Dense { weight, transposed: mirrored.is_some(), bias }
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The trainable tensors.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// The decoder's weights that are no tensors of their own, where weights are tied: each as it would be, and the
    /// number of the trainable tensor whose transpose it is.
    pub(crate) fn tied(&self) -> impl Iterator<Item = (Tensor, usize)> + '_ {
        let decoder = self.layers.iter().skip(self.spec.encoder.len()).enumerate();
        decoder.filter(|(_, dense)| dense.transposed).map(|(i, dense)| {
            let dims: Vec<usize> = self.params[dense.weight].shape.dims.iter().rev().copied().collect();
            (Tensor { name: format!("decoder.{i}.weight"), shape: Shape::fixed(&dims) }, dense.weight)
        })
    }

    /// The same where no set may have more bytes, as far as single tensors allow: what one binding may hold.
    pub(crate) fn within(self, bytes: u64) -> Network {
        Network { most: bytes.min(MOST), ..self }
    }

    /// The trainable tensors in the sets that they lie in: those that were asked for, or one, unless it had more bytes than a
    /// binding may.
    pub fn sets(&self) -> Vec<TensorSet> {
        if !self.sets.is_empty() {
            let mut rest = self.params.iter().cloned();
            let set = |(name, count): &(String, usize)| TensorSet::new(name, rest.by_ref().take(*count).collect());
            return self.sets.iter().map(set).collect();
        }
        let mut sets: Vec<Vec<Tensor>> = vec![vec![]];
        for tensor in &self.params {
            let last = sets.len() - 1;
            sets[last].push(tensor.clone());
            if sets[last].len() > 1 && Layout::new(&sets[last]).bytes > self.most {
                let next = sets[last].pop();
                sets.push(next.into_iter().collect());
            }
        }
        let name = |i: usize| if sets.len() == 1 { "parameters".into() } else { format!("parameters {i}") };
        let names: Vec<String> = (0..sets.len()).map(name).collect();
        names.into_iter().zip(sets).map(|(name, tensors)| TensorSet { name, tensors }).collect()
    }

    /// A graph of its tensors alone.
    pub(crate) fn tensors(&self) -> Graph {
        Graph::with_sets(self.sets(), self.constants.clone()).with_scalars(self.scalars.clone())
    }

    /// The same with a table that has more scalars, after its own.
    pub(crate) fn with_scalars(self, scalars: Scalars) -> Network {
        Network { scalars, ..self }
    }

    /// The coefficients that have ramps, by their place, each with the value that its ramp leads to.
    pub(crate) fn ramps(&self) -> &[(String, Ramp, f64)] {
        &self.ramps
    }

    /// The scalars of a step: what updates read, then the coefficients that have ramps, by their place in the spec.
    pub fn scalars(&self) -> &Scalars {
        &self.scalars
    }

    /// The frozen tensors: what scales the input, (x − shift) · scale, and what some corruptions need.
    pub fn constants(&self) -> &[Tensor] {
        &self.constants
    }

    /// Initial values of the trainable tensors.
    pub fn initial(&self, seed: u64) -> Vec<Vec<f32>> {
        (0..self.params.len()).map(|i| self.initial_of(i, seed)).collect()
    }

    /// Initial values of the i-th trainable tensor.
    pub(crate) fn initial_of(&self, i: usize, seed: u64) -> Vec<f32> {
        self.starts[i].values(&self.params[i], seed)
    }

    /// How the trainable tensors start.
    pub(crate) fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// The same with its trainable tensors in these sets, whose names come with the numbers of their tensors: of all tensors,
    /// each once. They are numbered anew, one set after the other; what each starts with stays.
    pub(crate) fn in_sets(mut self, sets: Vec<(String, Vec<usize>)>) -> Network {
        let order: Vec<usize> = sets.iter().flat_map(|(_, members)| members).copied().collect();
        let mut now = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| now[from] = to);
        (self.params, self.starts) = order.iter().map(|&i| (self.params[i].clone(), self.starts[i])).unzip();
        let heads = self.log_variance.iter_mut().chain(self.mixture.iter_mut().flatten()).chain(&mut self.classifier);
        for dense in self.layers.iter_mut().chain(heads) {
            (dense.weight, dense.bias) = (now[dense.weight], now[dense.bias]);
        }
        self.log_sigma = self.log_sigma.map(|i| now[i]);
        self.sets = sets.into_iter().map(|(name, members)| (name, members.len())).collect();
        self
    }

    /// The same for rows of training data that end with their weights: the objective is weighted by them, as
    /// [`crate::data::Weighted`] says.
    pub fn with_row_weights(self) -> Network {
        Network { row_weights: true, ..self }
    }

    /// Whether rows of training data end with their weights.
    pub(super) fn has_row_weights(&self) -> bool {
        self.row_weights
    }

    /// Columns of a row of training data: the features, then one for each class where there is a classifier, then the weight
    /// where rows have one.
    pub fn data_columns(&self) -> usize {
        self.spec.input + self.spec.supervised.map_or(0, |s| s.classes) + usize::from(self.row_weights)
    }

    /// Columns of a purpose's input and of its result.
    pub fn widths(&self, purpose: Purpose) -> (usize, usize) {
        let (input, code) = (self.spec.input, self.spec.code());
        match purpose {
            Purpose::Encode | Purpose::LogVariance | Purpose::Sparse => (input, code),
            Purpose::Decode => (code, input),
            Purpose::Score | Purpose::Evidence => (input, 1),
            Purpose::EncoderJacobian => (input, code * input),
            Purpose::ReconstructionJacobian => (input, input * input),
            Purpose::Classify => (input, self.spec.supervised.map_or(0, |s| s.classes)),
            Purpose::Mixture => match self.spec.loss {
                Loss::Mixture { components } => (input, components * (2 + input)),
                _ => (input, 0),
            },
            _ => (input, input),
        }
    }

    /// Builds the graph for a purpose. `shuffled` says whether the resident rows are taken in permuted order.
    ///
    /// # Errors
    /// [`crate::Error::Spec`] for a purpose that the spec's kind of model does not have; [`crate::Error::Shape`], which
    /// a checked spec does not cause.
    pub fn graph(&self, purpose: Purpose, shuffled: bool) -> Result<Graph> {
        let mut g = self.tensors();
        match purpose {
            Purpose::Train => self.train(&mut g, Places::OWN, shuffled)?,
            Purpose::Evaluate => {
                let mut builder = self.builder(&mut g, Places::OWN, false)?;
                let constant = self.ramps.iter().filter(|(_, ramp, _)| ramp.is_constant());
                (builder.spec, builder.ramps) = (&self.looked, constant.collect());
                builder.objective(false)?;
            }
            _ => {
                let x = g.input(0, self.widths(purpose).0);
                let result = self.infer(&mut g, Places::OWN, purpose, x)?;
                g.sink(Sink::Output(0), result);
            }
        }
        self.finished(g)
    }

    /// Adds the objective for the current batch of the resident data, its terms and its gradients by all trainable tensors.
    pub(super) fn train(&self, g: &mut Graph, places: Places, shuffled: bool) -> Result<()> {
        let mut builder = self.training_builder(g, places)?;
        builder.objective(shuffled)?;
        let all: Vec<usize> = (0..self.params.len()).collect();
        builder.gradients(1, &all)
    }

    /// Adds the mean of the objectives of the current batch and of rows that `found` makes of its features, scaled both; the terms
    /// of the first, the loss of the second as `found`, and the gradients by all trainable tensors.
    pub(super) fn train_beside(
        &self,
        g: &mut Graph,
        places: Places,
        shuffled: bool,
        found: impl FnOnce(&mut Graph, NodeId) -> Result<NodeId>,
    ) -> Result<()> {
        let mut builder = self.training_builder(g, places)?;
        let (x, labels) = builder.scaled_batch(shuffled)?;
        builder.objective_of(x, labels)?;
        builder.g.set_scope("found");
        let found = found(builder.g, x)?;
        let found = builder.g.map([found], |[x]| Expr::detached(x))?;
        builder.shift = SECOND;
        builder.objective_of(found, labels)?;
        let all: Vec<usize> = (0..self.params.len()).collect();
        builder.gradients(2, &all)
    }

    /// Adds −log p(label | code), mean over the batch, as the term `classification`, and its gradients by the trainable tensors of
    /// these numbers.
    pub(super) fn classify(
        &self,
        g: &mut Graph,
        places: Places,
        [code, labels]: [NodeId; 2],
        trained: &[usize],
    ) -> Result<()> {
        let mut builder = self.builder(g, places, false)?;
        builder.classification(code, labels)?;
        builder.gradients(1, trained)
    }

    /// Adds what is inferred of rows for a purpose.
    pub(super) fn infer(&self, g: &mut Graph, places: Places, purpose: Purpose, rows: NodeId) -> Result<NodeId> {
        let wanted = Shape::batched(&[self.widths(purpose).0]);
        if *g.shape(rows) != wanted {
            return Err(Error::shape(
                format!("{purpose:?} of {}", g.describe(rows)),
                g.shape(rows),
                wanted.to_string(),
            ));
        }
        let noisy = matches!(purpose, Purpose::Resample | Purpose::Corrupt);
        self.builder(g, places, noisy)?.infer(purpose, rows)
    }

    /// Builds the graph of a Langevin step of length ε for a model trained with Gaussian corruption σ.
    pub(crate) fn langevin(&self, length: f64, sigma: f64) -> Result<Graph> {
        let mut g = self.tensors();
        let x = g.input(0, self.spec.input);
        let result = self.builder(&mut g, Places::OWN, false)?.langevin(x, length, sigma)?;
        g.sink(Sink::Output(0), result);
        self.finished(g)
    }

    /// A graph in the spec's precision.
    pub(super) fn finished(&self, g: Graph) -> Result<Graph> {
        let g = match self.spec.precision {
            Precision::F32 => g,
            Precision::F16 => g.halved(),
        };
        g.check()?;
        Ok(g)
    }

    /// One for training: with noise, and scalars where weights have ramps.
    pub(super) fn training_builder<'a>(&'a self, g: &'a mut Graph, places: Places<'a>) -> Result<Builder<'a>> {
        let builder = self.builder(g, places, true)?;
        Ok(Builder { spec: &self.unit, ramps: self.ramps.iter().collect(), ..builder })
    }

    pub(super) fn builder<'a>(&'a self, g: &'a mut Graph, places: Places<'a>, noisy: bool) -> Result<Builder<'a>> {
        let params = (0..self.params.len()).map(|i| g.param(places.param(i))).collect::<Result<_>>()?;
        let (spec, weights) = (&self.spec, RowWeights(None));
        Ok(Builder { network: self, spec, g, places, params, noisy, ramps: vec![], weights, shift: 0, terms: vec![] })
    }

    /// The number of a frozen tensor.
    pub(super) fn constant(&self, name: &str) -> Option<usize> {
        self.constants.iter().position(|t| t.name == name)
    }
}
