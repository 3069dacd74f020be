//! How trainable tensors start: a rule and its draws, so that the same tensor starts with the same values wherever it lies.

use super::Init;
use crate::graph::Tensor;
use crate::random::Draw;

/// Keeps these draws apart from those of [`Init`] and of training.
const START: u32 = 0xc000_0000;

/// What values a tensor starts with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values {
    Zero,
    Weights(Init),
    Constant(f64),
    /// Normal draws of this standard deviation.
    Normal(f64),
    /// 0 or 1, by fair coins.
    Coins,
}

/// How a tensor starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    values: Values,
    /// The number by which its draws differ from those of other tensors.
    number: usize,
    /// What is added to the seed.
    later: u64,
}

impl Start {
    /// One whose draws go by this number.
    pub fn new(values: Values, number: usize) -> Start {
        Start { values, number, later: 0 }
    }

    /// Whether all values are 0.
    pub fn is_zero(&self) -> bool {
        matches!(self.values, Values::Zero)
    }

    /// The same by another seed: that of the run and so much more.
    pub fn later(self, by: u64) -> Start {
        Start { later: by, ..self }
    }

    /// The values of a tensor that starts so, row-major.
    pub fn values(&self, tensor: &Tensor, seed: u64) -> Vec<f32> {
        let (rows, columns) = (tensor.shape.blocks(), tensor.shape.columns());
        let seed = seed.wrapping_add(self.later);
        match self.values {
            Values::Weights(init) => init.weights(rows, columns, self.number, seed),
            Values::Zero => vec![0.0; rows * columns],
            Values::Constant(value) => vec![value as f32; rows * columns],
            Values::Normal(deviation) => self.drawn(seed, rows, columns, |draw, r, c| deviation * draw.normal(r, c)),
            Values::Coins => {
                self.drawn(seed, rows, columns, |draw, r, c| f64::from(u8::from(draw.uniform(r, c) < 0.5)))
            }
        }
    }

    /// Draws of each place.
    fn drawn(&self, seed: u64, rows: usize, columns: usize, each: impl Fn(Draw, usize, usize) -> f64) -> Vec<f32> {
        let draw = Draw { seed, stream: START + self.number as u32, step: 0 };
        (0..rows * columns).map(|at| each(draw, at / columns, at % columns) as f32).collect()
    }
}
