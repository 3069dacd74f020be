//! Models that were trained one by one as the deep one that encodes and decodes as they do one after the other.

use std::collections::HashMap;

use super::Model;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Tensor;
use crate::model::{Network, Spec, stacked_name};

impl Model {
    /// The deep autoencoder of models each of which encodes the codes of the one before, with their tensors as they are now: it encodes
    /// as all of them do one after the other, and decodes as they do from the last one back. Its spec is [`Spec::stack`] of theirs,
    /// which says what is left aside; what is known of the input, its scaling for example, is the first one's. Weights that others than
    /// the last keep at norm 1 ([`Spec::unit_norm`]) come so as they are used, and are as others from then on. It is a model of its
    /// own, which [`crate::Session::of`] trains on as a whole. The models may be on other devices.
    ///
    /// ```no_run
    /// use strait::{Activation, Data, Gpu, Model, Session, Spec, Training, data};
    ///
    /// let (gpu, rows) = (Gpu::new()?, data::digits()?);
    /// let mut outer = Session::new(&gpu, &Spec::symmetric(&[64, 128], Activation::Elu), Training::default())?;
    /// outer.fit(&rows)?;
    /// let codes = Data::from_rows(128, outer.encode(rows.values())?)?;
    /// let mut inner = Session::new(&gpu, &Spec::symmetric(&[128, 32], Activation::Elu), Training::default())?;
    /// inner.fit(codes)?;
    /// let deep = Model::stack(&gpu, &[&outer.model(), &inner.model()])?;
    /// let mut whole = Session::of(&deep, Training::default())?;
    /// whole.fit(&rows)?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Spec::stack`], naming `models[1].scaling` for example; [`Error::Limit`] and [`Error::Spec`] where the device cannot hold
    /// the model; [`Error::Device`] or [`Error::DeviceLost`] where tensors cannot be read.
    pub fn stack(gpu: &Gpu, models: &[&Model]) -> Result<Model> {
        let normed = |i: usize| models[i].spec().unit_norm && i + 1 < models.len();
        let of = |(i, model): (usize, &&Model)| match normed(i) {
            true => Spec { unit_norm: false, ..model.spec().clone() },
            false => model.spec().clone(),
        };
        let specs: Vec<Spec> = models.iter().enumerate().map(of).collect();
        let spec = Spec::stacked(&specs, "models")?;
        let network = Network::new(&spec)?;
        let (mut found, mut encoder, mut decoder) = (HashMap::new(), 0, spec.decoder.len());
        for (i, model) in models.iter().enumerate() {
            decoder -= model.spec().decoder.len();
            for (tensor, mut values) in model.tensors().iter().zip(model.parameters()?) {
                if normed(i) && tensor.name == met_by_code(model.spec()) {
                    to_unit_norm(&mut values, tensor.shape.columns(), model.spec().tied);
                }
                // Beside layers the latent code has tensors, which is the last one's, and the loss, which is the first one's.
                let of = if tensor.name.starts_with("log_variance.") { models.len() - 1 } else { 0 };
                let own = (i == of).then(|| tensor.name.clone());
                if let Some(name) = stacked_name(&tensor.name, encoder, decoder).or(own) {
                    found.insert(name, values);
                }
            }
            encoder += model.spec().encoder.len();
        }
        let take = |tensor: &Tensor| {
            found
                .remove(&tensor.name)
                .ok_or_else(|| Error::Internal(format!("no model of a stack has {}", tensor.name)))
        };
        let values = network.params().iter().map(take).collect::<Result<Vec<_>>>()?;
        let stacked = Model::holding(gpu, network, &values)?;
        match models.first() {
            Some(first) if first.is_known() && !first.network().constants().is_empty() => {
                stacked.set_constants(&first.resident().constants()?)?;
            }
            _ => {}
        }
        Ok(stacked)
    }
}

/// The weight that meets the code first.
fn met_by_code(spec: &Spec) -> String {
    match spec.tied {
        true => format!("encoder.{}.weight", spec.encoder.len() - 1),
        false => "decoder.0.weight".into(),
    }
}

/// Brings each row of a weight to norm 1, or each column; what is all 0 stays so.
fn to_unit_norm(weight: &mut [f32], columns: usize, of_columns: bool) {
    let unit = |at: usize| if of_columns { at % columns } else { at / columns };
    let mut squares = vec![0.0; columns.max(weight.len() / columns)];
    weight.iter().enumerate().for_each(|(at, &w)| squares[unit(at)] += f64::from(w) * f64::from(w));
    for (at, w) in weight.iter_mut().enumerate().filter(|(at, _)| squares[unit(*at)] > 0.0) {
        *w = (f64::from(*w) / squares[unit(at)].sqrt()) as f32;
    }
}
