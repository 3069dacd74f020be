//! Axes: what a search varies, the values that it tries, and how one is put into a spec or its training.

use crate::error::{Error, Result};
use crate::model::Spec;
use crate::random::Draw;
use crate::train::Training;

/// The first of the streams that axes draw from; the others follow, one for each.
const STREAM: u32 = 0xd000_0000;

/// What is tried: a model and how it is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The model.
    pub spec: Spec,
    /// How it is trained.
    pub training: Training,
}

/// The values of an axis: a list of them, from an array or a `Vec`, or a range to draw from.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    List(Vec<f64>),
    Uniform([f64; 2]),
    LogUniform([f64; 2]),
}

impl Values {
    /// Drawn uniformly from `low` to `high`.
    pub fn uniform(low: f64, high: f64) -> Values {
        Values(Kind::Uniform([low, high]))
    }

    /// Drawn so that the logarithm is uniform from that of `low`, which is above 0, to that of `high`.
    pub fn log_uniform(low: f64, high: f64) -> Values {
        Values(Kind::LogUniform([low, high]))
    }
}

impl From<Vec<f64>> for Values {
    fn from(values: Vec<f64>) -> Values {
        Values(Kind::List(values))
    }
}

impl<const N: usize> From<[f64; N]> for Values {
    fn from(values: [f64; N]) -> Values {
        Values(Kind::List(values.to_vec()))
    }
}

/// How a value is put into a candidate; of choices it is their number.
type Put = Box<dyn Fn(&mut Candidate, f64) + Send + Sync>;

/// What a search varies.
pub(super) struct Axis {
    pub name: String,
    pub values: Values,
    /// What choices are called; numbers have none.
    labels: Vec<String>,
    put: Put,
}

impl Axis {
    /// One of numbers.
    pub fn of_numbers(name: String, values: Values, put: Put) -> Axis {
        Axis { name, values, labels: vec![], put }
    }

    /// One of choices with these labels.
    pub fn of_choices(name: String, labels: Vec<String>, put: Put) -> Axis {
        let values = Values(Kind::List((0..labels.len()).map(|at| at as f64).collect()));
        Axis { name, values, labels, put }
    }

    /// Puts a value into a candidate.
    pub fn put(&self, candidate: &mut Candidate, value: f64) {
        (self.put)(candidate, value);
    }

    /// A value in a table: the label of a choice, a number so that it can be read again.
    pub fn text(&self, value: f64) -> String {
        self.labels.get(value as usize).cloned().unwrap_or_else(|| value.to_string())
    }

    /// The values of a list.
    ///
    /// # Errors
    /// [`Error::Spec`] where it is a range.
    pub fn list(&self) -> Result<&[f64]> {
        match &self.values.0 {
            Kind::List(values) => Ok(values),
            Kind::Uniform(range) | Kind::LogUniform(range) => {
                let found = format!("a range from {} to {}", range[0], range[1]);
                Err(Error::spec(self.place(), found, "a list of values in a grid; Search::random draws from ranges"))
            }
        }
    }

    /// The value that the axis of this number has in a drawn candidate.
    pub fn draw(&self, seed: u64, number: usize, candidate: usize) -> f64 {
        let u = Draw { seed, stream: STREAM + number as u32, step: 0 }.uniform(candidate, 0);
        match &self.values.0 {
            Kind::List(values) => values[((u * values.len() as f64) as usize).min(values.len() - 1)],
            &Kind::Uniform([low, high]) => (low + u * (high - low)).clamp(low, high),
            &Kind::LogUniform([low, high]) => (low.ln() + u * (high.ln() - low.ln())).exp().clamp(low, high),
        }
    }

    /// Checks that there are values to try.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the axis.
    pub fn check(&self) -> Result<()> {
        let finite = |values: &[f64]| values.iter().copied().find(|value| !value.is_finite());
        match &self.values.0 {
            Kind::List(values) if values.is_empty() => Err(Error::spec(self.place(), "without values", "1 or more")),
            Kind::List(values) => match finite(values) {
                Some(value) => Err(Error::spec(self.place(), value, "finite numbers")),
                None => Ok(()),
            },
            &(Kind::Uniform([low, high]) | Kind::LogUniform([low, high])) => {
                let found = format!("a range from {low} to {high}");
                if finite(&[low, high, high - low]).is_some() || low >= high {
                    return Err(Error::spec(self.place(), found, "a range from a finite number to a larger one"));
                }
                if matches!(self.values.0, Kind::LogUniform(_)) && low <= 0.0 {
                    return Err(Error::spec(self.place(), found, "a range above 0, where it is drawn by logarithms"));
                }
                Ok(())
            }
        }
    }

    /// What errors call it.
    fn place(&self) -> String {
        format!("axes[{:?}]", self.name)
    }
}

impl std::fmt::Debug for Axis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Axis { name, values, labels, .. } = self;
        f.debug_struct("Axis").field("name", name).field("values", values).field("labels", labels).finish()
    }
}
