//! Training with a progress bar on stderr, and the error of what came of it.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use strait::{Data, Fit, Session};

/// Terms of the objective along a run, by name: (epochs done, value).
pub type Curves = Vec<(String, Vec<(f64, f64)>)>;

/// Trains on all of `data` and returns the run with its loss curve: (epochs done, loss), where the loss is the
/// mean since the last point, about a hundredth of the run.
pub fn fit(session: &mut Session, data: &Data) -> strait::Result<(Fit, Vec<(f64, f64)>)> {
    let (fit, terms) = fit_terms(session, data)?;
    let mut sum: Vec<(f64, f64)> = Vec::new();
    for (_, curve) in terms {
        sum.resize(curve.len(), (0.0, 0.0));
        sum.iter_mut().zip(curve).for_each(|(sum, (epoch, value))| *sum = (epoch, sum.1 + value));
    }
    Ok((fit, sum))
}

/// As [`fit`], with a curve for each term.
pub fn fit_terms(session: &mut Session, data: &Data) -> strait::Result<(Fit, Curves)> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps  {msg}  {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let epochs = session.training().epochs as f64;
    let mut curves: Curves = Vec::new();
    let (mut sums, mut seen, mut from) = (Vec::<f64>::new(), 0, 0);
    let fit = session.fit_with(data, |report| {
        bar.set_length(report.total_steps);
        bar.set_position(report.step);
        bar.set_message(format!("loss {:.4}  {:.0} rows/s", report.loss, report.rows_per_second));
        sums.resize(report.terms.len(), 0.0);
        curves.resize(report.terms.len(), Default::default());
        for (sum, (_, value)) in sums.iter_mut().zip(&report.terms) {
            *sum += value * (report.step - seen) as f64;
        }
        seen = report.step;
        if seen - from >= report.total_steps.div_ceil(100) || seen == report.total_steps {
            let epoch = epochs * seen as f64 / report.total_steps as f64;
            for ((curve, (name, _)), sum) in curves.iter_mut().zip(&report.terms).zip(&mut sums) {
                curve.0.clone_from(name);
                curve.1.push((epoch, *sum / (seen - from) as f64));
                *sum = 0.0;
            }
            from = seen;
        }
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok((fit, curves))
}

/// Sets the last bias to the log odds of each column's mean, for a Bernoulli loss of a session that is not trained yet.
/// Otherwise the code learns first what all images have in common, such as an empty border, and goes on standing for it.
pub fn start_at_means(session: &mut Session, data: &Data) -> strait::Result<()> {
    let (columns, rows) = (data.columns(), data.rows() as f64);
    let mut means = vec![0.0f64; columns];
    for row in data.values().chunks(columns) {
        means.iter_mut().zip(row).for_each(|(mean, v)| *mean += f64::from(*v) / rows);
    }
    let name = format!("decoder.{}.bias", session.spec().decoder.len() - 1);
    let mut tensors = session.parameters()?;
    let named = session.tensors().iter().zip(&mut tensors).find(|(tensor, _)| tensor.name == name);
    if let Some((_, bias)) = named {
        // Where nothing is ever seen the odds are one to a thousand.
        let odds = |mean: &f64| mean.clamp(0.001, 0.999) / (1.0 - mean.clamp(0.001, 0.999));
        *bias = means.iter().map(|mean| odds(mean).ln() as f32).collect();
    }
    session.set_parameters(&tensors)
}

/// The squared error of reconstructions, mean over columns and rows.
pub fn mse(session: &mut Session, data: &Data) -> strait::Result<f64> {
    Ok(mean_square(&session.reconstruct(data.values())?, data))
}

/// The squared error of rows that stand for those of `data`, mean over columns and rows.
pub fn mean_square(rows: &[f32], data: &Data) -> f64 {
    let error = |(r, x): (&f32, &f32)| (f64::from(*r) - f64::from(*x)).powi(2);
    rows.iter().zip(data.values()).map(error).sum::<f64>() / rows.len() as f64
}
