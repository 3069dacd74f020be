//! Greedy layerwise pretraining as a run: a phase for each pair of layers, each on the codes of those before it, and one for the
//! whole.

use super::of_spec::{begun, check, phase, update_of_all};
use super::{Run, Step, Training};
use crate::error::{Error, Result};
use crate::graph::{Graph, Set, Sink};
use crate::model::{Activation, Corruption, Latent, Loss, Network, Part, Purpose, Scaling, Spec, stacked_name};

/// What the names of a deep spec's layers are among the tensors of its i-th pair of so many.
fn deep_name(name: &str, i: usize, count: usize) -> String {
    // What is no layer's only one of the pairs has.
    stacked_name(name, i, count - 1 - i).unwrap_or_else(|| name.into())
}

/// What a pair's set and its phase are called.
fn name(i: usize) -> String {
    format!("pair {}", i + 1)
}

impl Run {
    /// Greedy layerwise pretraining of a deep autoencoder: a phase for each of [`Spec::pairs`], from the outermost on, in which
    /// nothing but that pair is trained (Bengio and others, "Greedy layer-wise training of deep networks", 2007). What the pairs
    /// before make of clean rows, of which missing features are missing all the same, is computed once and kept on the GPU, within
    /// the data budget; beyond it again with each chunk. [`Run::then_fine_tune`] adds a phase that trains the whole. Epochs, batch,
    /// optimizer and schedule count for each phase. A call of [`crate::train::Trainer::fit`] takes one phase; where a classifier
    /// belongs to the spec, the rows of pairs come without labels.
    ///
    /// It is what separate models would come to that are trained one after the other on each other's codes and then stacked: each
    /// phase i, counted from 0, starts and draws as a [`crate::Session`] of its pair whose seed is that of the run plus i. On software adapters the two agree to the bit; elsewhere tiles may depend on the rows.
    ///
    /// ```no_run
    /// use strait::train::{Run, Trainer};
    /// use strait::{Activation, Gpu, Spec, Training, data};
    ///
    /// let (train, test) = data::digits()?.split_at(1500)?;
    /// let spec = Spec::symmetric(&[64, 128, 32], Activation::Elu).gaussian_corruption(0.2);
    /// let training = Training { epochs: 50, batch: 50, ..Training::default() };
    /// let run = Run::greedy(&spec, &training)?.then_fine_tune(&training)?;
    /// let mut trainer = Trainer::new(&Gpu::new()?, run)?;
    /// while let Some(phase) = trainer.phase() {
    ///     println!("{}", phase.name);
    ///     trainer.fit(&train)?;
    /// }
    /// if let Some(model) = trainer.model() {
    ///     let codes = model.encode(test.values())?;
    ///     model.save("digits.safetensors")?;
    /// }
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Spec::pairs`] and [`Training::check`]; [`Error::Spec`] where [`Training::early_stopping`] is set: phases look at no validation rows.
    pub fn greedy(spec: &Spec, training: &Training) -> Result<Run> {
        Run::greedy_by(spec, &spec.pairs()?, training)
    }

    /// The same with pairs of one's own, which [`Spec::pairs`] may have begun: each of the layers of the spec, with a loss, a
    /// corruption, noise and penalties as they are to be.
    ///
    /// # Errors
    /// As [`Run::greedy`]; [`Error::Spec`] where there are more or fewer pairs than the encoder has layers, or where one is not
    /// of the widths of its layers, or wants of codes what is known of the input alone: a scaling, missing features, salt and pepper,
    /// a loss that is not made for all that its codes may be. So it is where one has tensors beside its layers' that are not the
    /// spec's in that place: a σ that is learned, or a mixture, in any but the outermost, variances of a code in any but the innermost,
    /// a classifier in any.
    pub fn greedy_by(spec: &Spec, pairs: &[Spec], training: &Training) -> Result<Run> {
        let count = spec.encoder.len();
        if pairs.len() != count || spec.decoder.len() != count {
            let found = format!("{} for {count} layers and {} back", pairs.len(), spec.decoder.len());
            return Err(Error::spec("pairs", found, "one for each layer of the encoder and the one that mirrors it"));
        }
        let mut groups: Vec<(String, Vec<String>)> = vec![];
        for (i, pair) in pairs.iter().enumerate() {
            let of_pair = |error: Error| error.inside(&format!("pairs[{i}]"));
            check_pair(spec, pairs, i).map_err(of_pair)?;
            let own = Network::new(pair).map_err(of_pair)?;
            let names = own.params().iter().map(|tensor| deep_name(&tensor.name, i, count)).collect();
            groups.push((name(i), names));
        }
        let lists: Vec<Vec<&str>> =
            groups.iter().map(|(_, names)| names.iter().map(String::as_str).collect()).collect();
        let sets: Vec<(&str, &[&str])> =
            groups.iter().zip(&lists).map(|((name, _), list)| (name.as_str(), list.as_slice())).collect();
        let mut run = begun(spec, &sets, training)?;
        for (i, pair) in pairs.iter().enumerate() {
            for (path, ramp, to) in pair.ramped() {
                run = run.scalar(&format!("{}/{path}", name(i)), to, ramp)?;
            }
        }
        let tensors = run.graph();
        let part = |(i, pair)| Part::new(pair, &tensors, &format!("{}/", name(i)), |name| deep_name(name, i, count));
        let parts = pairs.iter().enumerate().map(part).collect::<Result<Vec<_>>>()?;
        for (i, part) in parts.iter().enumerate() {
            for (&place, start) in part.params().iter().zip(part.network().starts()) {
                run.set_start(place, start.later(i as u64));
            }
            let update = training.update([Set(i)].into_iter());
            let step = Step::new("pair", part.training_graph(run.graph(), training.shuffle)?, [update]);
            let cached = (i > 0).then(|| codes(run.graph(), &parts[..i])).transpose()?;
            run.phases.push(phase(name(i), [step], cached, training, &parts[0]));
        }
        run.check()?;
        Ok(run)
    }

    /// Adds a phase after the others, `fine-tune`, which trains all layers by the objective of the spec. Where it is the first phase,
    /// the run takes the seed and the data budget of this training and is what a [`crate::Session`] with the same options would be;
    /// one that has phases keeps its own.
    ///
    /// # Errors
    /// As [`Run::greedy`]; [`Error::Spec`] where the run is over the tensors of no spec, or has such a phase.
    pub fn then_fine_tune(mut self, training: &Training) -> Result<Run> {
        check(training)?;
        let part = self.part()?;
        let graph = part.training_graph(self.graph(), training.shuffle)?;
        let step = Step::new("whole", graph, [update_of_all(&self, &part, training)]);
        if self.phases.is_empty() {
            (self.seed, self.data_budget) = (training.seed, training.data_budget);
        }
        self.phases.push(phase("fine-tune", [step], None, training, &part));
        self.check()?;
        Ok(self)
    }
}

/// Fails where a pair cannot be the i-th one of a deep spec: where it wants something of its rows that is known of the input, or
/// of the spec, alone.
fn check_pair(spec: &Spec, pairs: &[Spec], i: usize) -> Result<()> {
    let (pair, last) = (&pairs[i], pairs.len() - 1);
    if pair.encoder.len() != 1 || pair.decoder.len() != 1 {
        let found = format!("{} layers and {} back", pair.encoder.len(), pair.decoder.len());
        return Err(Error::spec("layers", found, "one and one"));
    }
    let (own, deep) = (pair.encoder[0].activation, spec.encoder[i].activation);
    if own != deep {
        return Err(Error::spec("encoder[0].activation", own.name(), format!("{}, as the layer has it", deep.name())));
    }
    let (own, deep) = (pair.decoder[0].activation, spec.decoder[last - i].activation);
    // A likelihood that takes logits has the sigmoid in itself.
    let inside = pair.loss == Loss::Bernoulli && own == Activation::Identity && deep == Activation::Sigmoid;
    if own != deep && !inside {
        return Err(Error::spec("decoder[0].activation", own.name(), format!("{}, as the layer has it", deep.name())));
    }
    if pair.tied != spec.tied {
        return Err(Error::spec("tied", pair.tied, format!("{}, as the spec", spec.tied)));
    }
    let unit_norm = spec.unit_norm && i == last;
    if pair.unit_norm != unit_norm {
        return Err(Error::spec("unit_norm", pair.unit_norm, format!("{unit_norm}: norms are the innermost pair's")));
    }
    if pair.precision != spec.precision {
        return Err(Error::spec("precision", format!("{:?}", pair.precision), format!("{:?}", spec.precision)));
    }
    let scaling = if i == 0 { spec.scaling } else { Scaling::None };
    if pair.scaling != scaling {
        let allowed = format!("{scaling:?}: that of the spec for the outermost pair, none for codes");
        return Err(Error::spec("scaling", format!("{:?}", pair.scaling), allowed));
    }
    if i > 0 && !pair.corruption.anywhere() {
        let allowed = "none, gaussian or masking for codes: their ends are not known, and none of them is missing";
        return Err(Error::spec("corruption", format!("{:?}", pair.corruption), allowed));
    }
    let missing = |spec: &Spec| match &spec.corruption {
        Corruption::Missing { keep } => Some(keep.clone()),
        _ => None,
    };
    if i == 0 && missing(pair) != missing(spec) {
        let allowed = "the missing features of the spec: codes are of rows without them";
        return Err(Error::spec("corruption", format!("{:?}", pair.corruption), allowed));
    }
    check_heads(spec, pair, i == 0, i == last)?;
    let (low, high) = pair.loss.range();
    if i > 0 && low.is_finite() {
        let activation = spec.encoder[i - 1].activation;
        let (least, most) = activation.range();
        if matches!(pair.loss, Loss::Softmax { .. }) || least < low || most > high {
            let allowed = format!("one for all that the codes before may be, {least} to {most}");
            return Err(Error::spec("loss", pair.loss.name(), allowed));
        }
    }
    Ok(())
}

/// Fails where a pair has tensors beside its layers' that are not the deep spec's in its place: they would be trained by the rows of
/// one pair and used on those of another.
fn check_heads(spec: &Spec, pair: &Spec, outermost: bool, innermost: bool) -> Result<()> {
    if pair.supervised.is_some() {
        return Err(Error::spec("supervised", "a classifier", "none: rows of pairs come without labels"));
    }
    let variational = |spec: &Spec| matches!(spec.latent, Latent::Gaussian { .. });
    if variational(pair) && !(innermost && variational(spec)) {
        let allowed =
            "gaussian for the innermost pair of a variational spec alone: the variances are those of its code";
        return Err(Error::spec("latent", format!("{:?}", pair.latent), allowed));
    }
    let learned = |spec: &Spec| matches!(spec.loss, Loss::Gaussian { learned: true, .. });
    if learned(pair) && !(outermost && learned(spec)) {
        let allowed = "true for the outermost pair of a spec that learns it, too: it is that of the input's features";
        return Err(Error::spec("loss.gaussian.learned", true, allowed));
    }
    let components = |spec: &Spec| match spec.loss {
        Loss::Mixture { components } => Some(components),
        _ => None,
    };
    let allowed = if outermost { components(spec) } else { None };
    if components(pair) != allowed {
        let allowed = match allowed {
            Some(components) => {
                format!("mixture of {components} components, as the spec's: its last layer is of all of them")
            }
            None => {
                "one whose reconstruction is what the last layer gives, but for the outermost pair of a mixture".into()
            }
        };
        return Err(Error::spec("loss", format!("{:?}", pair.loss), allowed));
    }
    Ok(())
}

/// The codes of autoencoders, each of which encodes those of the one before.
fn codes(mut g: Graph, parts: &[Part]) -> Result<Graph> {
    let mut rows = g.gather(parts.first().map_or(0, |part| part.spec().input), false);
    for part in parts {
        rows = part.infer(&mut g, Purpose::Encode, rows)?;
    }
    g.sink(Sink::Output(0), rows);
    match parts.first() {
        Some(part) => part.finished(g),
        None => Ok(g),
    }
}
