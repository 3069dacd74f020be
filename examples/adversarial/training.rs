//! Takes a run with a progress bar on stderr.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use strait::train::{Run, Trainer};
use strait::{Data, Fit, Gpu};

/// Trains on all of `data`, and tells the run's history.
pub fn fit(gpu: &Gpu, run: Run, data: &Data, what: &str) -> strait::Result<(Trainer, Fit)> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps  {msg}  {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut trainer = Trainer::new(gpu, run)?;
    let fit = trainer.fit_with(data, |report| {
        bar.set_length(report.total_steps);
        bar.set_position(report.step);
        bar.set_message(format!("{what}: {:.0} rows/s", report.rows_per_second));
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok((trainer, fit))
}
