//! A data set in host memory.

use std::sync::Arc;

use super::{FINITE, Source, cell, span};
use crate::{Error, Result};

/// A table of `rows` x `columns` finite `f32` in host memory, row-major, with an optional label for each row.
///
/// It has at least one row and one column. Clones share the values.
#[derive(Clone)]
pub struct Data {
    name: String,
    columns: usize,
    values: Arc<Vec<f32>>,
    labels: Option<Vec<u32>>,
}

impl Data {
    /// A table of the row-major `values`, `columns` to a row.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if `columns` is 0, if `values` is empty or no multiple of `columns`, or if a value is not
    /// finite.
    pub fn from_rows(columns: usize, values: Vec<f32>) -> Result<Data> {
        Data::named("data", columns, values)
    }

    /// As [`from_rows`](Data::from_rows), where errors already know the name.
    pub(super) fn named(name: &str, columns: usize, values: Vec<f32>) -> Result<Data> {
        if columns == 0 {
            return Err(Error::data(format!("{name}: columns"), columns, "1 or more"));
        }
        if values.is_empty() || !values.len().is_multiple_of(columns) {
            let allowed = format!("a multiple of the {columns} columns, and at least one row");
            return Err(Error::data(format!("{name}: number of values"), values.len(), allowed));
        }
        let data = Data { name: name.to_string(), columns, values: Arc::new(values), labels: None };
        data.finite()
    }

    /// Itself, if every value is finite.
    fn finite(self) -> Result<Data> {
        match self.values.iter().position(|v| !v.is_finite()) {
            None => Ok(self),
            Some(i) => {
                let place = cell(&self.name, i / self.columns, i % self.columns);
                Err(Error::data(place, self.values[i], FINITE))
            }
        }
    }

    /// The same table under another name, which errors and logs use.
    pub fn with_name(self, name: impl Into<String>) -> Data {
        Data { name: name.into(), ..self }
    }

    /// The same table with a label for each row.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if there are not as many labels as rows.
    pub fn with_labels(self, labels: Vec<u32>) -> Result<Data> {
        if labels.len() != self.rows() {
            let allowed = format!("{}, one for each row", self.rows());
            return Err(Error::data(format!("{}: number of labels", self.name), labels.len(), allowed));
        }
        Ok(Data { labels: Some(labels), ..self })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    /// The number of values in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What errors and logs call this table: the file it came from, or `data`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Row `index`, or `None` past the last one.
    pub fn row(&self, index: usize) -> Option<&[f32]> {
        self.values.chunks_exact(self.columns).nth(index)
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The label of each row, if the data set has labels.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// A table with `classes` more columns, 1 in the column of a row's label and 0 in the others: what a model with a
    /// classifier is trained on.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if the table has no labels, or one that is no class, or if there are fewer than 2 classes or
    /// more than 65,536.
    pub fn labelled(&self, classes: usize) -> Result<Data> {
        let Some(labels) = &self.labels else {
            return Err(Error::data(format!("{}: labels", self.name), "none", "one for each row"));
        };
        if !(2..=1 << 16).contains(&classes) {
            return Err(Error::data(format!("{}: classes", self.name), classes, "2 to 65536"));
        }
        let mut values = Vec::new();
        values.try_reserve_exact(self.rows().saturating_mul(self.columns + classes)).map_err(|e| {
            Error::data(format!("{}: rows with {classes} classes", self.name), e, "as many as fit in memory")
        })?;
        for (row, (features, &label)) in self.values.chunks_exact(self.columns).zip(labels).enumerate() {
            if label as usize >= classes {
                let allowed = format!("less than the {classes} classes");
                return Err(Error::data(format!("{}: label of row {row}", self.name), label, allowed));
            }
            values.extend_from_slice(features);
            values.extend((0..classes).map(|class| f32::from(u8::from(class == label as usize))));
        }
        let columns = self.columns + classes;
        Ok(Data { name: self.name.clone(), columns, values: Arc::new(values), labels: Some(labels.clone()) })
    }

    /// The first `row` rows and the rest, with their labels. Nothing is shuffled.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if either part would be empty.
    pub fn split_at(mut self, row: usize) -> Result<(Data, Data)> {
        if row == 0 || row >= self.rows() {
            let allowed = format!("a row that leaves both parts at least one of the {} rows", self.rows());
            return Err(Error::data(format!("{}: row to split at", self.name), row, allowed));
        }
        let values = Arc::new(Arc::make_mut(&mut self.values).split_off(row * self.columns));
        let labels = self.labels.as_mut().map(|l| l.split_off(row));
        let rest = Data { name: self.name.clone(), columns: self.columns, values, labels };
        Ok((self, rest))
    }

    /// A table of the given rows, in the given order, with their labels. A row may come more than once.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if `rows` is empty or names a row that does not exist.
    pub fn select(&self, rows: &[usize]) -> Result<Data> {
        if rows.is_empty() {
            return Err(Error::data(format!("{}: rows to select", self.name), "none", "at least one row"));
        }
        let mut values = Vec::new();
        values.try_reserve_exact(rows.len().saturating_mul(self.columns)).map_err(|e| {
            let found = format!("{} rows: {e}", rows.len());
            Error::data(format!("{}: rows to select", self.name), found, "as many as fit in memory")
        })?;
        for &row in rows {
            let Some(row_values) = self.row(row) else {
                let allowed = format!("0 to {}", self.rows() - 1);
                return Err(Error::data(format!("{}: row to select", self.name), row, allowed));
            };
            values.extend_from_slice(row_values);
        }
        let labels = self.labels.as_ref().map(|all| rows.iter().map(|&row| all[row]).collect());
        Ok(Data { name: self.name.clone(), columns: self.columns, values: Arc::new(values), labels })
    }

    /// The smallest and the largest value of the table.
    pub fn min_max(&self) -> (f32, f32) {
        self.values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)))
    }

    /// The table with `f` of every value.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if `f` returns a value that is not finite.
    pub fn map(mut self, mut f: impl FnMut(f32) -> f32) -> Result<Data> {
        Arc::make_mut(&mut self.values).iter_mut().for_each(|v| *v = f(*v));
        self.finite()
    }

    /// The table with every value moved from the range `from` to the range `to`, each (low, high), by the straight
    /// line through their ends. Values outside `from` land outside `to`, so that a test set can be scaled by the
    /// training set's range:
    ///
    /// ```
    /// # use strait::data::Data;
    /// # fn main() -> strait::Result<()> {
    /// let train = Data::from_rows(1, vec![2.0, 4.0])?;
    /// let test = Data::from_rows(1, vec![3.0, 5.0])?;
    /// let range = train.min_max();
    /// assert_eq!(train.rescaled(range, (0.0, 1.0))?.values(), [0.0, 1.0]);
    /// assert_eq!(test.rescaled(range, (0.0, 1.0))?.values(), [0.5, 1.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if `from` is empty (as it is for constant data) or an end of either range is not finite.
    pub fn rescaled(self, from: (f32, f32), to: (f32, f32)) -> Result<Data> {
        let finite = |range: (f32, f32)| range.0.is_finite() && range.1.is_finite();
        if !finite(from) || from.0 >= from.1 {
            let allowed = "a finite low end below a finite high end";
            return Err(Error::data(format!("{}: range to rescale from", self.name), format!("{from:?}"), allowed));
        }
        if !finite(to) {
            let found = format!("{to:?}");
            return Err(Error::data(format!("{}: range to rescale to", self.name), found, "two finite ends"));
        }
        // In f64, and weighing both ends, so that the ends of `from` land exactly on the ends of `to`.
        let [f0, f1, t0, t1] = [from.0, from.1, to.0, to.1].map(f64::from);
        self.map(|v| {
            let u = (f64::from(v) - f0) / (f1 - f0);
            (t0 * (1.0 - u) + t1 * u) as f32
        })
    }
}

impl Source for Data {
    fn rows(&self) -> usize {
        Data::rows(self)
    }

    fn columns(&self) -> usize {
        Data::columns(self)
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.values[span(self, first_row, out.len())?]);
        Ok(())
    }

    fn name(&self) -> &str {
        Data::name(self)
    }
}

/// The name and the shape: a table may have millions of values.
impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels = if self.labels.is_some() { ", labelled" } else { "" };
        write!(f, "Data({}: {} x {}{labels})", self.name, self.rows(), self.columns)
    }
}

impl From<Data> for Arc<dyn Source> {
    fn from(data: Data) -> Arc<dyn Source> {
        Arc::new(data)
    }
}

impl From<&Data> for Arc<dyn Source> {
    fn from(data: &Data) -> Arc<dyn Source> {
        Arc::new(data.clone())
    }
}
