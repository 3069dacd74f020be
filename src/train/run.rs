//! Runs as plain data: phases one after the other, in a phase steps that take turns, in a step one graph and its updates.

use std::collections::BTreeSet;

use super::averages::check_decay;
use super::numbers::{Reads, UpdateRamps, beside};
use super::{Optimizer, Schedule};
use crate::error::{Error, Result, positive};
use crate::graph::{Arena, Graph, Kept, Kind, Op, Scalars, Set, Shape, Sink, Tensor, TensorSet};
use crate::kernel::TERMS;
use crate::model::{Layer, Network, Part, Player, Ramp, Spec, Start, Values};

/// The most updates of a phase that train one set.
const PLAYERS: usize = 16;

/// The most steps of a turn: a submit holds a whole turn.
const MOST: u64 = Scalars::FEWEST as u64;

/// What is trained, and how: tensors in sets, and phases one after the other.
#[derive(Clone, Debug)]
pub struct Run {
    tensors: Graph,
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

/// A part of a run: steps that take turns over the data.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// The steps of a turn, in order. All of a turn see the same rows; the next turn sees the next ones.
    pub steps: Vec<Step>,
    /// Rows of a turn; no more than the data has.
    pub batch: usize,
    /// Passes over the data.
    pub epochs: u64,
    /// Leaves out the last rows of an epoch where they are fewer.
    pub drop_last: bool,
    /// The smallest and the largest value that data may have, give or take 1e-6: where it is given, loading looks at all rows and
    /// refuses others. What is pushed into a [`crate::train::Ring`] later is not looked at.
    pub range: Option<[f32; 2]>,
    /// Whose rows these are, where they are a spec's: its features and then its labels where it has some. Loading checks them as
    /// [`crate::Session::load`] does.
    #[doc(hidden)]
    pub rows_of: Option<Network>,
    /// What the rows are trained on as: a graph that gathers them in order and gives each to [`Sink::Output`] 0, with
    /// the tensors as they are when the phase is loaded. So codes of a part that stays as it is are computed once, and
    /// not in every epoch. Those of rows that exceed the budget are computed again with each chunk.
    pub cached: Option<Graph>,
}

/// A graph, and what is done with its gradients.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name, under which its terms are reported.
    pub name: String,
    /// Terms, which are reported, and gradients of tensors.
    pub graph: Graph,
    /// Updates of sets. What no update names keeps every bit.
    pub updates: Vec<Update>,
    /// Sets that are state: each of their tensors becomes, after the step, what the graph gives to its [`Sink::Gradient`].
    /// Means that run along, chains of samples, counts. It is watched as gradients are, so its squares must be finite in f32.
    pub state: Vec<Set>,
    /// How often it is taken in a turn.
    pub repeat: u64,
}

/// How sets of tensors follow their gradients. Moments, and Adam's corrections of them, are an update's own and start
/// with its phase: where two steps train a set, each has moments of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Which sets.
    pub sets: Vec<Set>,
    /// How they follow.
    pub optimizer: Optimizer,
    /// The learning rate before its schedule.
    pub learning_rate: f64,
    /// How the learning rate changes; its steps are updates of this kind, from the start of the phase.
    pub schedule: Schedule,
    /// The largest norm of the gradients of all these sets together.
    pub clip_norm: Option<f64>,
    /// How its other numbers change over the phase.
    pub ramps: UpdateRamps,
    /// The decay of averages of these sets, where they are kept: as [`crate::Training::average`]. They begin with the
    /// phase; [`crate::train::Trainer::average`] reads them.
    pub average: Option<f64>,
}

impl Update {
    /// Adam of these sets with a learning rate, neither scheduled nor clipped.
    pub fn adam(sets: impl Into<Vec<Set>>, learning_rate: f64) -> Update {
        let (optimizer, schedule, ramps) = (Optimizer::ADAM, Schedule::default(), UpdateRamps::default());
        Update { sets: sets.into(), optimizer, learning_rate, schedule, clip_norm: None, ramps, average: None }
    }

    /// The graph of one of its updates, where it is the i-th of its step and has these moments of its sets.
    pub(super) fn graph(&self, tensors: &Graph, i: usize, moments: &[u8]) -> Result<Graph> {
        self.optimizer.update_reading(tensors, &self.sets, moments, self.clip_norm, self.average, &self.reads(i))
    }

    /// What it keeps of a set whose moments of a number are its own.
    pub(super) fn kept(&self, own: u8) -> impl Iterator<Item = Kept> {
        let (first, second) = self.optimizer.moments();
        let average = self.average.is_some();
        let wanted =
            [(Kept::Gradients, true), (Kept::First(own), first), (Kept::Second(own), second), (Kept::Average, average)];
        wanted.into_iter().filter_map(|(kept, wanted)| wanted.then_some(kept))
    }

    /// What it reads of the table, where it is the i-th of its step.
    pub(super) fn reads(&self, i: usize) -> Reads {
        Reads::new(i, self.ramps)
    }

    /// Checks it, as a part of `place`.
    fn check(&self, place: &str, tensors: &Graph) -> Result<()> {
        let inside = |error: Error| error.inside(place);
        positive("learning_rate", self.learning_rate).map_err(inside)?;
        self.clip_norm.map_or(Ok(()), |norm| positive("clip_norm", norm)).map_err(inside)?;
        self.optimizer.check().and(self.schedule.check()).and(check_decay(self.average)).map_err(inside)?;
        self.ramps.check(&self.optimizer, self.clip_norm).map_err(inside)?;
        if self.schedule.decay.looks() {
            let allowed = "one that goes by steps: a phase looks at no validation rows";
            return Err(inside(Error::spec("schedule.decay", "a plateau", allowed)));
        }
        if self.sets.is_empty() {
            return Err(Error::spec(format!("{place}.sets"), "none", "at least one"));
        }
        known(&format!("{place}.sets"), &self.sets, tensors)
    }
}

/// How a graph reads rows of the data: columns of one, and whether they are shuffled.
fn reads(graph: &Graph) -> impl Iterator<Item = (usize, bool)> {
    graph.nodes().filter_map(|(_, node)| match node.op {
        Op::Gather { shuffled } => Some((node.shape.columns(), shuffled)),
        _ => None,
    })
}

/// What graphs of a run must be.
const BEGUN: &str = "one that was begun by Run::graph";

/// An error about a graph, with where in a run that is.
fn within(place: &str, error: Error) -> Error {
    match error {
        Error::Shape { op, left, right } => Error::Shape { op: format!("{place}: {op}"), left, right },
        Error::Spec { field, value, allowed } => Error::Spec { field: format!("{place}: {field}"), value, allowed },
        other => other,
    }
}

/// Fails where one of some sets is not there.
fn known(place: &str, sets: &[Set], tensors: &Graph) -> Result<()> {
    let known = tensors.sets().count();
    match sets.iter().find(|set| set.0 >= known) {
        None => Ok(()),
        Some(set) => Err(Error::spec(place, set.0, format!("below {known}"))),
    }
}

impl Step {
    /// A step that is taken once in a turn.
    pub fn new(name: impl Into<String>, graph: Graph, updates: impl Into<Vec<Update>>) -> Step {
        Step { name: name.into(), graph, updates: updates.into(), state: vec![], repeat: 1 }
    }

    /// The sets that it changes.
    fn changes(&self) -> impl Iterator<Item = Set> {
        self.updates.iter().flat_map(|update| &update.sets).chain(&self.state).copied()
    }

    /// Checks it, as a part of `place`.
    fn check(&self, place: &str, run: &Run) -> Result<()> {
        let Step { name, graph, updates, state, repeat } = self;
        let place = format!("{place}.steps[{name:?}]");
        if name.is_empty() {
            return Err(Error::spec(format!("{place}.name"), "\"\"", "a name"));
        }
        if *repeat == 0 {
            return Err(Error::spec(format!("{place}.repeat"), 0, "1 or more"));
        }
        graph.check().map_err(|error| within(&format!("{place}.graph"), error))?;
        if !graph.is_over(&run.tensors) {
            let found = "a graph over other tensors or scalars";
            return Err(Error::spec(format!("{place}.graph"), found, BEGUN));
        }
        for (_, node) in graph.nodes() {
            let (found, allowed) = match node.op {
                Op::Input(i) => (format!("input {i}, which nobody writes"), "rows of the data: Graph::gather"),
                Op::Arena(Arena { kept, .. }) if kept != Kept::Values => {
                    (format!("{kept} of a set"), "tensors, and values of sets")
                }
                _ => continue,
            };
            return Err(Error::spec(format!("{place}.graph"), found, allowed));
        }
        if graph.terms().len() > TERMS {
            return Err(Error::spec(format!("{place}.graph: terms"), graph.terms().len(), format!("at most {TERMS}")));
        }
        if let Some((Sink::Update(arena), _)) = graph.sinks().iter().find(|(sink, _)| matches!(sink, Sink::Update(_))) {
            let found = format!("an update of {:?}", run.tensors.set_name(arena.set));
            return Err(Error::spec(
                format!("{place}.graph"),
                found,
                "gradients and terms: updates follow a step's end",
            ));
        }
        for (at, update) in updates.iter().enumerate() {
            let place = format!("{place}.updates[{at}]");
            update.check(&place, &run.tensors)?;
            self.check_sinks(&format!("{place}.sets"), &update.sets, run)?;
        }
        let sets: Vec<Set> = updates.iter().flat_map(|update| &update.sets).copied().collect();
        if let Some((_, &set)) = sets.iter().enumerate().find(|(at, set)| sets[..*at].contains(set)) {
            let found = format!("{:?} twice", run.tensors.set_name(set));
            return Err(Error::spec(
                format!("{place}.updates"),
                found,
                "a set once in a step: other steps may train it, too",
            ));
        }
        known(&format!("{place}.state"), state, &run.tensors)?;
        self.check_sinks(&format!("{place}.state"), state, run)
    }

    /// Fails where the graph gives nothing to a tensor of some sets.
    fn check_sinks(&self, place: &str, sets: &[Set], run: &Run) -> Result<()> {
        let given = |tensor: usize| self.graph.sinks().iter().any(|(sink, _)| *sink == Sink::Gradient(tensor));
        let mut tensors = sets.iter().flat_map(|&set| run.tensors.members(set));
        match tensors.find(|&tensor| !given(tensor)) {
            None => Ok(()),
            Some(tensor) => {
                let (name, allowed) = (&run.tensors.params[tensor].name, "Sink::Gradient of every tensor of its sets");
                Err(Error::spec(place, format!("{name} without one"), allowed))
            }
        }
    }
}

impl Phase {
    /// A phase of 10 epochs with 128 rows a turn.
    pub fn new(name: impl Into<String>, steps: impl Into<Vec<Step>>) -> Phase {
        let (name, steps) = (name.into(), steps.into());
        Phase { name, steps, batch: 128, epochs: 10, drop_last: false, range: None, rows_of: None, cached: None }
    }

    /// Columns of a row that it is given.
    pub(super) fn columns(&self) -> usize {
        let own = |graph: &Graph| reads(graph).next().map(|(columns, _)| columns);
        match &self.cached {
            Some(graph) => own(graph).unwrap_or(0),
            None => self.reads().next().map_or(0, |(columns, _)| columns),
        }
    }

    /// How many updates the average of a set has seen in so many of its steps.
    pub(super) fn averaged(&self, set: Set, steps: u64) -> u64 {
        let averages = |update: &Update| update.average.is_some() && update.sets.contains(&set);
        let which = self.steps.iter().position(|step| step.updates.iter().any(averages));
        which.map_or(0, |which| taken(&turn(&self.steps), which, steps))
    }

    /// How its steps read their rows: columns of one, and whether they come in a fresh order each epoch.
    pub(super) fn reads(&self) -> impl Iterator<Item = (usize, bool)> {
        self.steps.iter().flat_map(|step| reads(&step.graph))
    }

    /// Checks what rows are trained on as: columns of a row, where that is something else than they are.
    fn check_cached(&self, place: &str, run: &Run) -> Result<Option<usize>> {
        let Some(graph) = &self.cached else { return Ok(None) };
        let place = format!("{place}.cached");
        let refuse = |found: String, allowed: &str| Err(Error::spec(&place, found, allowed));
        graph.check().map_err(|error| within(&place, error))?;
        if !graph.is_over(&run.tensors) {
            return refuse("a graph over other tensors or scalars".into(), BEGUN);
        }
        let changing: Vec<Set> = self.steps.iter().flat_map(Step::changes).collect();
        let changes = |set: Set| changing.contains(&set);
        let needed = graph.needed();
        for (id, node) in graph.nodes().filter(|(id, _)| needed.contains(id)) {
            let random = |kind: &Kind| matches!(kind, Kind::Random(..));
            match &node.op {
                Op::Param(i) if run.tensors.set_of(*i).is_some_and(changes) => {
                    let found = format!("{}, which the phase changes", run.tensors.params[*i].name);
                    return refuse(found, "tensors that stay as they are");
                }
                Op::Arena(Arena { set, kept }) if changes(*set) || *kept != Kept::Values => {
                    return refuse(
                        format!("{kept} of {:?}", run.tensors.set_name(*set)),
                        "tensors that stay as they are",
                    );
                }
                Op::Table(_) => return refuse("a scalar, which changes".into(), "what stays as it is"),
                Op::Map { expr, .. } if expr.any(&random) => {
                    return refuse(format!("{}, which draws", graph.describe(id)), "no random numbers");
                }
                Op::Gather { shuffled: true } => return refuse("shuffled rows".into(), "rows in order"),
                Op::Input(i) => return refuse(format!("input {i}, which nobody writes"), "Graph::gather"),
                _ => {}
            }
        }
        match graph.sinks() {
            [(Sink::Output(0), id)] => match graph.shape(*id) {
                Shape { batched: true, dims } if dims.len() == 1 => Ok(Some(dims[0])),
                shape => refuse(format!("rows of the shape {shape}"), "[batch, columns]"),
            },
            sinks => refuse(format!("{} results", sinks.len()), "one, Sink::Output(0)"),
        }
    }

    fn check(&self, run: &Run) -> Result<()> {
        let place = format!("phases[{:?}]", self.name);
        let cached = self.check_cached(&place, run)?;
        if self.batch == 0 {
            return Err(Error::spec(format!("{place}.batch"), 0, "1 or more"));
        }
        if let Some([low, high]) =
            self.range.filter(|[low, high]| !(low.is_finite() && high.is_finite() && low <= high))
        {
            return Err(Error::spec(
                format!("{place}.range"),
                format!("{low} to {high}"),
                "from a finite number to no smaller one",
            ));
        }
        if self.steps.is_empty() {
            return Err(Error::spec(format!("{place}.steps"), "none", "at least one"));
        }
        for (at, step) in self.steps.iter().enumerate() {
            step.check(&place, run)?;
            if self.steps[..at].iter().any(|other| other.name == step.name) {
                return Err(Error::spec(
                    format!("{place}.steps"),
                    format!("{:?} twice", step.name),
                    "names that differ",
                ));
            }
        }
        let turn = self.steps.iter().fold(0u64, |sum, step| sum.saturating_add(step.repeat));
        if turn > MOST {
            return Err(Error::spec(format!("{place}.steps"), turn, format!("at most {MOST} in a turn")));
        }
        let trained: Vec<Set> =
            self.steps.iter().flat_map(|step| &step.updates).flat_map(|update| &update.sets).copied().collect();
        for &set in &trained {
            let name = run.tensors.set_name(set);
            let times = trained.iter().filter(|&&other| other == set).count();
            if times > PLAYERS {
                let found = format!("{name:?} in {times} of its updates");
                return Err(Error::spec(format!("{place}.steps"), found, format!("at most {PLAYERS}")));
            }
            let updates = self.steps.iter().flat_map(|step| &step.updates);
            let averages = updates.filter(|update| update.average.is_some() && update.sets.contains(&set)).count();
            if averages > 1 {
                let found = format!("averages of {name:?} in {averages} of its updates");
                return Err(Error::spec(format!("{place}.steps"), found, "in one of them"));
            }
        }
        if let Some(set) = self.steps.iter().flat_map(|step| &step.state).find(|set| trained.contains(set)) {
            let found = format!("{:?} is trained, too", run.tensors.set_name(*set));
            return Err(Error::spec(format!("{place}.steps (state)"), found, "sets that no update names"));
        }
        let mut reads = self.reads();
        let Some(first) = reads.next() else {
            return Err(Error::spec(
                format!("{place}.steps"),
                "graphs that read no data",
                "Graph::gather in one of them",
            ));
        };
        if let Some(columns) = cached.filter(|&columns| columns != first.0) {
            let found = format!("rows of {} columns", first.0);
            return Err(Error::spec(format!("{place}.steps"), found, format!("{columns}, as cached")));
        }
        match reads.find(|other| *other != first) {
            None => Ok(()),
            Some(other) => {
                let found = format!("rows of {} columns, shuffled: {}", other.0, other.1);
                let allowed = format!("the same rows for all: of {} columns, shuffled: {}", first.0, first.1);
                Err(Error::spec(format!("{place}.steps"), found, allowed))
            }
        }
    }
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

/// What some steps need to be kept of the tensors: gradients, moments and averages of what their updates train, and what their
/// state becomes.
pub(super) fn keeps(steps: &[Step]) -> BTreeSet<Arena> {
    let of_step = |which: usize| {
        let updates = steps[which].updates.iter().zip(moments(steps, which));
        let of_update = |(update, own): (&Update, Vec<u8>)| {
            let of_set = |(set, own): (&Set, u8)| update.kept(own).map(|kept| set.arena(kept)).collect::<Vec<_>>();
            update.sets.iter().zip(own).flat_map(of_set).collect::<Vec<_>>()
        };
        let state = steps[which].state.iter().map(|set| set.arena(Kept::Gradients));
        updates.flat_map(of_update).chain(state).collect::<Vec<_>>()
    };
    (0..steps.len()).flat_map(of_step).collect()
}

/// Which moments of its sets each update of a step has, the `which`-th of these: those of the first update of the phase that
/// trains the set, of the second, and so on.
pub(super) fn moments(steps: &[Step], which: usize) -> Vec<Vec<u8>> {
    let before = |set: &Set| {
        let updates = steps[..which].iter().flat_map(|step| &step.updates);
        updates.filter(|update| update.sets.contains(set)).count() as u8
    };
    steps[which].updates.iter().map(|update| update.sets.iter().map(before).collect()).collect()
}

/// The steps of a turn in the order in which they are taken, each by its number.
pub(super) fn turn(steps: &[Step]) -> Vec<usize> {
    steps.iter().enumerate().flat_map(|(i, step)| std::iter::repeat_n(i, step.repeat as usize)).collect()
}

/// How often the step of a number was taken in so many steps of such turns.
pub(super) fn taken(turn: &[usize], which: usize, steps: u64) -> u64 {
    let (turns, at) = (steps / turn.len() as u64, (steps % turn.len() as u64) as usize);
    let among = |steps: &[usize]| steps.iter().filter(|&&other| other == which).count() as u64;
    turns * among(turn) + among(&turn[..at])
}
