//! Scalars with a name that change from step to step: learning rates and corrections of optimizers, weights of terms.
//! Each is a column of a table with a row for each step, which the host computes in f64 and kernels read as a uniform.

use crate::error::{Error, Result};

/// Columns that fit a table of [`Scalars::FEWEST`] rows: a uniform has 64 KiB in WebGPU.
const MOST: usize = 64;

/// Bytes of a table that has more rows than it must, which is what older devices' uniforms have, and of a quad.
const SMALL: usize = 16 << 10;
const QUAD: usize = 16;

/// The names of a table's columns, in order. All graphs that run on one table have the same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalars {
    names: Vec<String>,
}

impl Scalars {
    /// Rows of a table of up to four columns: steps that the state on the GPU tells apart by their row.
    pub const STEPS: usize = 1024;

    /// Rows of the widest table: for all steps of a submit.
    pub const FEWEST: usize = 256;

    /// What every update reads: the learning rate, and what takes its place and that of 1 with Adam's corrections of the first
    /// and the second moment.
    pub const UPDATE: [&str; 3] = ["learning_rate", "first_moment", "second_moment"];

    /// A table with what updates read, then these columns.
    ///
    /// # Errors
    /// As [`Scalars::new`].
    pub fn beside_update<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Scalars> {
        Scalars::new(Scalars::UPDATE.map(String::from).into_iter().chain(names.into_iter().map(Into::into)))
    }

    /// A table with these columns.
    ///
    /// # Errors
    /// [`Error::Spec`] where there are more than 64, or two of one name.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Scalars> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() > MOST {
            return Err(Error::spec("scalars", names.len(), format!("at most {MOST}")));
        }
        match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            None => Ok(Scalars { names }),
            Some((_, twice)) => Err(Error::spec("scalars", format!("{twice:?} twice"), "names that differ")),
        }
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The column of a name.
    ///
    /// # Errors
    /// [`Error::Spec`] where there is none of this name.
    pub fn column(&self, name: &str) -> Result<usize> {
        let found = self.names.iter().position(|other| other == name);
        found.ok_or_else(|| Error::spec("scalar", format!("{name:?}"), self.names.join(", ")))
    }

    /// Quads of a row.
    pub fn quads(&self) -> usize {
        self.names.len().div_ceil(4).max(1)
    }

    /// Rows of the table: steps that it may hold at a time. The row of a step is what is left of its number divided by this.
    pub fn rows(&self) -> usize {
        (SMALL / QUAD / self.quads().next_power_of_two()).max(Scalars::FEWEST)
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> u64 {
        (self.rows() * self.quads() * QUAD) as u64
    }
}
