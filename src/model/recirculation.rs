//! Recirculation: a rule of training that sends a reconstruction through the network once more and compares the two passes, where
//! a gradient would be sent back.

use super::build::{Builder, Places};
use super::network::Network;
use super::{Activation, Corruption, Latent, Loss, Precision, Spec};
use crate::error::{Error, Result};
use crate::graph::{Expr, Graph, NodeId, Over};

/// Fails where a spec or a share of the input is not one that recirculation trains by.
pub(super) fn check(spec: &Spec, lambda: f64) -> Result<()> {
    const RULE: &str = "for recirculation";
    spec.check()?;
    if !(0.0..1.0).contains(&lambda) {
        return Err(Error::spec("lambda", lambda, "0 or more and less than 1: at 1 nothing comes back"));
    }
    let refuse =
        |field: &str, found: String, allowed: &str| Err(Error::spec(field, found, format!("{allowed}, {RULE}")));
    for (name, layers) in [("encoder", &spec.encoder), ("decoder", &spec.decoder)] {
        if layers.len() != 1 {
            return refuse(&format!("{name} (number of layers)"), layers.len().to_string(), "1");
        }
        let (activation, noise) = (layers[0].activation, &layers[0].noise);
        if !matches!(activation, Activation::Identity | Activation::Sigmoid) {
            let field = format!("{name}[0].activation");
            return refuse(&field, activation.name().into(), "identity or sigmoid");
        }
        if *noise != Corruption::None {
            return refuse(&format!("{name}[0].noise"), format!("{noise:?}"), "none");
        }
    }
    if !matches!(spec.loss, Loss::Mse | Loss::SquaredError | Loss::Bernoulli) {
        return refuse("loss", spec.loss.name().into(), "mse, squared_error or bernoulli");
    }
    let none = "none: the rule follows no objective";
    if spec.corruption != Corruption::None {
        return refuse("corruption", format!("{:?}", spec.corruption), "none");
    }
    if spec.latent != Latent::Deterministic {
        return refuse("latent", format!("{:?}", spec.latent), "deterministic");
    }
    if let Some(penalty) = spec.penalties.first() {
        return refuse("penalties", penalty.name().into(), none);
    }
    if spec.weight_decay != 0.0 || spec.ramps.contains_key("weight_decay") {
        return refuse(
            "weight_decay",
            spec.weight_decay.to_string(),
            "0 without a ramp: the rule follows no objective",
        );
    }
    if spec.unit_norm {
        return refuse("unit_norm", "true".into(), "false");
    }
    if spec.supervised.is_some() {
        return refuse("supervised", "a classifier".into(), none);
    }
    if spec.precision != Precision::F32 {
        return refuse("precision", "f16".into(), "f32: what it learns from are small differences of codes");
    }
    Ok(())
}

impl Network {
    /// Adds the rule's direction for the current batch of the resident data, as gradients of all trainable tensors, and the loss of
    /// the reconstruction as a term.
    pub(super) fn recirculate(&self, g: &mut Graph, places: Places, lambda: f64, shuffled: bool) -> Result<()> {
        let mut builder = self.builder(g, places, true)?;
        let direction = builder.recirculation(lambda, shuffled)?;
        builder.terms.push((direction, 1.0));
        let all: Vec<usize> = (0..self.params().len()).collect();
        builder.gradients(1, &all)
    }
}

impl Builder<'_> {
    /// Adds a scalar whose gradient is the rule's direction: each layer's pre-activations times a difference of two passes that
    /// derivatives take for a constant, as are the values that the layer reads. So a weight that both layers share gets the sum.
    fn recirculation(&mut self, lambda: f64, shuffled: bool) -> Result<NodeId> {
        let (f, g) = (self.spec.encoder[0].activation, self.spec.decoder[0].activation);
        let [encoder, decoder] = [self.network.layers[0], self.network.layers[1]];
        self.g.set_scope("input");
        let batch = self.batch(shuffled)?;
        let x = self.scale(batch.x)?;
        self.g.set_scope("first pass");
        let before = self.linear(x, encoder)?;
        let h1 = self.g.map([before], |[z]| Expr::detached(f.of(&z)))?;
        let decoded = self.linear(h1, decoder)?;
        let output = self.g.map([decoded], |[z]| g.of(&z))?;
        let mean = self.spec.loss.mean(self.g, output.into())?;
        let rows = self.spec.loss.rows(self.g, output, x)?;
        let loss = batch.weights.mean(self.g, rows)?;
        self.g.term("reconstruction", loss);
        self.g.set_scope("second pass");
        let v2 = self.g.map([x, mean], |[x, r]| Expr::detached(lambda * x + (1.0 - lambda) * r))?;
        let encoded = self.linear(v2, encoder)?;
        // v2 - x, without the rounding of either.
        let visible = self.g.map([decoded, x, mean], |[z, x, r]| z * Expr::detached((1.0 - lambda) * (r - x)))?;
        let hidden = self.g.map([encoded, h1], |[z, h1]| &z * Expr::detached(f.of(&z) - h1))?;
        let [visible, hidden] = [visible, hidden].map(|each| self.g.sum(Over::Columns, each));
        let both = self.g.map([visible, hidden], |[v, h]| v + h)?;
        batch.weights.mean(self.g, both)
    }
}
