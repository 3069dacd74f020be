//! Runs as plain data: tensors in sets, scalars with ramps, and phases one after the other.

use super::Phase;
use super::numbers::beside;
use crate::error::{Error, Result};
use crate::graph::{Graph, Scalars, Set, Tensor, TensorSet};
use crate::model::{Layer, Network, Part, Player, Ramp, Spec, Start, Values};

/// What is trained, and how: tensors in sets, and phases one after the other.
#[derive(Clone, Debug)]
pub struct Run {
    pub(super) tensors: Graph,
    /// Of a run over the tensors of a spec its network, whose sets are the first.
    pub(super) network: Option<Network>,
    /// How each trainable tensor starts.
    starts: Vec<Start>,
    /// Scalars with ramps, in the order of their columns, each with its own value.
    ramps: Vec<(Ramp, f64)>,
    /// Its phases, in order.
    pub phases: Vec<Phase>,
    /// Seeds the order of rows and every random draw: those of the i-th phase, counted from 0, by this and i more, so that no two
    /// phases meet the same.
    pub seed: u64,
    /// Bytes of GPU memory that data may take; what is larger is streamed in chunks.
    pub data_budget: u64,
}

impl Run {
    /// A run over sets of trainable tensors and over frozen ones, without phases yet.
    ///
    /// # Errors
    /// As [`Scalars::beside_update`].
    pub fn new(sets: Vec<TensorSet>, constants: Vec<Tensor>) -> Result<Run> {
        let none: [&str; 0] = [];
        let tensors = Graph::with_sets(sets, constants).with_scalars(Scalars::beside_update(none)?);
        let starts = vec![Start::new(Values::Zero, 0); tensors.params.len()];
        Ok(Run { tensors, network: None, starts, ramps: vec![], phases: vec![], seed: 0, data_budget: 1 << 30 })
    }

    /// A run over the tensors of a spec, which start as a [`crate::Session`] of the run's seed would have them, in these sets
    /// without phases yet. Each set has a name and what is in it: tensors or layers by their names (`encoder.0`, `classifier`,
    /// `decoder`). What none of them names is in one more set, `rest`, after them.
    ///
    /// Its [`crate::train::Trainer`] has a model of the spec ([`crate::train::Trainer::model`]). Coefficients that have ramps
    /// ([`Spec::ramps`]) are scalars of the run, called by their place.
    ///
    /// # Errors
    /// As [`Spec::check`]; [`Error::Spec`] where a name is of no tensor, or a tensor is in two sets.
    pub fn of(spec: &Spec, sets: &[(&str, &[&str])]) -> Result<Run> {
        let network = Network::new(spec)?;
        let names: Vec<String> = network.params().iter().map(|tensor| tensor.name.clone()).collect();
        let mut taken = vec![false; names.len()];
        let mut groups: Vec<(String, Vec<usize>)> = vec![];
        for (set, members) in sets {
            let mut group = vec![];
            for member in *members {
                let is_in = |name: &str| {
                    name.strip_prefix(member).is_some_and(|rest| matches!(rest.chars().next(), None | Some('.')))
                };
                let found: Vec<usize> = (0..names.len()).filter(|&i| is_in(&names[i])).collect();
                if found.is_empty() {
                    return Err(Error::spec(format!("sets[{set:?}]"), format!("{member:?}"), names.join(", ")));
                }
                if let Some(&twice) = found.iter().find(|&&i| taken[i]) {
                    let found = format!("{:?} in two sets", names[twice]);
                    return Err(Error::spec(format!("sets[{set:?}]"), found, "each tensor once"));
                }
                found.iter().for_each(|&i| taken[i] = true);
                group.extend(found);
            }
            if group.is_empty() {
                return Err(Error::spec(format!("sets[{set:?}]"), "none", "at least one tensor"));
            }
            groups.push((set.to_string(), group));
        }
        let rest: Vec<usize> = (0..names.len()).filter(|&i| !taken[i]).collect();
        if !rest.is_empty() {
            groups.push(("rest".into(), rest));
        }
        let network = network.in_sets(groups);
        let ramps = network.ramps().iter().map(|(_, ramp, to)| (*ramp, *to)).collect();
        let (tensors, starts) = (network.tensors(), network.starts().to_vec());
        let network = Some(network);
        Ok(Run { tensors, network, starts, ramps, phases: vec![], seed: 0, data_budget: 1 << 30 })
    }

    /// The same with a second network beside: dense layers for rows of `input` columns, over a set of this name after those that
    /// are there, whose tensors start as the layers say and are called `name.0.weight`, `name.0.bias` and so on. It must be there
    /// before graphs of steps are begun.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the layer that cannot be, or where steps are there.
    pub fn with_player(mut self, name: &str, input: usize, layers: &[Layer]) -> Result<(Run, Player)> {
        if let Some(phase) = self.phases.first() {
            return Err(Error::spec("phases", format!("{:?}", phase.name), "none before the players are there"));
        }
        let tensors = Player::tensors(name, input, layers)?;
        let player = Player::new(Set(self.tensors.sets().count()), self.tensors.params.len(), layers);
        for layer in layers {
            for values in [Values::Weights(layer.init), Values::Zero] {
                // By a number of its own, so that it draws nothing that others do.
                self.starts.push(Start::new(values, self.starts.len()));
            }
        }
        self.tensors = self.tensors.with_set(TensorSet::new(name, tensors));
        Ok((self, player))
    }

    /// Of a run over the tensors of a spec: that spec among them, to build graphs with.
    ///
    /// # Errors
    /// [`Error::Spec`] where it is over sets of the caller's own alone.
    pub fn part(&self) -> Result<Part> {
        match &self.network {
            Some(network) => Part::new(network.spec(), &self.tensors, "", str::to_string),
            None => Err(Error::spec("run", "tensors of no spec", "a run over those of one: Run::of")),
        }
    }

    /// How a trainable tensor starts.
    pub(crate) fn set_start(&mut self, i: usize, start: Start) {
        self.starts[i] = start;
    }

    /// Whether any trainable tensor starts with anything but 0.
    pub(super) fn has_starts(&self) -> bool {
        self.starts.iter().any(|start| !start.is_zero())
    }

    /// What the trainable tensors start with.
    pub(super) fn initial(&self) -> Vec<Vec<f32>> {
        let each = self.starts.iter().zip(&self.tensors.params);
        each.map(|(start, tensor)| start.values(tensor, self.seed)).collect()
    }

    /// The same with a scalar of this name, which comes to its value by a ramp over each phase. Graphs read it by
    /// [`Graph::scalar`].
    ///
    /// # Errors
    /// [`Error::Spec`] where the name is taken, where there are too many, where the ramp ends before it begins, or the
    /// value or the ramp is not finite.
    pub fn scalar(mut self, name: &str, value: f64, ramp: Ramp) -> Result<Run> {
        if ![value, ramp.from].iter().all(|value| (*value as f32).is_finite()) {
            let found = format!("from {} to {value}", ramp.from);
            return Err(Error::spec(format!("ramps[{name:?}]"), found, "numbers that are finite in f32"));
        }
        ramp.check(name, value)?;
        let names = self.tensors.scalars().names().iter().map(String::as_str).chain([name]);
        self.tensors = self.tensors.clone().with_scalars(Scalars::new(names)?);
        self.ramps.push((ramp, value));
        Ok(self)
    }

    /// A graph over its tensors and scalars, without nodes: the beginning of a step's.
    pub fn graph(&self) -> Graph {
        self.tensors.clone()
    }

    /// Its scalars that have ramps, in the order of their columns, each with its own value.
    pub(super) fn ramps(&self) -> &[(Ramp, f64)] {
        &self.ramps
    }

    /// Its tensors, and a table that has room for all updates of a step.
    ///
    /// # Errors
    /// [`Error::Spec`] where these are too many.
    pub(super) fn tensors(&self) -> Result<Graph> {
        let steps = self.phases.iter().flat_map(|phase| &phase.steps);
        let updates = steps.flat_map(|step| step.updates.iter().enumerate());
        let scalars = beside(self.tensors.scalars(), updates.map(|(i, update)| update.reads(i)))?;
        Ok(self.tensors.clone().with_scalars(scalars))
    }

    /// Fails where two of its tensors have one name in a checkpoint.
    fn check_names(&self) -> Result<()> {
        let graph = &self.tensors;
        let sets: Vec<&str> = graph.sets().map(|set| graph.set_name(set)).collect();
        let frozen = graph.constants.iter().map(|tensor| tensor.name.as_str());
        if let Some(bad) = sets.iter().find(|name| name.contains(['/', ':'])) {
            return Err(Error::spec("sets", format!("{bad:?}"), "names without / and :"));
        }
        let lists = [("sets".to_string(), sets), ("constants".into(), frozen.collect())].into_iter();
        let members = |set: Set| graph.tensors(set).iter().map(|tensor| tensor.name.as_str()).collect();
        let lists = lists.chain(graph.sets().map(|set| (format!("sets[{:?}]", graph.set_name(set)), members(set))));
        for (place, names) in lists {
            let names: Vec<&str> = names;
            let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
            if let Some((_, name)) = twice {
                return Err(Error::spec(place, format!("{name:?} twice"), "names that differ"));
            }
        }
        Ok(())
    }

    /// Checks that it can be run.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the phase, the step, the update, what was found and what is allowed; [`Error::Shape`] where a
    /// graph is not sound.
    pub fn check(&self) -> Result<()> {
        if self.phases.is_empty() {
            return Err(Error::spec("phases", "none", "at least one"));
        }
        self.check_names()?;
        for (at, phase) in self.phases.iter().enumerate() {
            phase.check(self)?;
            if self.phases[..at].iter().any(|other| other.name == phase.name) {
                return Err(Error::spec("phases", format!("{:?} twice", phase.name), "names that differ"));
            }
        }
        self.tensors().map(drop)
    }
}
