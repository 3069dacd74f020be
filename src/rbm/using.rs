//! What a trained machine is used for: a model of its autoencoder, free energies of rows, chains of samples.

use super::Rbm;
use super::nodes::Half;
use crate::analysis::Sampler;
use crate::error::{Error, Result, finite_rows};
use crate::evaluator::Evaluator;
use crate::gpu::Gpu;
use crate::graph::{Graph, NodeId, Sink};
use crate::inference::{Model, ROWS, finite, halving, whole_rows};
use crate::model::Network;
use crate::state::State;

/// Free energies of rows by the parameters of a machine, which lie on the GPU: made by [`Rbm::free_energies`], compiled once.
#[derive(Debug)]
pub struct FreeEnergies {
    visible: usize,
    evaluator: Evaluator,
    /// Rows at a time.
    most: usize,
}

impl FreeEnergies {
    /// F(v) of each row (row-major, as many values each as there are visible units). −F is the logarithm of the row's probability or
    /// density plus log Z, which is the same for all rows.
    ///
    /// # Errors
    /// [`Error::Data`] where the values are no whole rows or not finite, or naming the row whose free energy lies beyond f32;
    /// [`Error::Device`] or [`Error::DeviceLost`].
    pub fn of(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        let what = "rows of which to find free energies";
        let count = whole_rows(rows, self.visible, what)?;
        finite_rows(what, self.visible, 0, rows)?;
        let mut found = Vec::with_capacity(count);
        for chunk in rows.chunks(self.most * self.visible) {
            let rows = chunk.len() / self.visible;
            self.evaluator.input(0, chunk)?;
            self.evaluator.run(State::once(rows, 0))?;
            found.extend(self.evaluator.sink(Sink::Output(0), rows)?);
        }
        match found.iter().position(|energy| !energy.is_finite()) {
            None => Ok(found),
            Some(row) => Err(Error::data(
                format!("free energies: row {row}"),
                found[row],
                "smaller rows or parameters: a finite one",
            )),
        }
    }
}

impl Rbm {
    /// The model of [`Rbm::spec`] with these parameters: W, b and a, as [`crate::train::Trainer::parameters`] gives them. It can
    /// be saved, encodes rows to the mean of h given v, and a session can train it further as an autoencoder. Persistent chains after them
    /// are left aside.
    ///
    /// # Errors
    /// As [`Rbm::check`]; [`Error::Data`] naming the tensor where the number of values is wrong or one is not finite, or where
    /// there are other tensors than these; [`Error::Limit`] where the device cannot hold them.
    pub fn model(&self, gpu: &Gpu, parameters: &[Vec<f32>]) -> Result<Model> {
        let network = self.network()?;
        let own = self.own(&network, parameters)?;
        Model::holding(gpu, network, own)
    }

    /// What computes F(v) of rows, by these parameters as for [`Rbm::model`].
    ///
    /// # Errors
    /// As [`Rbm::model`].
    pub fn free_energies(&self, gpu: &Gpu, parameters: &[Vec<f32>]) -> Result<FreeEnergies> {
        let network = self.network()?;
        let own = self.own(&network, parameters)?;
        let (mut graph, nodes) = begun(&network)?;
        let v = graph.input(0, self.visible);
        let energies = self.free_energy(&mut graph, v, nodes)?;
        graph.sink(Sink::Output(0), energies);
        let (evaluator, most) = halving(ROWS, |most| Ok((Evaluator::new(gpu, &graph, most)?, most)))?;
        evaluator.params(own)?;
        Ok(FreeEnergies { visible: self.visible, evaluator, most })
    }

    /// Chains of Gibbs steps, one for each row they start from (row-major, `visible` values each), by these parameters as for
    /// [`Rbm::model`]: [`Sampler::advance`] takes steps, each of which draws h given v, then v given h. The chains' rows are draws,
    /// 0 or 1 of [`super::Units::Bernoulli`]. What they draw is a function of `seed`.
    ///
    /// # Errors
    /// As [`Rbm::model`]; [`Error::Data`] where the values are no whole rows or not finite; [`Error::Limit`] where there are more
    /// rows than a buffer holds.
    pub fn sampler(&self, gpu: &Gpu, parameters: &[Vec<f32>], rows: &[f32], seed: u64) -> Result<Sampler> {
        let model = self.model(gpu, parameters)?;
        let (mut graph, nodes) = begun(model.network())?;
        let v = graph.input(0, self.visible);
        let next = self.walk(&mut graph, v, nodes, (1, 0), Half::Drawn)?;
        graph.sink(Sink::Output(0), next);
        Sampler::new(&model, &graph, rows, seed)
    }

    /// W, b and a of what a run trains, checked.
    fn own<'a>(&self, network: &Network, parameters: &'a [Vec<f32>]) -> Result<&'a [Vec<f32>]> {
        let tensors = network.params();
        let chains = usize::from(self.gibbs.chains().is_some());
        if !(tensors.len()..=tensors.len() + chains).contains(&parameters.len()) {
            return Err(Error::data("parameters", parameters.len(), format!("{} tensors", tensors.len())));
        }
        let own = &parameters[..tensors.len()];
        tensors.iter().zip(own).try_for_each(|(tensor, values)| tensor.check_count(values.len()))?;
        finite(tensors, own)?;
        Ok(own)
    }
}

/// A graph over the tensors of a machine, and the nodes of W, b and a.
fn begun(network: &Network) -> Result<(Graph, [NodeId; 3])> {
    let mut graph = network.tensors();
    let nodes = [graph.param(0)?, graph.param(1)?, graph.param(2)?];
    Ok((graph, nodes))
}
