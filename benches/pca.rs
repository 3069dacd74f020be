//! Principal components of 60,000 x 784 values beside the product of which they consist, in turns: what the Gram matrix
//! costs the GPU alone, its lower half as [`Pca::fit`] computes it and the whole. `cargo bench --bench pca`.

#[path = "common/statistics.rs"]
#[allow(dead_code, reason = "other programs use the rest")]
mod statistics;

use std::time::Instant;

use statistics::median;
use strait::analysis::Pca;
use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::state::State;
use strait::{Data, Gpu, Result};

const ROWS: usize = 60_000;
const COLUMNS: usize = 784;
const COMPONENTS: usize = 30;
/// Rows that are multiplied at a time, and columns of a part of the lower half: as in the fit.
const BATCH: usize = 256;
const PART: usize = 192;
const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let gpu = Gpu::new()?;
    let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32;
    let data = Data::from_rows(COLUMNS, (0..ROWS * COLUMNS).map(value).collect())?;
    let (half, whole) = (product(&gpu, &data, PART)?, product(&gpu, &data, COLUMNS)?);
    let mut seconds: [Vec<f64>; 3] = Default::default();
    // The first round compiles.
    for round in 0..=ROUNDS {
        for (taken, seconds) in [fit(&gpu, &data)?, run(&gpu, &half)?, run(&gpu, &whole)?].into_iter().zip(&mut seconds)
        {
            if round > 0 {
                seconds.push(taken);
            }
        }
    }
    let medians = seconds.each_ref().map(|seconds| median(seconds));
    println!("{}; medians of {ROUNDS} rounds, {ROWS} x {COLUMNS}", gpu.adapter().name);
    println!("{COMPONENTS} principal components        {:.3} s", medians[0]);
    for (name, at) in [("lower half of the Gram product", 1), ("whole Gram product", 2)] {
        let ratios: Vec<f64> = seconds[0].iter().zip(&seconds[at]).map(|(fit, product)| fit / product).collect();
        println!("{name:<31} {:.3} s; the fit takes {:.2} times as long", medians[at], median(&ratios));
    }
    Ok(())
}

/// Seconds of the fit.
fn fit(gpu: &Gpu, data: &Data) -> Result<f64> {
    let begun = Instant::now();
    Pca::fit(gpu, data, COMPONENTS)?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The product of a batch with itself, in parts of so many columns by all columns up to their end.
fn product(gpu: &Gpu, data: &Data, part: usize) -> Result<Evaluator> {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, COLUMNS);
    for (i, first) in (0..COLUMNS).step_by(part).enumerate() {
        let end = COLUMNS.min(first + part);
        let (rows, up_to) = (g.slice(x, first, end - first)?, g.slice(x, 0, end)?);
        let block = g.matmul(rows, up_to, true, false)?;
        g.sink(Sink::Output(i), block);
    }
    let evaluator = Evaluator::new(gpu, &g, BATCH)?;
    evaluator.input(0, &data.values()[..BATCH * COLUMNS])?;
    Ok(evaluator)
}

/// Seconds of as many products as the rows take, with nothing read or written between them.
fn run(gpu: &Gpu, product: &Evaluator) -> Result<f64> {
    let begun = Instant::now();
    for first in (0..ROWS).step_by(BATCH) {
        product.run(State::once(BATCH.min(ROWS - first), 0))?;
    }
    gpu.wait()?;
    Ok(begun.elapsed().as_secs_f64())
}
