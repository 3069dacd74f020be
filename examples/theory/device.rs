//! Running graphs on the GPU and reading what they give.

use nalgebra::DMatrix;
use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::state::State;
use strait::model::Purpose;
use strait::{Data, Decay, Gpu, Optimizer, Result, Schedule, Session, Spec, Training};

use super::linear::{matrix, narrow, values};
use super::outcome::Outcome;

/// What a graph reads.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// Batches from the caller, by number.
    pub inputs: Vec<Vec<f32>>,
    /// The resident data set: the rows of the batch.
    pub data: Vec<f32>,
    /// Trainable tensors.
    pub params: Vec<Vec<f32>>,
    /// Frozen tensors.
    pub constants: Vec<Vec<f32>>,
    /// The step, which random draws depend on.
    pub step: u32,
    /// Seeds random draws.
    pub seed: u64,
}

/// Runs a graph once on `rows` rows.
pub fn run(gpu: &Gpu, graph: &Graph, rows: usize, feed: &Feed) -> Result<Evaluator> {
    let evaluator = Evaluator::new(gpu, graph, rows)?;
    again(&evaluator, rows, feed)?;
    Ok(evaluator)
}

/// Runs what is compiled already on other values.
pub fn again(evaluator: &Evaluator, rows: usize, feed: &Feed) -> Result<()> {
    for (i, input) in feed.inputs.iter().enumerate() {
        evaluator.input(i, input)?;
    }
    if !feed.data.is_empty() {
        evaluator.data(&feed.data)?;
    }
    if !feed.params.is_empty() {
        evaluator.params(&feed.params)?;
    }
    if !feed.constants.is_empty() {
        evaluator.constants(&feed.constants)?;
    }
    evaluator.run(State { step: feed.step, ..State::once(rows, feed.seed) })
}

/// What one training step of a spec computes before its update.
#[derive(Clone, Debug)]
pub struct Step {
    /// The gradient of each trainable tensor, in the order of [`Network::params`].
    pub gradients: Vec<Vec<f32>>,
    /// The terms of the objective, by name.
    pub terms: Vec<(String, f64)>,
}

impl Step {
    /// The whole objective.
    pub fn objective(&self) -> f64 {
        self.terms.iter().map(|(_, value)| value).sum()
    }
}

/// Gradients and terms of a spec on one batch of all rows of `feed.data`.
pub fn step(gpu: &Gpu, spec: &Spec, feed: &Feed) -> Result<Step> {
    let network = Network::new(spec)?;
    let graph = network.graph(Purpose::Train, false)?;
    let rows = feed.data.len() / network.data_columns();
    let evaluator = run(gpu, &graph, rows, feed)?;
    let gradient = |i| evaluator.sink(Sink::Gradient(i), rows);
    let term = |(i, name): (usize, &String)| {
        let value = evaluator.sink(Sink::Term(i), rows)?;
        Ok((name.clone(), value[0].into()))
    };
    Ok(Step {
        gradients: (0..network.params().len()).map(gradient).collect::<Result<_>>()?,
        terms: graph.terms().iter().enumerate().map(term).collect::<Result<_>>()?,
    })
}

/// Trains on all rows at once, by gradient descent with momentum along half a cosine: what a convex-like problem needs
/// to be solved closely.
pub fn solve(gpu: &Gpu, spec: &Spec, rate: f64, steps: u64, seed: u64, data: &Data) -> Result<Session> {
    let training = Training {
        optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: false },
        schedule: Schedule { warm_up: 0, decay: Decay::Cosine { steps: None } },
        learning_rate: rate,
        batch: data.rows(),
        epochs: steps,
        shuffle: false,
        seed,
        ..Training::default()
    };
    let mut session = Session::new(gpu, spec, training)?;
    session.fit(data)?;
    Ok(session)
}

/// A trainable tensor of a session as a matrix; a bias is one row.
pub fn parameter(session: &Session, name: &str) -> Outcome<DMatrix<f64>> {
    let at = session.tensors().iter().position(|t| t.name == name).ok_or_else(|| format!("no tensor {name}"))?;
    Ok(matrix(&session.parameters()?[at], session.tensors()[at].shape.columns()))
}

/// A matrix as a data set.
pub fn data(m: &DMatrix<f64>) -> Result<Data> {
    Data::from_rows(m.ncols(), narrow(&values(m)))
}
