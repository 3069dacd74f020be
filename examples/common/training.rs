//! Training with a progress bar on stderr, and the error of what came of it.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use strait::{Data, Fit, Session};

/// Trains on all of `data` and returns the run with its loss curve: (epochs done, loss), where the loss is the
/// mean since the last point, about a hundredth of the run.
pub fn fit(session: &mut Session, data: &Data) -> strait::Result<(Fit, Vec<(f64, f64)>)> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps  {msg}  {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let epochs = session.training().epochs as f64;
    let mut curve = Vec::new();
    let (mut sum, mut seen, mut from) = (0.0, 0, 0);
    let fit = session.fit_with(data, |report| {
        bar.set_length(report.total_steps);
        bar.set_position(report.step);
        bar.set_message(format!("loss {:.4}  {:.0} rows/s", report.loss, report.rows_per_second));
        sum += report.loss * (report.step - seen) as f64;
        seen = report.step;
        if seen - from >= report.total_steps.div_ceil(100) || seen == report.total_steps {
            let epoch = epochs * seen as f64 / report.total_steps as f64;
            curve.push((epoch, sum / (seen - from) as f64));
            (sum, from) = (0.0, seen);
        }
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok((fit, curve))
}

/// The squared error of reconstructions, mean over columns and rows.
pub fn mse(session: &mut Session, data: &Data) -> strait::Result<f64> {
    let reconstructed = session.reconstruct(data.values())?;
    let error = |(r, x): (&f32, &f32)| (f64::from(*r) - f64::from(*x)).powi(2);
    Ok(reconstructed.iter().zip(data.values()).map(error).sum::<f64>() / reconstructed.len() as f64)
}
