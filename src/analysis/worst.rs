//! Inputs near given rows that a model reconstructs badly.

use crate::error::{Error, Result};
use crate::gpu::{Program, Work};
use crate::inference::{Model, ROWS, halving};
use crate::model::Ascent;
use crate::plan::{Recording, Role};
use crate::state::State;

impl Model {
    /// For each of some rows (row-major, as wide as the input) one within the bound of an ascent that the model reconstructs
    /// worse, as far as the ascent leads: these rows, in the units of the input, and the error of each. A row beyond what the loss
    /// is made for is taken for the nearest that is not. Missing features are not moved.
    ///
    /// ```no_run
    /// # fn show(model: &strait::Model, rows: &[f32]) -> strait::Result<()> {
    /// use strait::model::{Ascent, Bound};
    ///
    /// let (worst, errors) = model.worst(rows, &Ascent { bound: Bound::Infinity(0.1), steps: 20, length: 0.02 })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Spec`] naming the number of the ascent that cannot be, or where the loss is of distributions
    /// ([`crate::Loss::Softmax`]); [`Error::Data`] where the values are no whole rows or not finite, where a scaling is not learned
    /// yet, or naming the row whose error lies beyond f32.
    pub fn worst(&self, rows: &[f32], ascent: &Ascent) -> Result<(Vec<f32>, Vec<f32>)> {
        let graph = ascent.graph(self.network())?;
        let (width, what) = (self.spec().input, "rows to find worse ones of");
        let count = self.check_rows(rows, width, what)?;
        let (gpu, buffers) = (self.gpu(), self.buffers(&graph)?);
        let state = gpu.buffer("state", 64)?;
        let (program, most) = halving(count.min(ROWS), |most| {
            let recording = Recording::new(&graph, self.target(most))?;
            Ok((Program::new(gpu, &recording, &state, buffers)?, most))
        })?;
        let [input, output] = [Role::Input(0), Role::Output(0)].map(|role| program.buffer(role));
        let (input, output) = (input?, output?);
        let (mut found, mut errors) = (Vec::with_capacity(rows.len()), Vec::with_capacity(count));
        for chunk in rows.chunks(most * width) {
            let count = chunk.len() / width;
            gpu.write(input, 0, bytemuck::cast_slice(chunk))?;
            gpu.write(&state, 0, bytemuck::bytes_of(&State::once(count, 0)))?;
            gpu.submit([Work::Run(&program)])?;
            for row in gpu.read(output, 0, count * (width + 1))?.chunks(width + 1) {
                if let Some(bad) = row.iter().find(|value| !value.is_finite()) {
                    let place = format!("{what}: row {}", errors.len());
                    return Err(Error::data(place, bad, "a smaller row: its error lies within f32"));
                }
                found.extend_from_slice(&row[..width]);
                errors.push(row[width]);
            }
        }
        Ok((found, errors))
    }
}
