//! A restricted Boltzmann machine in f64, in plain sums over all its states, those of normal units on a grid: few units only.

use std::f64::consts::TAU;

use strait::Draw;
use strait::rbm::{Gibbs, Rbm, Units};

use super::forward::sigmoid;
use super::linear::{narrow, wide};

/// A machine.
pub struct Machine {
    /// Visible units.
    pub visible: usize,
    /// Hidden units.
    pub hidden: usize,
    /// What the visible ones are.
    pub visible_units: Units,
    /// What the hidden ones are.
    pub hidden_units: Units,
    /// W, `[visible, hidden]` row by row.
    pub w: Vec<f64>,
    /// Biases of hidden units.
    pub b: Vec<f64>,
    /// Biases of visible units.
    pub a: Vec<f64>,
}

/// All states of so many binary units.
pub fn states(units: usize) -> Vec<Vec<f64>> {
    (0..1u32 << units).map(|bits| (0..units).map(|i| f64::from(bits >> i & 1)).collect()).collect()
}

/// What normal units are summed over is a grid of cells of this width.
const CELL: f64 = 0.25;

/// All states of so many units, or the grid of normal ones.
fn all(units: usize, kind: Units) -> Vec<Vec<f64>> {
    match kind {
        Units::Gaussian => {
            let axis: Vec<f64> = (-40..=40).map(|i| CELL * f64::from(i)).collect();
            let longer = |rows: Vec<Vec<f64>>| {
                rows.iter().flat_map(|row| axis.iter().map(|&x| [&row[..], &[x]].concat())).collect()
            };
            (0..units).fold(vec![vec![]], |rows, _| longer(rows))
        }
        _ => states(units),
    }
}

/// Some rows, again and again.
pub fn repeated(rows: &[Vec<f64>], times: usize) -> Vec<Vec<f64>> {
    rows.iter().cycle().take(rows.len() * times).cloned().collect()
}

impl Machine {
    /// One with binary hidden units whose parameters are drawn uniformly from −size to size, and are numbers of f32.
    pub fn drawn(visible: usize, hidden: usize, visible_units: Units, size: f64, seed: u64) -> Machine {
        let draw = |stream: u32, count: usize| -> Vec<f64> {
            let draw = Draw { seed, stream, step: 0 };
            (0..count).map(|i| f64::from((size * (2.0 * draw.uniform(i, 0) - 1.0)) as f32)).collect()
        };
        let (w, b, a) = (draw(40, visible * hidden), draw(41, hidden), draw(42, visible));
        Machine { visible, hidden, visible_units, hidden_units: Units::Bernoulli, w, b, a }
    }

    /// The same with normal hidden units.
    pub fn with_normal_hidden(self) -> Machine {
        Machine { hidden_units: Units::Gaussian, ..self }
    }

    /// One with these parameters.
    pub fn of(rbm: &Rbm, parameters: &[Vec<f32>]) -> Machine {
        let tensor = |i: usize| wide(&parameters[i]);
        let (w, b, a) = (tensor(0), tensor(1), tensor(2));
        let &Rbm { visible, hidden, visible_units, hidden_units, .. } = rbm;
        Machine { visible, hidden, visible_units, hidden_units, w, b, a }
    }

    /// The same for strait.
    pub fn rbm(&self, gibbs: Gibbs) -> Rbm {
        let &Machine { visible, hidden, visible_units, hidden_units, .. } = self;
        Rbm { visible_units, hidden_units, gibbs, ..Rbm::new(visible, hidden) }
    }

    /// W, b and a for strait.
    pub fn parameters(&self) -> Vec<Vec<f32>> {
        [&self.w, &self.b, &self.a].map(|values| narrow(values)).into()
    }

    /// E(v, h).
    pub fn energy(&self, v: &[f64], h: &[f64]) -> f64 {
        let own: f64 = match self.visible_units {
            Units::Gaussian => v.iter().zip(&self.a).map(|(v, a)| 0.5 * (v - a).powi(2)).sum(),
            _ => -v.iter().zip(&self.a).map(|(v, a)| v * a).sum::<f64>(),
        };
        let each = |(h, b): (&f64, &f64)| match self.hidden_units {
            Units::Gaussian => h * b - 0.5 * h * h,
            _ => h * b,
        };
        let hidden: f64 = h.iter().zip(&self.b).map(each).sum();
        let both: f64 = (0..v.len() * h.len()).map(|at| v[at / h.len()] * self.w[at] * h[at % h.len()]).sum();
        own - hidden - both
    }

    /// −log Σ_h exp(−E(v, h)), by the sum; of normal hidden units by that over a grid of dh/√2π.
    pub fn free_energy(&self, v: &[f64]) -> f64 {
        let cell = match self.hidden_units {
            Units::Gaussian => (CELL / TAU.sqrt()).powi(self.hidden as i32),
            _ => 1.0,
        };
        -(cell * self.hidden_states().iter().map(|h| (-self.energy(v, h)).exp()).sum::<f64>()).ln()
    }

    /// log Σ_v exp(−F(v)); of normal visible units by the sum over the grid.
    pub fn log_z(&self) -> f64 {
        (self.visible_cell() * self.visible_states().iter().map(|v| (-self.free_energy(v)).exp()).sum::<f64>()).ln()
    }

    /// The volume that each of the visible states stands for, 1 of binary units.
    pub fn visible_cell(&self) -> f64 {
        match self.visible_units {
            Units::Gaussian => CELL.powi(self.visible as i32),
            _ => 1.0,
        }
    }

    /// The mean of h given v, P(h_j = 1 | v) of binary units.
    pub fn hidden_given(&self, v: &[f64]) -> Vec<f64> {
        let input = |j: usize| self.b[j] + (0..self.visible).map(|i| v[i] * self.w[i * self.hidden + j]).sum::<f64>();
        let mean = |j: usize| match self.hidden_units {
            Units::Gaussian => input(j),
            _ => sigmoid(input(j)),
        };
        (0..self.hidden).map(mean).collect()
    }

    /// What visible units get, biases included.
    pub fn visible_given(&self, h: &[f64]) -> Vec<f64> {
        let input = |i: usize| self.a[i] + (0..self.hidden).map(|j| h[j] * self.w[i * self.hidden + j]).sum::<f64>();
        (0..self.visible).map(input).collect()
    }

    /// The rows over which p(v|h) is summed: all states, or a grid on which normal densities sum to 1 within 1e-12.
    pub fn visible_states(&self) -> Vec<Vec<f64>> {
        all(self.visible, self.visible_units)
    }

    /// The same of hidden units.
    pub fn hidden_states(&self) -> Vec<Vec<f64>> {
        all(self.hidden, self.hidden_units)
    }

    /// p(v|h); of normal units times the area of a cell of the grid.
    pub fn density(&self, v: &[f64], h: &[f64]) -> f64 {
        let each = |(v, z): (&f64, &f64)| match self.visible_units {
            Units::Gaussian => CELL * (-0.5 * (v - z).powi(2)).exp() / TAU.sqrt(),
            _ => sigmoid(*z * (2.0 * v - 1.0)),
        };
        v.iter().zip(&self.visible_given(h)).map(each).product()
    }

    /// P(h|v); of normal units the density times the volume of a cell of the grid.
    pub fn probability(&self, h: &[f64], v: &[f64]) -> f64 {
        let each = |(h, mean): (&f64, f64)| match self.hidden_units {
            Units::Gaussian => CELL * (-0.5 * (h - mean).powi(2)).exp() / TAU.sqrt(),
            _ if *h == 1.0 => mean,
            _ => 1.0 - mean,
        };
        h.iter().zip(self.hidden_given(v)).map(each).product()
    }

    /// How probable the visible states are after so many Gibbs steps, at least one, from rows that are as probable as each
    /// other.
    pub fn after(&self, rows: &[Vec<f64>], steps: usize) -> Vec<f64> {
        let (hidden, visible) = (self.hidden_states(), self.visible_states());
        let (mut from, mut found) = (rows.to_vec(), vec![1.0 / rows.len() as f64; rows.len()]);
        for _ in 0..steps {
            let of = |h: &Vec<f64>| -> f64 { from.iter().zip(&found).map(|(v, p)| p * self.probability(h, v)).sum() };
            let given: Vec<f64> = hidden.iter().map(of).collect();
            let of = |v: &Vec<f64>| -> f64 { hidden.iter().zip(&given).map(|(h, p)| p * self.density(v, h)).sum() };
            found = visible.iter().map(of).collect();
            from.clone_from(&visible);
        }
        found
    }

    /// dF/dW, dF/db and dF/da of a row, one after the other.
    pub fn slope(&self, v: &[f64]) -> Vec<f64> {
        let p = self.hidden_given(v);
        let w = (0..self.visible * self.hidden).map(|at| -v[at / self.hidden] * p[at % self.hidden]);
        let a = v.iter().zip(&self.a).map(|(v, a)| match self.visible_units {
            Units::Gaussian => -(v - a),
            _ => -v,
        });
        w.chain(p.iter().map(|p| -p)).chain(a).collect()
    }

    /// The mean slope over states of these probabilities.
    pub fn mean_slope(&self, states: &[Vec<f64>], probabilities: &[f64]) -> Vec<f64> {
        let mut sum = vec![0.0; self.w.len() + self.hidden + self.visible];
        for (v, p) in states.iter().zip(probabilities) {
            sum.iter_mut().zip(self.slope(v)).for_each(|(sum, slope)| *sum += p * slope);
        }
        sum
    }

    /// The mean direction of CD-k: the gradient of F(v0) − F(vk), vk a constant.
    pub fn direction(&self, rows: &[Vec<f64>], steps: usize) -> Vec<f64> {
        let data = self.mean_slope(rows, &vec![1.0 / rows.len() as f64; rows.len()]);
        let model = self.mean_slope(&self.visible_states(), &self.after(rows, steps));
        data.iter().zip(model).map(|(data, model)| data - model).collect()
    }

    /// The mean of log p(v) over rows of binary units. The sum over h is a product, exp(a'v) Π_j (1 + exp((v W + b)_j)), so that
    /// there may be many hidden units.
    pub fn log_likelihood(&self, rows: &[Vec<f64>]) -> f64 {
        let log = |v: &Vec<f64>| -> f64 {
            let own: f64 = v.iter().zip(&self.a).map(|(v, a)| v * a).sum();
            // 1 + exp(x) is 1 / (1 − sigmoid(x)).
            own - self.hidden_given(v).iter().map(|p| (1.0 - p).ln()).sum::<f64>()
        };
        let log_z = states(self.visible).iter().map(|v| log(v).exp()).sum::<f64>().ln();
        rows.iter().map(log).sum::<f64>() / rows.len() as f64 - log_z
    }
}
