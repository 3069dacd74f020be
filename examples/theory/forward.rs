//! Dense autoencoders in f64, in plain loops: forward only, from the formulas of the list, for central differences.

use strait::{Activation, Loss, Spec};

use super::linear::largest;
use super::outcome::Outcome;

/// What a formula is applied to.
type Formula = fn(f64) -> f64;

/// The loss of a row from outputs and targets.
type Cost = Box<dyn Fn(&[f64], &[f64]) -> f64>;

/// What the outputs of a row say of the input.
type Mean = Box<dyn Fn(&[f64]) -> Vec<f64>>;

/// A spec's forward pass.
pub struct Forward {
    /// From the input to the reconstruction: inputs, units, activation, number of the weights, of the bias.
    layers: Vec<(usize, usize, Formula, usize, usize)>,
    encoder: usize,
    tied: bool,
    cost: Cost,
    weight_decay: f64,
    mean: Mean,
}

/// Everything that a row goes through.
pub struct Pass {
    /// Pre-activations of every layer.
    pub before: Vec<Vec<f64>>,
    /// Values of every layer; the code is among them.
    pub after: Vec<Vec<f64>>,
}

impl Forward {
    /// For a spec without scaling; corruption is left out.
    ///
    /// # Errors
    /// Where an activation or loss has no formula here.
    pub fn new(spec: &Spec) -> Outcome<Forward> {
        let (mut layers, mut width, mut tensors) = (Vec::new(), spec.input, 0);
        for layer in &spec.encoder {
            layers.push((width, layer.units, formula(layer.activation)?, tensors, tensors + 1));
            (width, tensors) = (layer.units, tensors + 2);
        }
        for (i, layer) in spec.decoder.iter().enumerate() {
            let (weights, bias) = match spec.tied {
                true => (2 * (spec.encoder.len() - 1 - i), tensors),
                false => (tensors, tensors + 1),
            };
            layers.push((width, layer.units, formula(layer.activation)?, weights, bias));
            (width, tensors) = (layer.units, bias + 1);
        }
        let (cost, mean) = likelihood(spec)?;
        let encoder = spec.encoder.len();
        Ok(Forward { layers, encoder, tied: spec.tied, cost, weight_decay: spec.weight_decay, mean })
    }

    /// One row through all layers.
    pub fn pass(&self, params: &[Vec<f64>], row: &[f64]) -> Pass {
        let mut pass = Pass { before: Vec::new(), after: Vec::new() };
        let mut x = row.to_vec();
        for (l, &(inputs, units, activation, weights, bias)) in self.layers.iter().enumerate() {
            let transposed = self.tied && l >= self.encoder;
            let mut before = params[bias].clone();
            for (i, &value) in x.iter().enumerate() {
                for (j, sum) in before.iter_mut().enumerate() {
                    *sum += value * params[weights][if transposed { j * inputs + i } else { i * units + j }];
                }
            }
            x = before.iter().map(|&v| activation(v)).collect();
            pass.before.push(before);
            pass.after.push(x.clone());
        }
        pass
    }

    /// The code of a row.
    pub fn code(&self, params: &[Vec<f64>], row: &[f64]) -> Vec<f64> {
        self.pass(params, row).after.swap_remove(self.encoder - 1)
    }

    /// The reconstruction of a row.
    pub fn reconstruction(&self, params: &[Vec<f64>], row: &[f64]) -> Vec<f64> {
        let mut pass = self.pass(params, row);
        (self.mean)(&pass.after.pop().unwrap_or_default())
    }

    /// The loss of each row, mean over rows, and ½ λ Σ ||W||² over every weight once.
    pub fn objective(&self, params: &[Vec<f64>], data: &[f64]) -> f64 {
        let rows = data.chunks(self.layers[0].0);
        let count = rows.len() as f64;
        let cost = |row: &[f64]| -> f64 {
            let mut pass = self.pass(params, row);
            (self.cost)(&pass.after.pop().unwrap_or_default(), row)
        };
        let regularised = if self.tied { self.encoder } else { self.layers.len() };
        let weights = self.layers[..regularised].iter().flat_map(|layer| &params[layer.3]);
        let decay = 0.5 * self.weight_decay * weights.map(|w| w * w).sum::<f64>();
        rows.map(cost).sum::<f64>() / count + decay
    }

    /// The derivative of the objective with respect to one number, by central differences.
    pub fn slope(&self, params: &[Vec<f64>], data: &[f64], tensor: usize, element: usize, step: f64) -> f64 {
        let at = |shift: f64| {
            let mut params = params.to_vec();
            params[tensor][element] += shift;
            self.objective(&params, data)
        };
        (at(step) - at(-step)) / (2.0 * step)
    }

    /// All of them.
    pub fn gradients(&self, params: &[Vec<f64>], data: &[f64], step: f64) -> Vec<Vec<f64>> {
        differences(params, step, |params| self.objective(params, data))
    }

    /// How far the nearest pre-activation is from 0, where many activations have a kink.
    pub fn margin(&self, params: &[Vec<f64>], data: &[f64]) -> f64 {
        let passes = data.chunks(self.layers[0].0).map(|row| self.pass(params, row));
        passes.flat_map(|pass| pass.before).flatten().fold(f64::INFINITY, |least, v| least.min(v.abs()))
    }
}

/// The derivative of any function of tensors with respect to each of their numbers, by central differences.
pub fn differences(params: &[Vec<f64>], step: f64, of: impl Fn(&[Vec<f64>]) -> f64) -> Vec<Vec<f64>> {
    let slope = |t: usize, e: usize| {
        let at = |shift: f64| {
            let mut params = params.to_vec();
            params[t][e] += shift;
            of(&params)
        };
        (at(step) - at(-step)) / (2.0 * step)
    };
    params.iter().enumerate().map(|(t, p)| (0..p.len()).map(|e| slope(t, e)).collect()).collect()
}

/// The loss of a row and the mean of the decoder's distribution.
fn likelihood(spec: &Spec) -> Outcome<(Cost, Mean)> {
    let sum = |each: fn(f64, f64) -> f64, factor: f64| -> Cost {
        Box::new(move |r, x| factor * r.iter().zip(x).map(|(&r, &x)| each(r, x)).sum::<f64>())
    };
    let square: fn(f64, f64) -> f64 = |r, x| (r - x) * (r - x);
    let same = || -> Mean { Box::new(<[f64]>::to_vec) };
    let n = spec.input as f64;
    Ok(match &spec.loss {
        Loss::Mse => (sum(square, 1.0 / n), same()),
        Loss::SquaredError => (sum(square, 1.0), same()),
        Loss::Bernoulli => (sum(coin, 1.0), Box::new(|z| z.iter().map(|&z| sigmoid(z)).collect())),
        &Loss::Gaussian { sigma, learned: false } => {
            let distance = sum(square, 0.5 / (sigma * sigma));
            let normaliser = 0.5 * n * (2.0 * std::f64::consts::PI * sigma * sigma).ln();
            (Box::new(move |r, x| distance(r, x) + normaliser), same())
        }
        &Loss::Softmax { classes } => {
            let log_p = move |z: &[f64]| -> Vec<f64> {
                let each = |block: &[f64]| -> Vec<f64> {
                    let sum: f64 = block.iter().map(|z| z.exp()).sum();
                    block.iter().map(|z| z - sum.ln()).collect()
                };
                z.chunks(classes).flat_map(each).collect()
            };
            let cost = move |z: &[f64], x: &[f64]| -log_p(z).iter().zip(x).map(|(l, x)| l * x).sum::<f64>();
            (Box::new(cost), Box::new(move |z| log_p(z).into_iter().map(f64::exp).collect()))
        }
        other => return Err(format!("no formula in f64 for the loss {}", other.name()).into()),
    })
}

/// 1 / (1 + exp(−x))
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// log(1 + exp(x)), for any x.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// −log of the likelihood that a coin of probability sigmoid(z) gives x.
pub fn coin(z: f64, x: f64) -> f64 {
    z.max(0.0) - z * x + (-z.abs()).exp().ln_1p()
}

/// The formula of an activation.
pub fn formula(activation: Activation) -> Outcome<Formula> {
    Ok(match activation.name() {
        "identity" => |x| x,
        "sigmoid" => sigmoid,
        "tanh" => f64::tanh,
        "relu" => |x| x.max(0.0),
        "leaky_relu" => |x| if x > 0.0 { x } else { 0.01 * x },
        "elu" => |x| if x > 0.0 { x } else { x.exp() - 1.0 },
        "selu" => |x| 1.050_700_987_355_480_5 * if x > 0.0 { x } else { 1.673_263_242_354_377_2 * (x.exp() - 1.0) },
        "gelu" => |x| 0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        "silu" => |x| x / (1.0 + (-x).exp()),
        "softplus" => softplus,
        other => return Err(format!("no formula in f64 for the activation {other}").into()),
    })
}

/// Each tensor's values over the largest of its expected ones, one after the other: then every layer counts alike.
pub fn relative<T: Copy + Into<f64>>(values: &[Vec<T>], expected: &[Vec<f64>]) -> Vec<f64> {
    let each = |(values, expected): (&Vec<T>, &Vec<f64>)| {
        let scale = largest(expected);
        values.iter().map(|&v| v.into() / scale).collect::<Vec<f64>>()
    };
    values.iter().zip(expected).flat_map(each).collect()
}
