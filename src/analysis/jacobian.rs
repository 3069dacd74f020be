//! Jacobians of a trained model at given rows, and what they say: singular values, and the tangents of the manifold that
//! the model learned ("Deep Learning", section 14.6).

use nalgebra::{DMatrix, SVD};

use crate::error::Result;
use crate::model::{Mapping, Purpose};
use crate::train::Session;

/// A Jacobian's singular values, largest first, and its right singular vectors, which lie in the input's space.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// The singular values, largest first: below 1 the map contracts.
    pub values: Vec<f64>,
    /// The directions of the input that belong to them, of length 1.
    pub tangents: Vec<Vec<f64>>,
}

impl Spectrum {
    /// Of a matrix with `columns` columns, row-major, as [`Session::jacobian`] gives one for each row.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where the values are no whole rows.
    pub fn of(jacobian: &[f32], columns: usize) -> Result<Spectrum> {
        if columns == 0 || jacobian.is_empty() || !jacobian.len().is_multiple_of(columns) {
            let found = format!("{} values", jacobian.len());
            return Err(crate::Error::data(
                "Jacobian",
                found,
                format!("whole rows of {columns} columns, at least one"),
            ));
        }
        let matrix =
            DMatrix::from_row_iterator(jacobian.len() / columns, columns, jacobian.iter().map(|&v| f64::from(v)));
        let SVD { singular_values, v_t, .. } = matrix.svd(false, true);
        let mut order: Vec<usize> = (0..singular_values.len()).collect();
        order.sort_by(|&a, &b| singular_values[b].total_cmp(&singular_values[a]));
        let tangent = |&i: &usize| v_t.as_ref().map_or(vec![], |v| v.row(i).iter().copied().collect());
        Ok(Spectrum {
            values: order.iter().map(|&i| singular_values[i]).collect(),
            tangents: order.iter().map(tangent).collect(),
        })
    }
}

impl Session {
    /// The Jacobian at each row by the scaled input: of the code, `[code, input]`, or of the reconstruction in scaled
    /// units, `[input, input]`; one after the other, row-major.
    ///
    /// # Errors
    /// As [`Session::encode`]; [`crate::Error::Spec`] for [`Mapping::Layers`], which is no single map.
    pub fn jacobian(&mut self, rows: &[f32], of: Mapping) -> Result<Vec<f32>> {
        match of {
            Mapping::Encoder => self.infer(Purpose::EncoderJacobian, rows),
            Mapping::Reconstruction => self.infer(Purpose::ReconstructionJacobian, rows),
            Mapping::Layers => Err(crate::Error::spec("of", "layers", "encoder or reconstruction")),
        }
    }

    /// Singular values and tangents of the encoder at each row.
    ///
    /// # Errors
    /// As [`Session::jacobian`].
    pub fn spectra(&mut self, rows: &[f32]) -> Result<Vec<Spectrum>> {
        let (input, code) = (self.spec().input, self.spec().code());
        let jacobians = self.jacobian(rows, Mapping::Encoder)?;
        jacobians.chunks(code * input).map(|jacobian| Spectrum::of(jacobian, input)).collect()
    }
}
