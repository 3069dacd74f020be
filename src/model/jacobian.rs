//! Squared norms of Jacobians: in closed form for one layer, exactly by vector-Jacobian products, or estimated by
//! random projections (Hutchinson); and the trace of one. All are nodes, so that their gradients need nothing more.

use serde::{Deserialize, Serialize};

use super::build::Pass;
use super::{Activation, Corruption, Latent, Loss, Spec};
use crate::error::{Error, Result};
use crate::graph::{Compare, Distribution, Expr, Graph, NodeId, Over, Shape};

/// What a Jacobian is of; always by the input that the encoder sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mapping {
    /// The code.
    #[default]
    Encoder,
    /// The reconstruction g(f(x)), in units of the scaled input.
    Reconstruction,
    /// Every encoder layer by its own input, the norms added up (a layerwise contractive stack).
    Layers,
}

/// How the squared norm of a Jacobian is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Method {
    /// The cheapest: in closed form where there is one, exactly up to 16 outputs, one projection beyond. Logged when
    /// data is loaded; see [`super::Penalty::method`].
    #[default]
    Auto,
    /// Σ s_j² ||W_j||² with s the slopes of the activation: one layer.
    ClosedForm,
    /// One vector-Jacobian product for every output.
    Exact,
    /// The mean of ||J'v||² over random v of ±1, which is the squared norm in the mean; Hutchinson, 1990.
    Hutchinson {
        /// How many v a row; one suffices.
        projections: usize,
    },
}

/// The most outputs for which [`Method::Auto`] is exact.
const EXACT: usize = 16;

impl Method {
    /// What [`Method::Auto`] is for a spec; others are themselves.
    pub(crate) fn resolve(self, spec: &Spec, of: Mapping) -> Method {
        let outputs = if of == Mapping::Reconstruction { spec.input } else { spec.code() };
        match self {
            Method::Auto if of == Mapping::Layers || (of == Mapping::Encoder && spec.encoder.len() == 1) => {
                Method::ClosedForm
            }
            Method::Auto if outputs <= EXACT => Method::Exact,
            Method::Auto => Method::Hutchinson { projections: 1 },
            other => other,
        }
    }
}

pub(super) fn check(field: &str, spec: &Spec, of: Mapping, method: Method) -> Result<()> {
    if let (Mapping::Reconstruction, Latent::PredictiveSparse { .. }) = (of, spec.latent) {
        let allowed = "encoder or layers: what predictive_sparse decodes in training is held fixed";
        return Err(Error::spec(format!("{field}.of"), "reconstruction", allowed));
    }
    let field = format!("{field}.method");
    match method {
        Method::ClosedForm if Method::Auto.resolve(spec, of) != Method::ClosedForm => {
            Err(Error::spec(field, "closed_form", "auto, exact or hutchinson: it is no single layer"))
        }
        Method::Exact | Method::Hutchinson { .. } if of == Mapping::Layers => {
            Err(Error::spec(field, format!("{method:?}"), "auto or closed_form for single layers"))
        }
        Method::Hutchinson { projections } if !(1..=1024).contains(&projections) => {
            Err(Error::spec(format!("{field}.projections"), projections, "1 to 1024"))
        }
        _ => Ok(()),
    }
}

/// ||J||², mean over the batch, a scalar.
pub(super) fn squared_norm(
    g: &mut Graph,
    spec: &Spec,
    pass: &Pass,
    of: Mapping,
    method: Method,
    stream: u32,
) -> Result<NodeId> {
    let value = if of == Mapping::Reconstruction { pass.mean } else { pass.code };
    let size = g.shape(value).columns();
    let rows = match method.resolve(spec, of) {
        Method::ClosedForm => return closed_form(g, pass, of),
        Method::Hutchinson { projections } => {
            let sign = Expr::random(Distribution::Uniform, stream).select(Compare::Less, &0.5.into(), -1.0, 1.0);
            // Divided here, by the root of their number, so that the sum of squares is a mean.
            let each = sign * (1.0 / (projections as f64).sqrt());
            let v = g.map_to(each, &[], Shape::batched(&[projections, size]))?;
            by_products(g, pass, value, v)?
        }
        _ => {
            let ones = g.identity(false, size);
            by_products(g, pass, value, ones)?
        }
    };
    pass.weights.mean(g, rows)
}

/// Fails where the trace of the reconstruction's Jacobian has no closed form for a spec.
pub(super) fn check_trace(field: &str, spec: &Spec) -> Result<()> {
    for (name, layers) in [("encoder", &spec.encoder), ("decoder", &spec.decoder)] {
        if layers.len() != 1 {
            let allowed = format!("1, for {field}: the trace is in closed form for one layer and one back");
            return Err(Error::spec(format!("{name} (number of layers)"), layers.len(), allowed));
        }
    }
    let output = &spec.decoder[0];
    if output.activation != Activation::Identity {
        let allowed = format!("identity, for {field}: the trace is in closed form for linear outputs");
        return Err(Error::spec("decoder[0].activation", output.activation.name(), allowed));
    }
    // Normal noise has no slope.
    if !matches!(output.noise, Corruption::None | Corruption::Gaussian { .. }) {
        let allowed = format!("none or gaussian, for {field}: the trace is that of outputs which are not masked");
        return Err(Error::spec("decoder[0].noise", format!("{:?}", output.noise), allowed));
    }
    if !matches!(spec.loss, Loss::Mse | Loss::SquaredError | Loss::Gaussian { .. }) {
        let allowed = format!("mse, squared_error or gaussian, for {field}: the outputs are the reconstruction");
        return Err(Error::spec("loss", spec.loss.name(), allowed));
    }
    match spec.latent {
        Latent::Deterministic => Ok(()),
        other => Err(Error::spec("latent", format!("{other:?}"), format!("deterministic, for {field}"))),
    }
}

/// Σ_j s_j Σ_i W_ij V_ji, mean over the batch, a scalar: the trace of the reconstruction's Jacobian for one encoder layer and one
/// linear decoder layer.
pub(super) fn trace(g: &mut Graph, pass: &Pass) -> Result<NodeId> {
    let layer = &pass.encoder[0];
    let ones = g.fill(1.0, g.shape(layer.output).clone());
    let slope = g.vjp(layer.output, ones, &[layer.product])?[0];
    let back = match pass.decoder {
        (weight, true) => weight,
        (weight, false) => {
            // Both as [input, code].
            let ones = g.identity(false, g.shape(layer.weight).columns());
            g.matmul(weight, ones, true, false)?
        }
    };
    let product = g.map([layer.weight, back], |[w, v]| w * v)?;
    let each = g.sum(Over::Rows, product);
    // The batch is summed up first, as for a norm.
    let slope = pass.weights.times(g, slope)?;
    let slopes = g.sum(Over::Rows, slope);
    let each = g.map([slopes, each], |[s, m]| s * m / Expr::rows())?;
    Ok(g.sum_all(each))
}

/// Σ over layers of Σ_j s_j² ||W_j||²; for the encoder's Jacobian the one layer is all.
fn closed_form(g: &mut Graph, pass: &Pass, of: Mapping) -> Result<NodeId> {
    let layers = if of == Mapping::Layers { pass.encoder.len() } else { 1 };
    let mut total = g.fill(0.0, Shape::scalar());
    for layer in &pass.encoder[..layers] {
        let ones = g.fill(1.0, g.shape(layer.output).clone());
        let slope = g.vjp(layer.output, ones, &[layer.product])?[0];
        // Weights are [in, out]: a unit's are a column.
        let square = g.map([layer.weight], |[w]| w.square())?;
        let norms = g.sum(Over::Rows, square);
        // The batch is summed up first: the gradient by the weights is then this sum times them.
        let square = g.map([slope], |[s]| s.square())?;
        let square = pass.weights.times(g, square)?;
        let slopes = g.sum(Over::Rows, square);
        let each = g.map([slopes, norms], |[s, n]| s * n / Expr::rows())?;
        let sum = g.sum_all(each);
        total = g.map([total, sum], |[a, b]| a + b)?;
    }
    Ok(total)
}

/// The squares of all v'J, [batch, vectors, values]: to be summed up.
fn by_products(g: &mut Graph, pass: &Pass, value: NodeId, vectors: NodeId) -> Result<NodeId> {
    let first = &pass.encoder[0];
    let weight = g.shape(first.weight).clone();
    // In a variational encoder of one layer the input reaches what is decoded past that layer's product as well.
    let past = pass.encoder.len() == 1 && pass.log_variance.is_some() && value != pass.code;
    if weight.blocks() <= weight.columns() || past {
        let products = g.vjp(value, vectors, &[pass.input])?[0];
        return g.map([products], |[p]| p.square());
    }
    // With D the products up to the first layer, ||D W'||² = Σ D ∘ (D W'W): two smaller matrices than D and W.
    let products = g.vjp(value, vectors, &[first.product])?[0];
    let gram = g.matmul(first.weight, first.weight, true, false)?;
    let onto = g.matmul(products, gram, false, false)?;
    g.map([products, onto], |[a, b]| a * b)
}
