//! Recirculation as a run: one phase whose steps follow a direction that is nobody's gradient.

use super::of_spec::{begun, phase};
use super::{Run, Step, Training};
use crate::error::Result;
use crate::model::Spec;

impl Run {
    /// Training by recirculation (Hinton and McClelland, "Learning representations by recirculation", 1988) of a spec of one
    /// encoder and one decoder layer, each linear or sigmoid, tied or not. Nothing is sent back: the reconstruction goes through the
    /// network once more, and each layer compares the two passes.
    ///
    /// For a row x with the code h1 = f(x W + b) and the reconstruction r = g(h1 V + c), the second pass sees v2 = λ x + (1 − λ) r
    /// and codes it as h3 = f(v2 W + b). Then
    ///
    /// - the decoder follows ΔV = h1' (x − v2) and Δc = x − v2,
    /// - the encoder follows ΔW = v2' (h1 − h3) and Δb = h1 − h3,
    ///
    /// as means over the batch. A bias is the weight of a unit that is always
    /// 1; tied weights follow ΔW + ΔV'. What optimizers are given as a gradient is −Δ, so plain descent of rate ε takes the step
    /// ε Δ of the paper. All is in units of the scaled input.
    ///
    /// All Δ have the factor 1 − λ, so plain descent wants rates larger by 1/(1 − λ). For linear units with tied weights Δ comes to lie
    /// along minus the gradient of the squared error as λ goes to 1, the cosine between them being 1 − O((1 − λ)²), and does for any λ
    /// where the columns of W are orthonormal and biases are 0. Δ is no gradient of anything elsewhere: where it vanishes need be
    /// no minimum of the loss.
    ///
    /// The loss of the spec (`mse`, `squared_error` or `bernoulli`) is reported as the term `reconstruction`; of what is followed
    /// it says no more than what r is. The phase is called `recirculation`; the run starts as a [`crate::Session`] of its seed.
    ///
    /// ```no_run
    /// use strait::train::{Run, Trainer};
    /// use strait::{Activation, Gpu, Optimizer, Spec, Training, data};
    ///
    /// let spec = Spec::symmetric(&[64, 32], Activation::Identity).code_activation(Activation::Sigmoid).tied();
    /// let training = Training { optimizer: Optimizer::SGD, learning_rate: 0.4, epochs: 50, ..Training::default() };
    /// let mut trainer = Trainer::new(&Gpu::new()?, Run::recirculation(&spec, 0.75, &training)?)?;
    /// trainer.fit(&data::digits()?)?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Spec::check`] and [`Training::check`]; [`crate::Error::Spec`] where λ is not in [0, 1), where [`Training::early_stopping`] is
    /// set, and naming what of the spec the rule has no place for: more layers, other activations or losses, noise, penalties, weight decay,
    /// unit norms, other latent codes, a classifier, half precision.
    pub fn recirculation(spec: &Spec, lambda: f64, training: &Training) -> Result<Run> {
        let mut run = begun(spec, &[], training)?;
        let part = run.part()?;
        let graph = part.recirculation_graph(run.graph(), lambda, training.shuffle)?;
        let update = training.update(run.graph().sets());
        let step = Step::new("recirculation", graph, [update]);
        run.phases.push(phase("recirculation", [step], None, training, &part));
        run.check()?;
        Ok(run)
    }
}
