//! What the GPU cannot tell: results beyond f32, in f64 on the CPU.

use super::Model;
use super::compiled::part_step;
use crate::error::{Error, Result, not_finite};
use crate::gpu::{Wait, apart, pause, rows_of_piece};
use crate::graph::{Graph, Op, Sink};
use crate::model::Purpose;
use crate::reference::{Environment, evaluate};
use crate::state::State;

/// The rows of `width` values of which one is not finite: some rows at a time, where others wait for the thread.
async fn bad_rows(values: &[f32], width: usize, how: Wait) -> Vec<usize> {
    let (width, mut bad) = (width.max(1), Vec::new());
    let together = rows_of_piece(width, how);
    for (i, rows) in values.chunks(together * width).enumerate() {
        if i > 0 {
            pause(how).await;
        }
        let found = rows.chunks(width).enumerate().filter(|(_, row)| not_finite(row).is_some());
        bad.extend(found.map(|(at, _)| i * together + at));
    }
    bad
}

/// A purpose in f64, on the CPU: for the few rows that f32 cannot tell about.
struct Exact {
    graph: Graph,
    env: Environment<f64>,
}

impl Exact {
    fn new(model: &Model, purpose: Purpose) -> Result<Exact> {
        let wide = |tensors: Vec<Vec<f32>>| -> Vec<Vec<f64>> {
            tensors.into_iter().map(|tensor| tensor.into_iter().map(f64::from).collect()).collect()
        };
        let (params, constants) = (wide(model.parameters()?), wide(model.resident().constants()?));
        let graph = model.network().graph(purpose, false)?;
        Ok(Exact { graph, env: Environment { params, constants, ..Environment::default() } })
    }

    /// The one result of each of these rows.
    fn rows(&mut self, rows: &[f32], draw: State) -> Result<Vec<f64>> {
        let width =
            self.graph.nodes().find_map(|(_, node)| matches!(node.op, Op::Input(0)).then(|| node.shape.columns()));
        self.env.rows = rows.len() / width.unwrap_or(1).max(1);
        self.env.inputs = vec![rows.iter().map(|&v| f64::from(v)).collect()];
        let [low, high] = draw.seed.map(u64::from);
        (self.env.seed, self.env.step) = (low | high << 32, draw.step);
        let values = evaluate(&self.graph, &self.env)?;
        let results = self.env.sink(&self.graph, &values, Sink::Output(0));
        results.map(<[f64]>::to_vec).ok_or_else(|| Error::Internal("no result in f64".into()))
    }
}

impl Model {
    /// Sees to it that no result is NaN, and none is infinite but a loss that truly is. Where the GPU says anything
    /// else, f64 may still know the value, since nothing on the way to it overflows there. `part` is the number of rows
    /// that were computed together. The interpreter takes long: where the caller awaits, it has a thread of its own.
    pub(super) async fn settle_results(
        &self,
        purpose: Purpose,
        values: &[f32],
        results: &mut [f32],
        part: usize,
        draw: State,
        how: Wait,
    ) -> Result<()> {
        let (width, result) = self.network().widths(purpose);
        let mut bad = bad_rows(results, result, how).await;
        if bad.is_empty() {
            return Ok(());
        }
        if matches!(purpose, Purpose::Score | Purpose::Evidence) {
            let mut kept = None;
            for together in bad.chunk_by(|a, b| a / part == b / part) {
                let (at, last) = (together[0] / part, together[together.len() - 1]);
                // What is drawn depends on a row's place in its part.
                let rows = if purpose == Purpose::Score { together.to_vec() } else { (at * part..=last).collect() };
                let inputs: Vec<f32> = rows.iter().flat_map(|&row| &values[row * width..][..width]).copied().collect();
                let (model, draw, begun) =
                    (self.clone(), State { step: part_step(draw.step, at), ..draw }, kept.take());
                let settle = move |_: &dyn Fn(())| {
                    let mut exact = begun.map_or_else(|| Exact::new(&model, purpose), Ok)?;
                    let found = exact.rows(&inputs, draw)?;
                    Ok((exact, found))
                };
                let (exact, found) = apart(how, &mut |()| {}, settle).await?;
                kept = Some(exact);
                for (row, found) in rows.into_iter().zip(found) {
                    if !results[row].is_finite() {
                        results[row] = found as f32;
                    }
                }
            }
            bad.retain(|&row| results[row].is_nan());
        }
        let Some(&row) = bad.first() else { return Ok(()) };
        let found = results[row * result..][..result].iter().find(|v| !v.is_finite()).copied().unwrap_or(f32::NAN);
        let allowed = "rows, and a model, for which nothing leaves the range of f32";
        Err(Error::data(format!("rows to {purpose:?}: result of row {row}"), found, allowed))
    }
}
