//! What is compared: workloads as plain data, the same numbers for every peer.

use std::fmt::{self, Display};

/// Something that every peer is asked to do.
pub struct Workload {
    /// What `--only` calls it.
    pub name: String,
    /// What is done.
    pub task: Task,
}

/// What is done, and what counts as one step of it.
pub enum Task {
    /// One product of two resident matrices.
    MatMul(MatMul),
    /// One training step on resident data.
    Train(Model),
    /// All rows from the host's memory through the encoder and back, in a trained model's place.
    Encode(Model),
    /// One training step in a fresh process with empty caches, everything that comes before it included.
    FirstStep(Model),
}

/// C[m, n] = op(A) op(B), summed over k.
#[derive(Clone, Copy)]
pub struct MatMul {
    /// Rows of C.
    pub m: usize,
    /// The inner dimension.
    pub k: usize,
    /// Columns of C.
    pub n: usize,
    /// Whether A lies transposed, [k, m].
    pub ta: bool,
    /// Whether B lies transposed, [n, k].
    pub tb: bool,
}

/// An autoencoder and how it is trained: Adam (1e-4, .9, .999, 1e-8), batches in order.
#[derive(Clone)]
pub struct Model {
    /// Widths from the input to the code; the decoder mirrors them.
    pub widths: Vec<usize>,
    /// Rows of a batch.
    pub batch: usize,
    /// What is trained.
    pub system: System,
}

/// The objective. Values are in (0, 1).
#[derive(Clone, Copy, PartialEq)]
pub enum System {
    /// ReLU in every hidden layer; squared error, mean over features and batch.
    Plain,
    /// A sigmoid code; squared error, sum over features, mean over the batch, plus `weight` times the squared norm of
    /// the encoder's Jacobian in closed form: Σ_j (h_j (1 − h_j))² Σ_i W_ij², mean over the batch.
    Contractive {
        /// The penalty's weight.
        weight: f64,
    },
    /// A sigmoid code; normal noise on the input, squared error to the clean row as above.
    Denoising {
        /// The noise's standard deviation.
        sigma: f64,
    },
    /// Mean and log variance of a normal code; Bernoulli likelihood of logits plus KL divergence, sums over features
    /// and units, mean over the batch.
    Variational,
}

/// Adam's learning rate. At 1e-3 the first steps of `train-deep` overshoot, and what f32 and f64 compute in PyTorch is
/// 8e-4 of the largest loss apart within 20 steps: too far to tell whether two peers compute the same.
pub const RATE: f64 = 1e-4;
/// Batches of training data.
pub const BATCHES: usize = 4;
/// Rows that are encoded.
pub const ENCODED: usize = 100_000;
/// Steps whose losses are compared.
pub const COMPARED: usize = 20;

/// A trainable tensor: its name, its extents, its first values.
pub struct Tensor {
    /// As strait names it.
    pub name: String,
    /// Extents.
    pub dims: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// Every workload, in the order of the table.
pub fn all() -> Vec<Workload> {
    let mut all = vec![];
    for [m, k, n] in [[256, 512, 784], [1024, 1024, 1024]] {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            all.push(MatMul { m, k, n, ta, tb }.workload());
        }
    }
    // The three products of a layer 784 to 300: its output, the gradients of its input and of its weights.
    for batch in [16, 64, 256, 1024] {
        all.push(MatMul { m: batch, k: 784, n: 300, ta: false, tb: false }.workload());
        all.push(MatMul { m: batch, k: 300, n: 784, ta: false, tb: true }.workload());
        all.push(MatMul { m: 784, k: batch, n: 300, ta: true, tb: false }.workload());
    }
    let model = |widths: &[usize], batch, system| Model { widths: widths.to_vec(), batch, system };
    let plain = |widths: &[usize], batch| model(widths, batch, System::Plain);
    let one = |system| model(&[784, 256], 128, system);
    let tasks = [
        ("train-784", Task::Train(plain(&[784, 300, 150], 150))),
        ("train-small", Task::Train(plain(&[128, 64, 32], 16))),
        ("train-deep", Task::Train(plain(&[784, 1000, 500, 250, 30], 128))),
        ("contractive", Task::Train(one(System::Contractive { weight: 0.1 }))),
        ("denoising", Task::Train(one(System::Denoising { sigma: 0.2 }))),
        ("vae", Task::Train(one(System::Variational))),
        ("encode", Task::Encode(plain(&[784, 300, 150], 150))),
        ("first-step", Task::FirstStep(plain(&[784, 300, 150], 150))),
    ];
    all.extend(tasks.map(|(name, task)| Workload { name: name.into(), task }));
    all
}

impl Workload {
    /// Whether one of `wanted` is its name or what its name begins with, up to a hyphen; all are where none is wanted.
    pub fn is_wanted(&self, wanted: &[String]) -> bool {
        let named = |w: &String| self.name.strip_prefix(w.as_str()).is_some_and(|l| l.is_empty() || l.starts_with('-'));
        wanted.is_empty() || wanted.iter().any(named)
    }

    /// What seconds a step are printed as.
    pub fn unit(&self) -> &'static str {
        match self.task {
            Task::MatMul(_) => "GFLOP/s",
            Task::Train(_) => "ms/step",
            Task::Encode(_) => "rows/s",
            Task::FirstStep(_) => "s",
        }
    }

    /// Seconds a step in that unit.
    pub fn figure(&self, seconds: f64) -> f64 {
        match self.task {
            Task::MatMul(MatMul { m, k, n, .. }) => 2e-9 * (m * k * n) as f64 / seconds,
            Task::Train(_) => 1e3 * seconds,
            Task::Encode(_) => ENCODED as f64 / seconds,
            Task::FirstStep(_) => seconds,
        }
    }

    /// How far apart what two peers computed may be, relative to the largest value, and whether that holds for the mean
    /// over the compared steps only: noise is drawn by each peer for itself.
    pub fn tolerance(&self) -> (f64, bool) {
        match &self.task {
            Task::Train(Model { system: System::Denoising { .. } | System::Variational, .. }) => (2e-2, true),
            Task::Train(_) | Task::FirstStep(_) => (1e-3, false),
            Task::MatMul(_) | Task::Encode(_) => (1e-4, false),
        }
    }
}

impl MatMul {
    fn workload(self) -> Workload {
        Workload { name: format!("matmul-{self}"), task: Task::MatMul(self) }
    }

    /// The extents of A and B as they lie in memory.
    pub fn dims(&self) -> [[usize; 2]; 2] {
        let MatMul { m, k, n, ta, tb } = *self;
        [if ta { [k, m] } else { [m, k] }, if tb { [n, k] } else { [k, n] }]
    }

    /// A and B as they lie in memory.
    pub fn factors(&self) -> [Vec<f32>; 2] {
        let values = |stream, dims: [usize; 2]| uniform(stream, dims[0] * dims[1]).map(|v| v - 0.5).collect();
        let [a, b] = self.dims();
        [values(1, a), values(2, b)]
    }

    /// What a peer hands in of C to be compared: eight entries, spread over it, and the mean of the absolute values.
    pub fn sample(&self, c: &[f32]) -> Vec<f64> {
        sample(c, self.m * self.n)
    }
}

impl Display for MatMul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |t: bool| if t { 't' } else { 'n' };
        write!(f, "{}x{}x{}-{}{}", self.m, self.k, self.n, letter(self.ta), letter(self.tb))
    }
}

impl Model {
    /// Its layers in order: name, inputs, units.
    pub fn layers(&self) -> Vec<(String, usize, usize)> {
        let pairs = || self.widths.windows(2);
        let mut layers: Vec<_> = pairs().enumerate().map(|(i, w)| (format!("encoder.{i}"), w[0], w[1])).collect();
        if self.system == System::Variational {
            let (from, to) = (self.widths[self.widths.len() - 2], self.widths[self.widths.len() - 1]);
            layers.push(("log_variance".into(), from, to));
        }
        layers.extend(pairs().rev().enumerate().map(|(i, w)| (format!("decoder.{i}"), w[1], w[0])));
        layers
    }

    /// Weights `[in, out]` by He's rule, uniform, and biases of zero.
    pub fn tensors(&self) -> Vec<Tensor> {
        let layers = self.layers().into_iter().enumerate();
        let both = layers.flat_map(|(i, (name, from, to))| {
            // Small at first where an exponential follows.
            let bound = if name == "log_variance" { 0.01 } else { (6.0 / from as f32).sqrt() };
            let values = uniform(100 + i as u64, from * to).map(|v| bound * (2.0 * v - 1.0)).collect();
            let weight = Tensor { name: format!("{name}.weight"), dims: vec![from, to], values };
            [weight, Tensor { name: format!("{name}.bias"), dims: vec![to], values: vec![0.0; to] }]
        });
        both.collect()
    }

    /// Features of a row.
    pub fn input(&self) -> usize {
        self.widths[0]
    }

    /// Units of the code.
    pub fn code(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }

    /// [`BATCHES`] batches, row-major, one after the other: smooth bumps of many places and widths, in (0, 1).
    pub fn data(&self) -> Vec<f32> {
        self.rows(self.batch * BATCHES)
    }

    /// So many rows.
    pub fn rows(&self, rows: usize) -> Vec<f32> {
        let width = self.input();
        let mut drawn = uniform(3, 2 * rows);
        let mut values = Vec::with_capacity(rows * width);
        for _ in 0..rows {
            let (place, spread) = (drawn.next().unwrap_or(0.5), 0.05 + 0.3 * drawn.next().unwrap_or(0.5));
            values.extend((0..width).map(|i| {
                let apart = (i as f32 / width as f32 - place) / spread;
                0.1 + 0.8 / (1.0 + apart * apart)
            }));
        }
        values
    }

    /// Standard normal numbers for peers that draw none themselves.
    pub fn noise(&self, stream: u64, count: usize) -> Vec<f32> {
        let mut drawn = uniform(1000 + stream, 2 * count);
        let mut next = || f64::from(drawn.next().unwrap_or(0.5)).max(1e-7);
        (0..count).map(|_| ((-2.0 * next().ln()).sqrt() * (std::f64::consts::TAU * next()).cos()) as f32).collect()
    }

    /// What a peer hands in of the codes to be compared.
    pub fn sample(&self, codes: &[f32]) -> Vec<f64> {
        sample(codes, ENCODED * self.code())
    }
}

/// Eight values, spread, and the mean of the absolute ones; nothing where there are too few.
fn sample(values: &[f32], count: usize) -> Vec<f64> {
    if values.len() != count {
        return vec![];
    }
    let at = |i: usize| f64::from(values[(i * 2_654_435_761) % count]);
    let mean = values.iter().map(|&v| f64::from(v.abs())).sum::<f64>() / count as f64;
    (0..8).map(at).chain([mean]).collect()
}

/// Numbers in [0, 1), a function of the stream: SplitMix64.
fn uniform(stream: u64, count: usize) -> impl Iterator<Item = f32> {
    let mut state = stream.wrapping_mul(0xd1b5_4a32_d192_ed03);
    (0..count).map(move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    })
}
