//! Jacobians of dense networks in f64, in plain loops from the formulas of the list.

use nalgebra::DMatrix;
use strait::graph::Tensor;
use strait::internals::model::Network;
use strait::{Activation, Loss, Spec};

use super::forward::{formula, sigmoid};
use super::linear::{matrix, narrow, normal, values, wide};
use super::outcome::Outcome;

/// A layer: weights [in, out], bias, activation and its slope.
struct Layer {
    weight: DMatrix<f64>,
    bias: Vec<f64>,
    activation: fn(f64) -> f64,
    slope: fn(f64) -> f64,
}

impl Layer {
    fn before(&self, x: &[f64]) -> Vec<f64> {
        let unit = |j: usize| self.bias[j] + x.iter().enumerate().map(|(i, x)| x * self.weight[(i, j)]).sum::<f64>();
        (0..self.bias.len()).map(unit).collect()
    }

    /// s_j W_ij, as [out, in].
    fn jacobian(&self, x: &[f64]) -> DMatrix<f64> {
        let before = self.before(x);
        DMatrix::from_fn(before.len(), x.len(), |j, i| (self.slope)(before[j]) * self.weight[(i, j)])
    }
}

/// Some layers of a spec, one after the other.
pub struct Layers(Vec<Layer>);

impl Layers {
    /// From the input to the code.
    pub fn encoder(spec: &Spec, params: &[Vec<f64>]) -> Outcome<Layers> {
        let mut layers = Layers::whole(spec, params)?;
        layers.0.truncate(spec.encoder.len());
        Ok(layers)
    }

    /// From the input to the reconstruction.
    pub fn whole(spec: &Spec, params: &[Vec<f64>]) -> Outcome<Layers> {
        let (mut layers, mut at): (Vec<Layer>, usize) = (Vec::new(), 0);
        for (l, layer) in spec.encoder.iter().chain(&spec.decoder).enumerate() {
            let depth = spec.encoder.len();
            let weight = if spec.tied && l >= depth {
                layers[2 * depth - 1 - l].weight.transpose()
            } else {
                at += 1;
                matrix(&params[at - 1], layer.units)
            };
            let (activation, slope) = (formula(layer.activation)?, slope(layer.activation)?);
            layers.push(Layer { weight, bias: params[at].clone(), activation, slope });
            at += 1;
        }
        if let (Loss::Bernoulli, Some(last)) = (&spec.loss, layers.last_mut()) {
            // The mean of the decoder's distribution.
            (last.activation, last.slope) = (sigmoid, |z| sigmoid(z) * sigmoid(-z));
        }
        Ok(Layers(layers))
    }

    /// What comes out.
    pub fn of(&self, x: &[f64]) -> Vec<f64> {
        let after = |x: Vec<f64>, layer: &Layer| layer.before(&x).into_iter().map(layer.activation).collect();
        self.0.iter().fold(x.to_vec(), after)
    }

    /// The Jacobian of each layer by its own input.
    pub fn jacobians(&self, x: &[f64]) -> Vec<DMatrix<f64>> {
        let (mut x, mut all) = (x.to_vec(), Vec::new());
        for layer in &self.0 {
            all.push(layer.jacobian(&x));
            x = layer.before(&x).into_iter().map(layer.activation).collect();
        }
        all
    }

    /// The Jacobian of the last layer by the input.
    pub fn jacobian(&self, x: &[f64]) -> DMatrix<f64> {
        self.jacobians(x).into_iter().fold(DMatrix::identity(x.len(), x.len()), |product, j| j * product)
    }
}

/// All entries squared and summed.
pub fn squared_norm(j: &DMatrix<f64>) -> f64 {
    j.iter().map(|v| v * v).sum()
}

/// The mean of `f` over rows of `columns` values.
pub fn mean(rows: &[f64], columns: usize, f: impl Fn(&[f64]) -> f64) -> f64 {
    rows.chunks(columns).map(f).sum::<f64>() / (rows.len() / columns) as f64
}

/// The derivatives of `f` by every parameter, by central differences.
pub fn differences(params: &[Vec<f64>], f: impl Fn(&[Vec<f64>]) -> Outcome<f64>) -> Outcome<Vec<Vec<f64>>> {
    const STEP: f64 = 1e-5;
    let mut gradients: Vec<Vec<f64>> = Vec::new();
    let mut moved = params.to_vec();
    for t in 0..params.len() {
        let mut gradient = Vec::new();
        for e in 0..params[t].len() {
            let mut at = |shift: f64| {
                moved[t][e] = params[t][e] + shift;
                f(&moved)
            };
            gradient.push((at(STEP)? - at(-STEP)?) / (2.0 * STEP));
            at(0.0)?;
        }
        gradients.push(gradient);
    }
    Ok(gradients)
}

/// Values for the tensors of a spec, as f32 holds them: weights of standard deviation `scale`, biases of half of that.
pub fn random_params(spec: &Spec, scale: f64, seed: u64, stream: u32) -> Outcome<Vec<Vec<f64>>> {
    let draw = |(i, tensor): (usize, &Tensor)| {
        let scale = if tensor.name.ends_with("bias") { 0.5 * scale } else { scale };
        wide(&narrow(&values(&(normal(1, tensor.shape.elements(1), seed, stream + i as u32) * scale))))
    };
    Ok(Network::new(spec)?.params().iter().enumerate().map(draw).collect())
}

/// The derivative of an activation.
fn slope(activation: Activation) -> Outcome<fn(f64) -> f64> {
    Ok(match activation.name() {
        "identity" => |_| 1.0,
        "sigmoid" => |x| sigmoid(x) * sigmoid(-x),
        "tanh" => |x| 1.0 - x.tanh().powi(2),
        "relu" => |x| if x > 0.0 { 1.0 } else { 0.0 },
        "leaky_relu" => |x| if x > 0.0 { 1.0 } else { 0.01 },
        "elu" => |x| if x > 0.0 { 1.0 } else { x.exp() },
        "selu" => |x| 1.050_700_987_355_480_5 * if x > 0.0 { 1.0 } else { 1.673_263_242_354_377_2 * x.exp() },
        "gelu" => |x| {
            let root = std::f64::consts::FRAC_2_PI.sqrt();
            let t = (root * (x + 0.044_715 * x.powi(3))).tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044_715 * x * x)
        },
        "silu" => |x| sigmoid(x) * (1.0 + x * sigmoid(-x)),
        "softplus" => sigmoid,
        other => return Err(format!("no slope in f64 for the activation {other}").into()),
    })
}
