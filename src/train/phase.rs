//! Phases of runs as plain data: steps that take turns, in a step one graph and its updates.

use std::collections::BTreeSet;

use super::averages::check_decay;
use super::numbers::{Reads, UpdateRamps};
use super::{Optimizer, Run, Schedule};
use crate::error::{Error, Result, positive};
use crate::graph::{Arena, Graph, Kept, Kind, Op, Scalars, Set, Shape, Sink};
use crate::kernel::TERMS;
use crate::model::Network;

/// The most updates of a phase that train one set.
const PLAYERS: usize = 16;

/// The most steps of a turn: a submit holds a whole turn.
const MOST: u64 = Scalars::FEWEST as u64;

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
    /// Whether its graphs are not the caller's, so that a weight of a row is no column like the others: loading refuses rows with
    /// weights, as it does where they are a spec's.
    #[doc(hidden)]
    pub unweighted: bool,
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
        let terms = graph.terms();
        if terms.len() > TERMS {
            return Err(Error::spec(format!("{place}.graph: terms"), terms.len(), format!("at most {TERMS}")));
        }
        if let Some((_, name)) = terms.iter().enumerate().find(|(at, name)| terms[..*at].contains(name)) {
            let found = format!("{name:?} twice");
            return Err(Error::spec(format!("{place}.graph: terms"), found, "names that differ"));
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
        let (range, rows_of, cached) = (None, None, None);
        Phase { name, steps, batch: 128, epochs: 10, drop_last: false, range, rows_of, unweighted: false, cached }
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

    pub(super) fn check(&self, run: &Run) -> Result<()> {
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
