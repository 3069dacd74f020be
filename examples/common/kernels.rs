//! Smoothed densities of made data in f64: what a denoising autoencoder should learn, in closed form.

use std::f64::consts::{PI, TAU};

use strait::Draw;
use strait::{Activation, Data, Decay, Gpu, Init, Layer, Loss, Result, Schedule, Session, Spec, Training};

/// Points with weights, in a normal kernel of standard deviation `sigma`: what their corrupted copies are distributed
/// like.
pub struct Kernels {
    pub points: Vec<Vec<f64>>,
    pub weights: Vec<f64>,
    pub sigma: f64,
}

impl Kernels {
    /// The logarithm of the density.
    pub fn log_density(&self, x: &[f64]) -> f64 {
        let exponents = self.exponents(x);
        let most = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = exponents.iter().map(|e| (e - most).exp()).sum();
        let total: f64 = self.weights.iter().sum();
        most + (sum / total).ln() - 0.5 * x.len() as f64 * (2.0 * PI * self.sigma * self.sigma).ln()
    }

    /// Its gradient, by central differences.
    pub fn score(&self, x: &[f64]) -> Vec<f64> {
        let slope = |at: usize| {
            let along = |shift: f64| {
                let mut x = x.to_vec();
                x[at] += shift;
                self.log_density(&x)
            };
            (along(1e-5) - along(-1e-5)) / 2e-5
        };
        (0..x.len()).map(slope).collect()
    }

    /// Σ x_i softmax(log w_i − ||x − x_i||²/2σ²): the mean of the clean point given a corrupted one.
    pub fn denoised(&self, x: &[f64]) -> Vec<f64> {
        let exponents = self.exponents(x);
        let most = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = exponents.iter().map(|e| (e - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mean = |at: usize| weights.iter().zip(&self.points).map(|(w, p)| w * p[at]).sum::<f64>() / total;
        (0..x.len()).map(mean).collect()
    }

    fn exponents(&self, x: &[f64]) -> Vec<f64> {
        let each = |(point, weight): (&Vec<f64>, &f64)| {
            let distance: f64 = point.iter().zip(x).map(|(p, x)| (p - x).powi(2)).sum();
            weight.ln() - distance / (2.0 * self.sigma * self.sigma)
        };
        self.points.iter().zip(&self.weights).map(each).collect()
    }

    /// A network that is to learn to undo normal noise on the points, and the rows to train it on: an encoder of such
    /// widths and activation, a linear decoder of one layer. Each epoch is one step on about `batch` points, corrupted
    /// afresh.
    pub fn model(
        &self,
        gpu: &Gpu,
        (widths, activation): (&[usize], Activation),
        (batch, epochs, seed): (usize, u64, u64),
    ) -> Result<(Session, Data)> {
        let features = self.points.first().map_or(0, Vec::len);
        let layer = |units: usize| Layer { init: Init::Glorot, ..Layer::new(units) };
        let spec = Spec {
            encoder: widths.iter().map(|&units| Layer { activation, ..layer(units) }).collect(),
            decoder: vec![layer(features)],
            ..Spec::symmetric(&[features, 1], Activation::Identity)
                .loss(Loss::SquaredError)
                .gaussian_corruption(self.sigma)
        };
        let copies = batch.div_ceil(self.points.len());
        let values = self.points.concat().repeat(copies).iter().map(|v| *v as f32).collect();
        let training = Training {
            learning_rate: 2e-2,
            schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
            batch: copies * self.points.len(),
            epochs,
            shuffle: false,
            seed,
            ..Training::default()
        };
        let mut session = Session::new(gpu, &spec, training)?;
        self.spread(&mut session)?;
        Ok((session, Data::from_rows(features, values)?))
    }

    /// Moves the units of the first layer to where the data is, each a step about 2 σ wide across a corrupted point:
    /// from the usual start, all through the origin, few numbers a row are learned slowly.
    fn spread(&self, session: &mut Session) -> Result<()> {
        let mut tensors = session.parameters()?;
        let units = tensors[1].len();
        let draw = Draw { seed: session.training().seed, stream: 1, step: 0 };
        for unit in 0..units {
            let point = &self.points[(draw.uniform(unit, 0) * self.points.len() as f64) as usize];
            let mut bias = 0.0;
            for (i, p) in point.iter().enumerate() {
                let weight = draw.normal(unit, 4 + i) / (2.0 * self.sigma);
                tensors[0][i * units + unit] = weight as f32;
                bias -= weight * (p + 2.0 * self.sigma * draw.normal(unit, 8 + i));
            }
            tensors[1][unit] = bias as f32;
        }
        session.set_parameters(&tensors)
    }

    /// How near a model's displacement comes to σ² times the score at some rows: the mean angle between them in
    /// degrees, and the root of the mean squared distance, which is that of r(x) from the best reconstruction.
    pub fn compare(&self, session: &mut Session, rows: &[f32]) -> Result<(f64, f64)> {
        let features = session.spec().input;
        let (mut angle, mut apart) = (0.0, 0.0);
        let r = session.reconstruct(rows)?;
        for (r, x) in r.chunks(features).zip(rows.chunks(features)) {
            let at: Vec<f64> = x.iter().map(|&v| v.into()).collect();
            let exact: Vec<f64> = self.denoised(&at).iter().zip(&at).map(|(r, x)| r - x).collect();
            let found: Vec<f64> = r.iter().zip(&at).map(|(r, x)| f64::from(*r) - x).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let norms = (dot(&exact, &exact) * dot(&found, &found)).sqrt().max(f64::MIN_POSITIVE);
            angle += (dot(&exact, &found) / norms).clamp(-1.0, 1.0).acos().to_degrees();
            apart += dot(&exact, &exact) - 2.0 * dot(&exact, &found) + dot(&found, &found);
        }
        let count = (rows.len() / features) as f64;
        Ok((angle / count, (apart.max(0.0) / count).sqrt()))
    }
}

/// Between the arms of [`spiral`].
pub const GAP: f64 = 1.2;

/// Points along a spiral of one and a half turns, from 0.75 to 2.25 of them, evenly spaced, one after the other: at
/// angle t its radius is t [`GAP`]/2π.
pub fn spiral(count: usize) -> Vec<[f64; 2]> {
    // Lengths from the start to the places of a fine grid.
    let (first, last, steps) = (0.75 * TAU, 2.25 * TAU, 20_000);
    let radius = GAP / TAU;
    let angle = |i: usize| first + (last - first) * i as f64 / steps as f64;
    let mut lengths = vec![0.0];
    for i in 1..=steps {
        let middle = 0.5 * (angle(i - 1) + angle(i));
        lengths.push(lengths[i - 1] + radius * middle.hypot(1.0) * (last - first) / steps as f64);
    }
    let place = |i: usize| {
        let wanted = lengths[steps] * i as f64 / (count.max(2) - 1) as f64;
        let t = angle(lengths.partition_point(|l| *l < wanted).min(steps));
        [radius * t * t.cos(), radius * t * t.sin()]
    };
    (0..count).map(place).collect()
}
