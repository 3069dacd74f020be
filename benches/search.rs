//! A search of 64 candidates of one shape beside 64 fits of the same ones by hand, both with their kernels compiled before, candidate
//! by candidate in turns; and beside fits whose numbers are compiled into their kernels: `cargo bench --bench search`.

#[path = "common/statistics.rs"]
#[allow(dead_code, reason = "other programs use the rest")]
mod statistics;

use std::ops::ControlFlow;
use std::time::Instant;

use statistics::median;
use strait::search::{Fold, Search, Values};
use strait::{Activation, Data, Gpu, Ramp, Result, Session, Spec, Training, data};

const CANDIDATES: usize = 64;
const ROUNDS: usize = 3;
/// Fits whose kernels nobody has compiled.
const FRESH: usize = 4;

fn main() -> Result<()> {
    let gpu = Gpu::new()?;
    let (digits, _) = data::digits()?.split_at(1500)?;
    let spec = Spec::symmetric(&[64, 128, 16], Activation::Elu);
    let search = Search::new(spec, Training { epochs: 3, ..Training::default() })
        .axis("weight_decay", Values::log_uniform(1e-7, 1e-3), |c, decay| c.spec.weight_decay = decay)
        .axis("learning_rate", Values::log_uniform(1e-4, 1e-2), |c, rate| c.training.learning_rate = rate)
        .random(CANDIDATES)
        .hold_out(0.2);
    let [fold] = &search.folds_of(digits.rows())?[..] else { return Ok(()) };
    // Compiles.
    let table = search.run(&gpu, &digits)?;
    let kernels = gpu.kernels();
    let candidates: Vec<(Spec, Training)> =
        table.entries().iter().map(|entry| (entry.candidate.spec.clone(), entry.candidate.training)).collect();
    let ramped = |spec: &Spec| spec.clone().ramp("weight_decay", Ramp::constant());
    let (mut seconds, mut failed) = (<[Vec<f64>; 2]>::default(), None);
    for _ in 0..ROUNDS {
        let mut begun = Instant::now();
        search.run_with(&gpu, &digits, |report| {
            if report.training.is_some() {
                return ControlFlow::Continue(());
            }
            // The search has just judged a candidate: now the same one by hand.
            seconds[0].push(begun.elapsed().as_secs_f64());
            begun = Instant::now();
            let (spec, training) = &candidates[report.done - 1];
            failed = fit(&gpu, &ramped(spec), *training, fold, &digits).err();
            seconds[1].push(begun.elapsed().as_secs_f64());
            begun = Instant::now();
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = failed.take() {
            return Err(error);
        }
    }
    let compiled = gpu.kernels() - kernels;
    let begun = Instant::now();
    for (spec, training) in &candidates[..FRESH] {
        fit(&gpu, spec, *training, fold, &digits)?;
    }
    let fresh = begun.elapsed().as_secs_f64() / FRESH as f64;
    let ratios: Vec<f64> = seconds[0].iter().zip(&seconds[1]).map(|(search, fits)| search / fits).collect();
    let [of_search, of_fits] = seconds.each_ref().map(|seconds| CANDIDATES as f64 * median(seconds));
    println!("{}; by the medians of {} candidates", gpu.adapter().name, ratios.len());
    println!(
        "a search of {CANDIDATES} candidates  {of_search:.3} s; {compiled} kernels compiled after the first round"
    );
    println!(
        "{CANDIDATES} warm fits              {of_fits:.3} s; a candidate takes the search {:.3} times as long",
        median(&ratios)
    );
    println!("{CANDIDATES} fits that compile      {:.3} s, by {FRESH} of them", fresh * CANDIDATES as f64);
    Ok(())
}

/// A fit of a candidate, and its score.
fn fit(gpu: &Gpu, spec: &Spec, training: Training, fold: &Fold, rows: &Data) -> Result<f64> {
    let mut session = Session::new(gpu, spec, training)?;
    session.fit(rows.select(&fold.train)?)?;
    Ok(session.evaluate(rows.select(&fold.held)?)?.loss)
}
