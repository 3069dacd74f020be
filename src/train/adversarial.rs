//! Adversarial runs: a discriminator that pulls codes to a prior, and an adversary that looks for inputs which the model
//! reconstructs badly.

use super::of_spec::{begun, phase, update_of_all};
use super::{Optimizer, Run, Step, Training, Update};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::graph::{Graph, NodeId, Set};
use crate::model::{Ascent, Bound, Latent, Layer, Part, Player, Prior, Spec};

/// A discriminator that tells codes from draws of a prior, and how both sides are trained (Makhzani and others, "Adversarial
/// autoencoders", 2015): see [`Run::adversarial`].
#[derive(Clone, Debug)]
pub struct Discriminator {
    /// What codes are to be distributed like.
    pub prior: Prior,
    /// Its layers but the last, which is one unit: the logit D that a code is a draw of the prior.
    pub layers: Vec<Layer>,
    /// How it is trained; `sets` is replaced by the discriminator's.
    pub update: Update,
    /// How the encoder is trained to deceive it; `sets` is replaced by the encoder's.
    pub generator: Update,
}

impl Discriminator {
    /// Adam with a rate of .001 and the decays .5 and .999 for both sides.
    pub fn new(prior: Prior, layers: impl Into<Vec<Layer>>) -> Discriminator {
        Discriminator { prior, layers: layers.into(), update: player(), generator: player() }
    }
}

/// How players that take turns are trained where nobody says: a first moment of little memory, since what they descend moves
/// (Radford and others, "Unsupervised representation learning with deep convolutional generative adversarial networks", 2016).
fn player() -> Update {
    let optimizer = Optimizer::Adam { beta1: 0.5, beta2: 0.999, epsilon: 1e-8 };
    Update { optimizer, ..Update::adam([], 1e-3) }
}

/// What looks for inputs which the model reconstructs badly: see [`Run::against`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Adversary {
    /// Ascends the error of each row of the batch anew.
    Ascent(Ascent),
    /// A second network that learns where the model errs: it makes of a scaled row x the row x + δ(x), with δ within the bound,
    /// r tanh(v) or r v / √(1 + ||v||²) of what its last layer gives.
    Network {
        /// How far a row may be moved.
        bound: Bound,
        /// Its layers but the last, which is as wide as the input.
        layers: Vec<Layer>,
        /// How it is trained; `sets` is replaced by the network's.
        update: Box<Update>,
    },
}

impl Adversary {
    /// A network that is trained by Adam with a rate of .001 and the decays .5 and .999.
    pub fn network(bound: Bound, layers: impl Into<Vec<Layer>>) -> Adversary {
        Adversary::Network { bound, layers: layers.into(), update: Box::new(player()) }
    }
}

impl Run {
    /// An adversarial autoencoder: a run of one phase, `adversarial`, whose turns have two steps on the same rows.
    ///
    /// 1. `players` trains the whole model by the objective of the spec, as `training` says, and the discriminator to tell draws z
    ///    of the prior from codes h: it descends the mean of −log σ(D(z)), reported as `discriminator.prior`, plus the mean of
    ///    −log(1 − σ(D(h))), `discriminator.codes`. At its optimum σ(D) is p/(p + q), with p the prior's density and q that of
    ///    codes, and the sum is 2 log 2 − 2 JSD(p, q). Codes are computed once for both: the objective does not contain the
    ///    discriminator, and the discriminator sees codes of before the model's update.
    /// 2. `generator` trains the encoder to have its codes taken for draws: it descends the mean of −log σ(D(h)), `codes`.
    ///
    /// Codes are those that the decoder meets in training: of corrupted rows where the spec corrupts, draws of q(z|x) where it is
    /// variational (β may be 0 then), those of the first pass of a walkback. Only where training minimises them inside
    /// ([`Latent::PredictiveSparse`]), they are those that the encoder predicts. Each update has its optimizer and its moments. The sets of the run are `encoder`, `rest` and
    /// `discriminator`; where weights are tied, the decoder's go with the encoder's.
    ///
    /// ```no_run
    /// use strait::model::Prior;
    /// use strait::train::{Discriminator, Run, Trainer};
    /// use strait::{Activation, Gpu, Layer, Loss, Spec, Training, data};
    ///
    /// let spec = Spec::symmetric(&[64, 256, 8], Activation::Elu).loss(Loss::Bernoulli);
    /// let hidden = Layer { activation: Activation::LeakyRelu, ..Layer::new(128) };
    /// let discriminator = Discriminator::new(Prior::Normal, [hidden.clone(), hidden]);
    /// let training = Training { batch: 100, epochs: 200, ..Training::default() };
    /// let mut trainer = Trainer::new(&Gpu::new()?, Run::adversarial(&spec, &discriminator, &training)?)?;
    /// trainer.fit(data::digits()?)?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Spec::check`], [`Training::check`] and [`Prior::draw`]; [`Error::Spec`] naming the layer of the discriminator or the
    /// number of an update that cannot be, where `training` has early stopping (phases look at no validation rows), or where a
    /// penalty of the spec has the name of another term of `players`.
    pub fn adversarial(spec: &Spec, discriminator: &Discriminator, training: &Training) -> Result<Run> {
        let encoder: &[&str] = match spec.latent {
            Latent::Gaussian { .. } => &["encoder", "log_variance"],
            _ => &["encoder"],
        };
        let run = begun(spec, &[("encoder", encoder)], training)?;
        let mut layers = discriminator.layers.clone();
        layers.push(Layer::new(1));
        let (mut run, player) = run.with_player("discriminator", spec.code(), &layers)?;
        let part = run.part()?;

        // −log σ(±D), mean over the batch.
        let cost = |g: &mut Graph, codes: NodeId, sign: f64| -> Result<NodeId> {
            let logits = player.forward(g, codes)?;
            let each = g.map([logits], |[d]| (-sign * d).softplus())?;
            g.batch_mean(each)
        };
        let mut g = run.graph();
        part.train(&mut g, training.shuffle)?;
        // The nodes that the objective has already: a graph has equal ones once.
        let codes = codes(&part, &mut g, training)?;
        g.set_scope("prior");
        let drawn = discriminator.prior.draw(&mut g, spec.code())?;
        g.set_scope("discriminator");
        let (real, made) = (cost(&mut g, drawn, 1.0)?, cost(&mut g, codes, -1.0)?);
        g.term("discriminator.prior", real);
        g.term("discriminator.codes", made);
        let both = g.map([real, made], |[a, b]| a + b)?;
        part.gradients(&mut g, both, player.params())?;
        let discriminate = Update { sets: vec![player.set()], ..discriminator.update.clone() };
        let players = Step::new("players", part.finished(g)?, [update_of_all(&run, &part, training), discriminate]);

        let mut g = run.graph();
        let codes = self::codes(&part, &mut g, training)?;
        g.set_scope("discriminator");
        let deceived = cost(&mut g, codes, 1.0)?;
        g.term("codes", deceived);
        let encoder = Set::FIRST;
        part.gradients(&mut g, deceived, run.graph().members(encoder))?;
        let update = Update { sets: vec![encoder], ..discriminator.generator.clone() };
        let generate = Step::new("generator", part.finished(g)?, [update]);

        run.phases = vec![phase("adversarial", [players, generate], None, training, &part)];
        run.check()?;
        Ok(run)
    }

    /// An autoencoder that is trained on rows which an adversary makes, beside those of the data: a run of one phase, `against`.
    ///
    /// Its step `model` descends the mean of two objectives of the spec: that of the batch, whose terms are reported, and that of
    /// the rows which the adversary found from it, which are taken for constants and whose loss is reported as `found`. So it is
    /// the objective of a batch that has both, but for penalties of mean activities, which are means over each. What is found is
    /// found without noise, and trained on as other rows are, corrupted where the spec corrupts. A classifier's labels are those
    /// of the rows it was found from.
    ///
    /// [`Adversary::Ascent`] looks for them anew in every step. [`Adversary::Network`] is a player, trained by a step before,
    /// `adversary`, which raises `error`: the mean error of the rows that it makes. The sets of the run are `rest`, the model,
    /// and `adversary`. How bad the worst rows are for what comes of it, [`crate::Model::worst`] tells.
    ///
    /// # Errors
    /// As [`Spec::check`] and [`Training::check`]; [`Error::Spec`] naming the bound, the length, the layer or the number of an
    /// update that cannot be, where the loss is of distributions ([`crate::Loss::Softmax`]), where `training` has early stopping, or
    /// where a penalty of the spec is called `found`.
    pub fn against(spec: &Spec, adversary: &Adversary, training: &Training) -> Result<Run> {
        let run = begun(spec, &[], training)?;
        let (mut run, steps) = match adversary {
            Adversary::Ascent(ascent) => {
                ascent.check("adversary.", spec)?;
                let part = run.part()?;
                let found = |g: &mut Graph, x: NodeId| part.ascend(g, x, ascent);
                let graph = part.training_graph_beside(run.graph(), training.shuffle, found)?;
                let model = Step::new("model", graph, [update_of_all(&run, &part, training)]);
                (run, vec![model])
            }
            Adversary::Network { bound, layers, update } => {
                bound.check("adversary.bound", spec)?;
                let mut layers = layers.clone();
                layers.push(Layer::new(spec.input));
                let (run, player) = run.with_player("adversary", spec.input, &layers)?;
                let part = run.part()?;
                let mut g = run.graph();
                let x = part.rows(&mut g, training.shuffle)?;
                g.set_scope("adversary");
                let moved = moved(&part, &player, *bound, &mut g, x)?;
                let errors = part.errors(&mut g, moved)?;
                let error = g.batch_mean(errors)?;
                g.term("error", error);
                let falls = g.map([error], |[e]| -e)?;
                part.gradients(&mut g, falls, player.params())?;
                let update = Update { sets: vec![player.set()], ..(**update).clone() };
                let adversary = Step::new("adversary", part.finished(g)?, [update]);
                let found = |g: &mut Graph, x: NodeId| self::moved(&part, &player, *bound, g, x);
                let graph = part.training_graph_beside(run.graph(), training.shuffle, found)?;
                let model = Step::new("model", graph, [update_of_all(&run, &part, training)]);
                (run, vec![adversary, model])
            }
        };
        run.phases = vec![phase("against", steps, None, training, &run.part()?)];
        run.check()?;
        Ok(run)
    }
}

/// Codes of the current batch as training makes them.
fn codes(part: &Part, g: &mut Graph, training: &Training) -> Result<NodeId> {
    let rows = part.rows(g, training.shuffle)?;
    part.codes(g, rows)
}

/// What a network makes of scaled rows.
fn moved(part: &Part, player: &Player, bound: Bound, g: &mut Graph, x: NodeId) -> Result<NodeId> {
    let way = player.forward(g, x)?;
    let way = bound.squash(g, way)?;
    // The model does not see what is missing: to move it would move the target alone.
    let way = part.without_missing(g, way)?;
    let moved = g.map([x, way], |[x, d]| x + d)?;
    part.inside(g, moved)
}
