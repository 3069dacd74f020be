//! What an adapter can do at best, measured on it: arithmetic in registers, and reading or copying memory.

use std::fmt::Write as _;

use strait::evaluator::Evaluator;
use strait::gpu::Timed;
use strait::graph::{Graph, NodeId, Over, Sink};
use strait::plan::Cost;
use strait::state::State;
use strait::{Gpu, Result};

/// Operations and bytes a second.
pub struct Ceiling {
    flops: f64,
    bytes: f64,
}

/// Values in the measurement of arithmetic, and multiply-adds of each.
const VALUES: usize = 1 << 18;
const CHAIN: usize = 256;

impl Ceiling {
    /// Measures it.
    pub fn new(gpu: &Gpu) -> Result<Ceiling> {
        // Four chains that do not wait for one another, over values that fit a cache; nothing is read on the way.
        let arithmetic = shortest(gpu, VALUES, 1, |g, x| {
            g.map([x], |[x]| {
                let mut sums = [0.1, 0.2, 0.3, 0.4].map(|start| &x + start);
                for i in 0..CHAIN {
                    let at = i % sums.len();
                    sums[at] = &sums[at] * &x + &x;
                }
                sums.into_iter().reduce(|a, b| a + b).unwrap_or(x)
            })
        })?;
        let columns = 1 << 14;
        let rows = (gpu.limits().binding_bytes.min(64 << 20) / (4 * columns as u64)) as usize;
        let copy = shortest(gpu, columns, rows, |g, x| g.map([x], |[x]| x + 1.0))?;
        let read = shortest(gpu, columns, rows, |g, x| Ok(g.sum(Over::Columns, x)))?;
        let values = (columns * rows) as f64;
        Ok(Ceiling { flops: (2 * CHAIN * VALUES) as f64 / arithmetic, bytes: values * (8.0 / copy).max(4.0 / read) })
    }

    /// What a dispatch, or several, came to, and which share of the ceiling that is.
    pub fn share(&self, cost: Cost, seconds: f64) -> String {
        let mut out = String::new();
        let rates = [(cost.flops, self.flops, "Gflop/s"), (cost.bytes, self.bytes, "GB/s")];
        for (amount, most, unit) in rates.into_iter().filter(|(amount, ..)| *amount > 0) {
            let rate = amount as f64 / seconds;
            let _ = write!(out, "{:8.2} {unit} ({:3.0} %)", rate / 1e9, 100.0 * rate / most);
        }
        out
    }

    /// The ceiling itself, for people.
    pub fn describe(&self) -> String {
        format!("ceiling: {:.1} Gflop/s in registers, {:.1} GB/s of memory", self.flops / 1e9, self.bytes / 1e9)
    }
}

/// The shortest time of something that is built over rows of so many columns.
fn shortest(
    gpu: &Gpu,
    columns: usize,
    rows: usize,
    build: impl FnOnce(&mut Graph, NodeId) -> Result<NodeId>,
) -> Result<f64> {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, columns);
    let y = build(&mut g, x)?;
    g.sink(Sink::Output(0), y);
    let evaluator = Evaluator::new(gpu, &g, rows)?;
    evaluator.run(State { rows: rows as u32, ..State::default() })?;
    let times = (0..9).map(|_| evaluator.timed()).collect::<Result<Vec<_>>>()?;
    Ok(times.iter().map(|times| seconds(times)).fold(f64::MAX, f64::min))
}

/// The seconds of all dispatches.
pub fn seconds(times: &[Timed]) -> f64 {
    times.iter().map(|timed| timed.seconds).sum()
}

/// What all dispatches cost.
pub fn cost(times: &[Timed]) -> Cost {
    times.iter().map(|timed| timed.cost).sum()
}
