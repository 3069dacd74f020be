//! Training: a run of one phase and one step, whose direction is the gradient of a difference of free energies.

use super::nodes::Half;
use super::{Gibbs, Rbm, Units};
use crate::error::Result;
use crate::graph::{Graph, Shape, Sink, Tensor, TensorSet};
use crate::model::{Start, Values};
use crate::train::{Phase, Run, Step, Update};

/// The deviation of weights at the start.
const SPREAD: f64 = 0.01;

/// The stream of the draw of h given a row of the batch, and the first one of chains.
const FROM_ROWS: u32 = 0;
const FROM_CHAINS: u32 = 1;

impl Rbm {
    /// A run of one phase, `divergence`, that trains the machine on rows in a drawn order: the set [`Rbm::PARAMETERS`] is W, b
    /// and a, named as [`Rbm::spec`] says; with persistent chains the set [`Rbm::CHAINS`] is `chains` `[chains, visible]`, where
    /// they are. They start with [`Rbm::initial`] of the seed. The update trains [`Rbm::PARAMETERS`] and nothing else. Rows of binary units are 0 to 1 ([`Phase::range`]), and none has a weight.
    ///
    /// Reported is `divergence.reconstruction`: the squared distance of a row from the mean of v given one h that was drawn given
    /// the row, summed over columns, mean over the batch. It is not what is minimised, which no single number tells; it only shows
    /// how training goes (Hinton, "A practical guide to training restricted Boltzmann machines", 2010, section 5).
    ///
    /// # Errors
    /// As [`Rbm::check`] and [`Run::check`].
    pub fn run(&self, batch: usize, epochs: u64, update: Update, seed: u64) -> Result<Run> {
        let mut run = Run::new(self.sets("parameters", "chains")?, vec![])?;
        run.seed = seed;
        self.starts(SPREAD).enumerate().for_each(|(i, start)| run.set_start(i, start));
        let (name, step) = ("divergence", self.step(run.graph(), 0)?);
        let chains = self.gibbs.chains().map(|_| Rbm::CHAINS);
        let step = Step { state: chains.into_iter().collect(), ..Step::new(name, step, [update]) };
        run.phases = vec![Phase { batch, epochs, range: self.range(), unweighted: true, ..Phase::new(name, [step]) }];
        run.check()?;
        Ok(run)
    }

    /// Its parameters as a set, and its persistent chains as another.
    pub(super) fn sets(&self, parameters: &str, chains: &str) -> Result<Vec<TensorSet>> {
        let mut sets = vec![TensorSet::new(parameters, self.network()?.params().to_vec())];
        if let Some(count) = self.gibbs.chains() {
            let shape = Shape::fixed(&[count, self.visible]);
            sets.push(TensorSet::new(chains, vec![Tensor { name: "chains".into(), shape }]));
        }
        Ok(sets)
    }

    /// What rows may have.
    pub(super) fn range(&self) -> Option<[f32; 2]> {
        match self.visible_units {
            Units::Bernoulli => Some([0.0, 1.0]),
            Units::Gaussian => None,
        }
    }

    /// The graph of its step over tensors of which W is the one of number `first`; b, a and persistent chains follow.
    pub(super) fn step(&self, mut g: Graph, first: usize) -> Result<Graph> {
        let parameters = [g.param(first)?, g.param(first + 1)?, g.param(first + 2)?];
        let rows = g.gather(self.visible, true);
        let h = self.hidden_given(&mut g, rows, parameters, FROM_ROWS)?;
        let inputs = self.inputs_given(&mut g, h, parameters)?;
        let errors = g.map([rows, inputs, parameters[2]], |[v, x, a]| (v - self.visible_units.mean(x + a)).square())?;
        let reconstruction = g.batch_mean(errors)?;
        g.term("reconstruction", reconstruction);

        let data = self.free_energy(&mut g, rows, parameters)?;
        let data = g.batch_mean(data)?;
        let visible = |stream| if self.visible_means { Half::Mean } else { Half::Drawn(stream) };
        let end = match self.gibbs {
            Gibbs::Contrastive { steps } => {
                let v = self.visible_given(&mut g, h, parameters, visible(FROM_CHAINS))?;
                self.walk(&mut g, v, parameters, (steps - 1, FROM_CHAINS + 1), visible)?
            }
            Gibbs::Persistent { steps, .. } => {
                let chains = g.param(first + 3)?;
                let end = self.walk(&mut g, chains, parameters, (steps, FROM_CHAINS), visible)?;
                g.sink(Sink::Gradient(first + 3), end);
                end
            }
        };
        let model = self.free_energy(&mut g, end, parameters)?;
        let model = match self.gibbs {
            Gibbs::Contrastive { .. } => g.batch_mean(model)?,
            Gibbs::Persistent { chains, .. } => {
                let sum = g.sum_all(model);
                g.map([sum], |[sum]| sum / chains as f64)?
            }
        };
        let difference = g.map([data, model], |[data, model]| data - model)?;
        let mut directions = g.gradient(difference, &parameters)?;
        if self.weight_decay != 0.0 {
            directions[0] =
                g.map([directions[0], parameters[0]], |[direction, w]| direction + self.weight_decay * w)?;
        }
        for (i, direction) in directions.into_iter().enumerate() {
            g.sink(Sink::Gradient(first + i), direction);
        }
        Ok(g)
    }

    /// What a run starts with, in the order of its tensors: weights normal with deviation .01, biases 0 (Hinton, 2010, section 8);
    /// persistent chains with coins that are fair, or normal with deviation 1. Rows of the data are as good a start for chains:
    /// replace the last tensor by as many of them ([`crate::train::Trainer::set_parameters`]).
    ///
    /// # Errors
    /// As [`Rbm::check`].
    pub fn initial(&self, seed: u64) -> Result<Vec<Vec<f32>>> {
        let tensors = self.sets("parameters", "chains")?.into_iter().flat_map(|set| set.tensors);
        Ok(tensors.zip(self.starts(SPREAD)).map(|(tensor, start)| start.values(&tensor, seed)).collect())
    }

    /// How its tensors start, with weights of this deviation.
    pub(super) fn starts(&self, deviation: f64) -> impl Iterator<Item = Start> + use<> {
        let chains = match self.visible_units {
            Units::Bernoulli => Values::Coins,
            Units::Gaussian => Values::Normal(1.0),
        };
        let parameters = [Values::Normal(deviation), Values::Zero, Values::Zero].map(|values| Start::new(values, 0));
        parameters.into_iter().chain(self.gibbs.chains().map(|_| Start::new(chains, 1)))
    }
}
