//! Rows with weights: how much each counts in the objective that is trained, as one more column at the end.

use std::ops::Range;
use std::sync::Arc;

use super::{Fixed, Source, span};
use crate::{Error, Result};

/// The rows of a source, each with a weight w_i ≥ 0, for [`crate::Session::fit`] and its like. Where the objective has a mean
/// over the B rows of a batch of what each costs, it is Σ w_i c_i / B then: the plain mean of w_i c_i, as scikit-learn's
/// `sample_weight` has it in stochastic gradient descent. A row of weight 2 counts as one that is there twice, and one of weight 0
/// has no gradient; its costs must be finite all the same. Weights of mean 1 over the data keep the scale of the
/// gradients, and with it the meaning of a learning rate; multiplied by the ratio of two densities they train for the other
/// one (importance weighting). In half precision their mean should be about 1: large ones may overflow
/// there, and small ones leave nothing of a gradient.
///
/// Weighted are the reconstruction's loss, the KL divergence, both terms of predictive sparse decomposition, the
/// classifier's loss, and of the penalties L1, Student-t, the contractive ones, the trace and the caller's own. Penalties of a
/// unit's mean activity take the mean q = Σ w_i h_i / Σ w_i, and are 0 in a batch whose weights are all 0. The weight
/// decay is of parameters and stays as it is. The order of rows and what is drawn for them do not depend on what the
/// weights are, nor does the scaling that is learned from the data ([`crate::Scaling`]). Data that exceeds its budget
/// is cut into chunks by the length of its rows.
///
/// Reports of training are of the weighted objective. [`crate::Session::evaluate`], scores and codes are of rows without
/// weights; so is validation: where early stopping holds out the last rows of weighted data, their weights are not used.
///
/// A row of weighted data is its features, the columns of its label where there is a classifier
/// ([`crate::Data::labelled`]), and its weight: on the GPU a row of 784 features is 4 bytes longer, and a step keeps
/// the whole rows of its batch, padded from 785 to 792 columns, beside their features, and takes a dispatch or two
/// more. To graphs of the caller's own, which a [`crate::train::Trainer`] takes, the weight is a column like the others; runs
/// over a spec and machines ([`crate::rbm::Rbm`]) refuse rows with weights. Pushed rows have weights where the ring was made so:
/// [`crate::train::Ring::weighted`].
///
/// ```no_run
/// use strait::{Activation, Gpu, Session, Spec, Training, data};
///
/// let digits = data::digits()?;
/// // Each digit counts as much as the others, however often it comes.
/// let labels = digits.labels().unwrap_or_default();
/// let count = |of: u32| labels.iter().filter(|&&label| label == of).count() as f32;
/// let weights: Vec<f32> = labels.iter().map(|&label| labels.len() as f32 / (10.0 * count(label))).collect();
/// let spec = Spec::symmetric(&[64, 32, 8], Activation::Elu);
/// let mut session = Session::new(&Gpu::new()?, &spec, Training::default())?;
/// session.fit(data::Weighted::new(digits, weights)?)?;
/// # Ok::<(), strait::Error>(())
/// ```
pub struct Weighted {
    source: Fixed<Arc<dyn Source>>,
    weights: Vec<f32>,
}

impl Weighted {
    /// The rows of `source` with a weight for each.
    ///
    /// # Errors
    /// [`Error::Data`] where there are not as many weights as rows, where one is negative or not finite, naming the row, where
    /// all are 0, or where the rows have weights already.
    pub fn new(source: impl Into<Arc<dyn Source>>, weights: impl Into<Vec<f32>>) -> Result<Weighted> {
        let (source, weights) = (Fixed::new(source.into()), weights.into());
        without_weights(&source)?;
        if weights.len() != source.rows() {
            let allowed = format!("{}, one for each row", source.rows());
            return Err(Error::data(format!("{}: number of weights", source.name()), weights.len(), allowed));
        }
        let mut check = Check::default();
        weights.iter().enumerate().try_for_each(|(row, &weight)| check.see(source.name(), row, weight))?;
        check.end(source.name())?;
        Ok(Weighted { source, weights })
    }
}

impl std::fmt::Debug for Weighted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weighted").field("source", &self.source.name()).field("rows", &self.weights.len()).finish()
    }
}

impl From<Weighted> for Arc<dyn Source> {
    fn from(weighted: Weighted) -> Arc<dyn Source> {
        Arc::new(weighted)
    }
}

impl Source for Weighted {
    fn rows(&self) -> usize {
        self.source.rows()
    }

    fn columns(&self) -> usize {
        self.source.columns() + 1
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        let (span, columns) = (span(self, first_row, out.len())?, self.source.columns());
        let count = span.len() / (columns + 1);
        let weights = &self.weights[first_row..first_row + count];
        // Side by side at the beginning, from where they move apart, the last one first.
        self.source.read(first_row, &mut out[..count * columns])?;
        for (i, &weight) in weights.iter().enumerate().rev() {
            let to = i * (columns + 1);
            out.copy_within(i * columns..(i + 1) * columns, to);
            out[to + columns] = weight;
        }
        Ok(())
    }

    fn name(&self) -> &str {
        self.source.name()
    }

    fn is_weighted(&self) -> bool {
        true
    }

    fn has_weight(&self, rows: Range<usize>) -> Option<bool> {
        self.weights.get(rows).map(|weights| weights.iter().any(|&weight| weight > 0.0))
    }
}

/// Weighted rows without their weights.
pub(crate) struct Unweighted(pub Arc<dyn Source>);

impl Source for Unweighted {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn columns(&self) -> usize {
        self.0.columns() - 1
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        let columns = self.columns();
        let count = span(self, first_row, out.len())?.len() / columns;
        let mut rows = vec![0.0; count * (columns + 1)];
        self.0.read(first_row, &mut rows)?;
        out.chunks_mut(columns)
            .zip(rows.chunks(columns + 1))
            .for_each(|(out, row)| out.copy_from_slice(&row[..columns]));
        Ok(())
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

/// Fails where rows have weights and are used where those mean nothing.
pub(crate) fn without_weights(source: &dyn Source) -> Result<()> {
    match source.is_weighted() {
        false => Ok(()),
        true => Err(Error::data(format!("{}: columns", source.name()), "rows with weights", "rows without weights")),
    }
}

/// Fails where a row's weight is none.
pub(crate) fn check_weight(name: &str, row: usize, weight: f32) -> Result<()> {
    match weight.is_finite() && weight >= 0.0 {
        true => Ok(()),
        false => Err(Error::data(format!("{name}: weight of row {row}"), weight, "a finite number, 0 or more")),
    }
}

/// What was seen of the weights of rows.
#[derive(Default)]
pub(crate) struct Check {
    positive: bool,
}

impl Check {
    /// Looks at the weight of a row.
    pub(crate) fn see(&mut self, name: &str, row: usize, weight: f32) -> Result<()> {
        self.positive |= weight > 0.0;
        check_weight(name, row, weight)
    }

    /// Fails where no row counts.
    pub(crate) fn end(&self, name: &str) -> Result<()> {
        match self.positive {
            true => Ok(()),
            false => Err(Error::data(format!("{name}: weights"), "0 in every row", "one above 0")),
        }
    }
}
