//! Initial weights: normal draws whose variance keeps the scale of a layer's input. Biases start at zero.

use serde::{Deserialize, Serialize};

use crate::random::Draw;

/// The variance of a layer's initial weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Init {
    /// 2 / fan_in, for rectifying activations; He, Zhang, Ren and Sun, 2015.
    #[default]
    He,
    /// 2 / (fan_in + fan_out); Glorot and Bengio, 2010.
    Glorot,
    /// 1 / fan_in; LeCun, Bottou, Orr and Müller, 1998.
    Lecun,
}

/// Keeps the draws of initialisation apart from those of training.
const STREAM: u32 = 0x8000_0000;

impl Init {
    /// Every initialisation, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Init; 3] = [Init::He, Init::Glorot, Init::Lecun];

    /// The variance for a weight matrix [fan_in, fan_out].
    pub(crate) fn variance(self, fan_in: usize, fan_out: usize) -> f64 {
        match self {
            Init::He => 2.0 / fan_in as f64,
            Init::Glorot => 2.0 / (fan_in + fan_out) as f64,
            Init::Lecun => 1.0 / fan_in as f64,
        }
    }

    /// The `index`-th tensor's initial weights, row-major [fan_in, fan_out].
    #[doc(hidden)]
    pub fn weights(self, fan_in: usize, fan_out: usize, index: usize, seed: u64) -> Vec<f32> {
        let deviation = self.variance(fan_in, fan_out).sqrt();
        let draw = Draw { seed, stream: STREAM + index as u32, step: 0 };
        let each = |i: usize| (deviation * draw.normal(i / fan_out, i % fan_out)) as f32;
        (0..fan_in * fan_out).map(each).collect()
    }
}
