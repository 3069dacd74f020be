//! A stack of machines, each on what the one below makes of the rows, as the beginning of a deep autoencoder.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Gibbs, Rbm, Units};
use crate::data::Source;
use crate::error::{Error, Result, positive};
use crate::gpu::Gpu;
use crate::graph::{Graph, NodeId, Set, Sink, Tensor, TensorSet};
use crate::inference::{Model, finite};
use crate::model::{Activation, Curve, Latent, Loss, Network, Ramp, Scaling, Spec};
use crate::train::{Optimizer, Phase, Progress, Run, Step, Trainer, Update, UpdateRamps};

/// How [`pretrain`] trains each machine of a stack. By default much as Hinton and Salakhutdinov (2006) do: CD-1, momentum .5 at first
/// and then .9, a weight decay of 2e-4. As theirs, weights start normal with deviation .1, and Gibbs steps take means of v
/// ([`Rbm::visible_means`]), since what all machines but the first see are means: by draws a stack learns little more of grey
/// digits than how they look on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pretraining {
    /// Passes over the data, for each machine.
    pub epochs: u64,
    /// Rows of a batch; no more than the data has.
    pub batch: usize,
    /// Where the rows come from that a machine is to find less likely.
    pub gibbs: Gibbs,
    /// How parameters follow their directions.
    pub optimizer: Optimizer,
    /// How the optimizer's numbers change, over the epochs of each machine.
    pub ramps: UpdateRamps,
    /// The learning rate of a machine whose units are all binary: .05.
    pub learning_rate: f64,
    /// The learning rate of a machine with normal units, whose values have no bounds, .001: a tenth to a hundredth of that of binary
    /// ones (Hinton, 2010, section 13.2).
    pub normal_learning_rate: f64,
    /// λ of [`Rbm::weight_decay`].
    pub weight_decay: f64,
    /// Seeds weights, order and draws.
    pub seed: u64,
}

impl Default for Pretraining {
    fn default() -> Pretraining {
        let momentum = Ramp { from: 0.5, curve: Curve::Step, begin: 0.0, end: 0.1 };
        Pretraining {
            epochs: 60,
            batch: 50,
            gibbs: Gibbs::default(),
            optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: false },
            ramps: UpdateRamps { momentum: Some(momentum), ..UpdateRamps::default() },
            learning_rate: 0.05,
            normal_learning_rate: 0.001,
            weight_decay: 2e-4,
            seed: 0,
        }
    }
}

impl Pretraining {
    /// The run of [`pretrain`], a phase for each machine of a spec's stack, the lowest first: for a [`Trainer`], whose checkpoints and
    /// snapshots it goes on from in the middle of any machine, which takes it in frames, or which is awaited. Of what it has
    /// trained then, [`Pretraining::model`] makes the deep autoencoder.
    ///
    /// The l-th phase, `encoder.l` counted from 0, trains the set of that name: W, b and a of its machine, named as
    /// [`Rbm::spec`] says. With persistent chains the set `encoder.l chains` comes after it. All phases take the rows of the spec.
    ///
    /// ```no_run
    /// use strait::rbm::Pretraining;
    /// use strait::train::Trainer;
    /// use strait::{Activation, Gpu, Loss, Spec, data};
    ///
    /// let (gpu, path) = (Gpu::new()?, "stack.safetensors");
    /// let spec = Spec::symmetric(&[64, 128, 64, 32, 8], Activation::Sigmoid).loss(Loss::Bernoulli);
    /// let options = Pretraining::default();
    /// let run = options.run(&spec)?;
    /// let mut trainer = match std::fs::exists(path) {
    ///     Ok(true) => Trainer::resume(&gpu, run, path)?,
    ///     _ => Trainer::new(&gpu, run)?,
    /// };
    /// while trainer.phase().is_some() {
    ///     trainer.fit(data::digits()?)?;
    ///     trainer.checkpoint(path)?;
    /// }
    /// let model = options.model(&gpu, &spec, &trainer.parameters()?)?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Spec::check`]; [`Error::Spec`] naming the layer or the field of a spec that is no such stack, or the number of the options
    /// that cannot work, and what is allowed.
    pub fn run(&self, spec: &Spec) -> Result<Run> {
        Stack::new(spec, self)?.run()
    }

    /// The deep autoencoder that begins with the parameters of such a run, as [`Trainer::parameters`] gives them at any time: what
    /// [`pretrain`] gives where all phases are over. Machines that were not trained yet give what they start with, and chains are
    /// left aside.
    ///
    /// # Errors
    /// As [`Pretraining::run`]; [`Error::Data`] naming the tensor, as a checkpoint calls it, where the number of values is wrong or
    /// one is not finite, or where there are other tensors than the run's; [`Error::Limit`] where the device cannot hold the model.
    pub fn model(&self, gpu: &Gpu, spec: &Spec, parameters: &[Vec<f32>]) -> Result<Model> {
        let stack = Stack::new(spec, self)?;
        let values = stack.values(parameters)?;
        Model::holding(gpu, stack.network, &values)
    }
}

/// A model of a deep autoencoder that begins with what a stack of restricted Boltzmann machines learned of the rows, one machine for
/// each layer of the encoder and the layer of the decoder that mirrors it (Hinton and Salakhutdinov, "Reducing the dimensionality
/// of data with neural networks", 2006). The first is trained on the rows, each other one on the means of h given what the one
/// below was trained on, which are computed once, on the GPU; those below stay as they are meanwhile. W and b of the l-th machine
/// become the l-th layer of the encoder; a, and where weights are not tied the transpose of W, the layer that mirrors it. A
/// [`crate::Session::of`] the model trains all of it further.
///
/// Layers of sigmoids are binary units, a code without activation is normal ones. Visible units are binary for
/// [`Loss::Bernoulli`] and where the last layer has sigmoids, else normal. What a spec says beside this about training, such as noise and
/// penalties, counts from the session on; tensors that no machine has, such as a classifier's, start as in any session.
///
/// `report` is told how far the l-th machine has come, counted from 0, at every report of its run, as
/// [`Trainer::fit_with`]. Where it breaks off, that machine stays as it is by then, and those above it as they
/// start. The call blocks until all machines are trained; what an error interrupts is lost. [`Pretraining::run`] is the same
/// machine by machine, for what is to be kept and gone on with.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use strait::rbm::{Pretraining, pretrain};
/// use strait::{Activation, Gpu, Loss, Session, Spec, Training, data};
///
/// let spec = Spec::symmetric(&[64, 128, 64, 32, 8], Activation::Sigmoid).loss(Loss::Bernoulli);
/// let model = pretrain(&Gpu::new()?, &spec, data::digits()?, &Pretraining::default(), |layer, progress| {
///     println!("machine {layer}, step {} of {}", progress.step, progress.total_steps);
///     ControlFlow::Continue(())
/// })?;
/// let mut session = Session::of(&model, Training::default())?;
/// session.fit(data::digits()?)?;
/// # Ok::<(), strait::Error>(())
/// ```
///
/// # Errors
/// As [`Pretraining::run`] and [`Trainer::fit`].
pub fn pretrain(
    gpu: &Gpu,
    spec: &Spec,
    data: impl Into<Arc<dyn Source>>,
    options: &Pretraining,
    mut report: impl FnMut(usize, &Progress) -> ControlFlow<()> + Send,
) -> Result<Model> {
    let stack = Stack::new(spec, options)?;
    // Whether there can be such a model is known before anything is trained.
    let model = Model::blank(gpu, stack.network.clone())?;
    let mut trainer = Trainer::new(gpu, stack.run()?)?;
    let data = data.into();
    for l in 0..stack.machines.len() {
        // The last report of a machine may break off, too.
        let mut ended = false;
        trainer.fit_with(data.clone(), |progress| {
            let told = report(l, progress);
            ended |= told.is_break();
            told
        })?;
        if ended {
            break;
        }
    }
    model.hold(&stack.values(&trainer.parameters()?)?)?;
    Ok(model)
}

/// The standard deviation of weights at the start.
const SPREAD: f64 = 0.1;

/// What a spec's fields may say.
const UNSCALED: &str = "none: rows are scaled before they are given";
const MEANS: &str = "deterministic: a machine's code is a mean";

/// The machines that a spec is made of, and how they are trained.
struct Stack {
    options: Pretraining,
    /// The deep autoencoder.
    network: Network,
    /// The lowest first.
    machines: Vec<Rbm>,
}

impl Stack {
    /// The stack of a spec, checked.
    fn new(spec: &Spec, options: &Pretraining) -> Result<Stack> {
        let network = Network::new(spec)?;
        positive("learning_rate", options.learning_rate)?;
        positive("normal_learning_rate", options.normal_learning_rate)?;
        let no_stack = |field: &str, value: &str, allowed: &str| Err(Error::spec(field, value, allowed));
        match spec.scaling {
            Scaling::None => Ok(()),
            Scaling::Unit => no_stack("scaling", "unit", UNSCALED),
            Scaling::Standardise => no_stack("scaling", "standardise", UNSCALED),
        }?;
        match spec.latent {
            Latent::Deterministic => Ok(()),
            Latent::Gaussian { .. } => no_stack("latent", "gaussian", MEANS),
            Latent::PredictiveSparse { .. } => no_stack("latent", "predictive_sparse", MEANS),
        }?;
        if spec.unit_norm {
            no_stack("unit_norm", "true", "false: weights of machines have any norm")?;
        }
        let (encoder, decoder) = (&spec.encoder, &spec.decoder);
        if decoder.len() != encoder.len() {
            let allowed = format!("{}, as many as the encoder has: each machine is one of both", encoder.len());
            return Err(Error::spec("decoder (number of layers)", decoder.len(), allowed));
        }
        let refuse = |place: String, activation: Activation, allowed: &str| {
            Err(Error::spec(format!("{place}.activation"), activation.name(), allowed))
        };
        let (mut machines, mut visible, mut visible_units) = (vec![], spec.input, first_units(spec)?);
        for (l, layer) in encoder.iter().enumerate() {
            let (i, is_code) = (encoder.len() - 1 - l, l + 1 == encoder.len());
            let mirror = &decoder[i];
            let hidden_units = match layer.activation {
                Activation::Sigmoid => Units::Bernoulli,
                Activation::Identity if is_code => Units::Gaussian,
                other if is_code => {
                    return refuse(format!("encoder[{l}]"), other, "sigmoid, or identity: this is the code");
                }
                other => return refuse(format!("encoder[{l}]"), other, "sigmoid: its units are binary"),
            };
            if mirror.units != visible {
                let allowed = format!("{visible}, the input of encoder[{l}], which it mirrors");
                return Err(Error::spec(format!("decoder[{i}].units"), mirror.units, allowed));
            }
            if l > 0 && mirror.activation != Activation::Sigmoid {
                return refuse(format!("decoder[{i}]"), mirror.activation, "sigmoid, as the layer of the encoder");
            }
            let Pretraining { gibbs, weight_decay, .. } = *options;
            let (hidden, visible_means) = (layer.units, true);
            let rbm = Rbm { visible, hidden, visible_units, hidden_units, gibbs, visible_means, weight_decay };
            rbm.check().map_err(|error| error.inside(&format!("encoder[{l}]")))?;
            machines.push(rbm);
            (visible, visible_units) = (layer.units, Units::Bernoulli);
        }
        Ok(Stack { options: *options, network, machines })
    }

    /// The place of the first tensor of a machine, and of the set of its parameters.
    fn places(&self) -> impl Iterator<Item = (usize, Set)> + '_ {
        self.machines.iter().enumerate().map(|(l, rbm)| match rbm.gibbs.chains() {
            None => (3 * l, Set(l)),
            Some(_) => (4 * l, Set(2 * l)),
        })
    }

    /// The sets of each machine, under the names of their layers.
    fn sets(&self) -> Result<Vec<TensorSet>> {
        let each = self.machines.iter().enumerate();
        let sets = each.map(|(l, rbm)| rbm.sets(&format!("encoder.{l}"), &format!("encoder.{l} chains")));
        Ok(sets.collect::<Result<Vec<_>>>()?.concat())
    }

    /// A run of one phase for each.
    fn run(&self) -> Result<Run> {
        let options = &self.options;
        let mut run = Run::new(self.sets()?, vec![])?;
        run.seed = options.seed;
        for (l, (rbm, (first, set))) in self.machines.iter().zip(self.places()).enumerate() {
            let name = run.graph().set_name(set).to_string();
            let learning_rate = match [rbm.visible_units, rbm.hidden_units] {
                [Units::Bernoulli, Units::Bernoulli] => options.learning_rate,
                _ => options.normal_learning_rate,
            };
            let Pretraining { optimizer, ramps, .. } = *options;
            let update = Update { optimizer, ramps, ..Update::adam([set], learning_rate) };
            // Each as a machine of its phase's seed.
            let starts = rbm.starts(SPREAD).map(|start| start.later(l as u64));
            starts.enumerate().for_each(|(i, start)| run.set_start(first + i, start));
            let chains = rbm.gibbs.chains().map(|_| Set(set.0 + 1));
            let step = Step::new(&name, rbm.step(run.graph(), first)?, [update]);
            let step = Step { state: chains.into_iter().collect(), ..step };
            let (range, cached) = match l {
                0 => (rbm.range(), None),
                _ => (None, Some(self.means(run.graph(), l)?)),
            };
            let Pretraining { batch, epochs, .. } = *options;
            run.phases.push(Phase { batch, epochs, range, cached, unweighted: true, ..Phase::new(name, [step]) });
        }
        run.check()?;
        Ok(run)
    }

    /// What the machines below number `l` make of rows.
    fn means(&self, mut g: Graph, l: usize) -> Result<Graph> {
        let mut v = g.gather(self.network.spec().input, false);
        for (rbm, (first, _)) in self.machines.iter().zip(self.places()).take(l) {
            let nodes: [NodeId; 3] = [g.param(first)?, g.param(first + 1)?, g.param(first + 2)?];
            v = rbm.mean_hidden(&mut g, v, nodes)?;
        }
        g.sink(Sink::Output(0), v);
        Ok(g)
    }

    /// The tensors of the autoencoder, of which `found` are those of the machines.
    fn values(&self, found: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let called =
            |set: &TensorSet, tensor: Tensor| Tensor { name: format!("{}/{}", set.name, tensor.name), ..tensor };
        let sets = self.sets()?;
        let own: Vec<Tensor> =
            sets.iter().flat_map(|set| set.tensors.iter().map(|tensor| called(set, tensor.clone()))).collect();
        if found.len() != own.len() {
            return Err(Error::data("parameters", found.len(), format!("{} tensors", own.len())));
        }
        own.iter().zip(found).try_for_each(|(tensor, values)| tensor.check_count(values.len()))?;
        finite(&own, found)?;
        let (network, seed) = (&self.network, self.options.seed);
        let mut values: Vec<Vec<f32>> = (0..network.params().len()).map(|i| network.initial_of(i, seed)).collect();
        let mut put = |name: String, of: &[f32]| {
            let place = network.params().iter().position(|tensor| tensor.name == name);
            // Tied weights have no second place.
            place.into_iter().for_each(|place| values[place] = of.to_vec());
        };
        for (l, (rbm, (first, _))) in self.machines.iter().zip(self.places()).enumerate() {
            let (w, i) = (&found[first], self.machines.len() - 1 - l);
            let transposed: Vec<f32> =
                (0..w.len()).map(|at| w[at % rbm.visible * rbm.hidden + at / rbm.visible]).collect();
            put(format!("encoder.{l}.weight"), w);
            put(format!("encoder.{l}.bias"), &found[first + 1]);
            put(format!("decoder.{i}.weight"), &transposed);
            put(format!("decoder.{i}.bias"), &found[first + 2]);
        }
        Ok(values)
    }
}

/// What the rows are to the lowest machine.
fn first_units(spec: &Spec) -> Result<Units> {
    let last = spec.decoder.last().map_or(Activation::Identity, |layer| layer.activation);
    match (&spec.loss, last) {
        (Loss::Bernoulli, _) => Ok(Units::Bernoulli),
        (Loss::Mse | Loss::SquaredError | Loss::Gaussian { .. }, Activation::Sigmoid) => Ok(Units::Bernoulli),
        (Loss::Mse | Loss::SquaredError | Loss::Gaussian { .. }, Activation::Identity) => Ok(Units::Gaussian),
        (Loss::Mse | Loss::SquaredError | Loss::Gaussian { .. }, other) => {
            let place = format!("decoder[{}].activation", spec.decoder.len() - 1);
            Err(Error::spec(place, other.name(), "sigmoid or identity: the mean of visible units"))
        }
        (other, _) => {
            let allowed = "bernoulli, gaussian, squared_error or mse: visible units are binary or normal";
            Err(Error::spec("loss", other.name(), allowed))
        }
    }
}
