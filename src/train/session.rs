//! The session: a model on the GPU, ready to be trained and used.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::Engine;
use super::evaluate::Evaluation;
use super::feed::{Feed, Part};
use super::infer::Inference;
use super::progress::Best;
use super::resident::Resident;
use super::run::{Step, Update};
use super::table::Table;

use super::{EarlyStopping, Training};
use crate::data::{Fixed, Source};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Wait};
use crate::graph::{Graph, Kept, Op, Tensor};
use crate::model::{Corruption, Network, Precision, Purpose, Scaling, Spec};
use crate::plan::{Role, Tuning};

/// A model on the GPU. Everything it learns stays there; the host sends commands and reads reports.
///
/// ```no_run
/// use strait::{data, Activation, Gpu, Session, Spec, Training};
///
/// let (train, test) = data::digits()?.split_at(1500)?;
/// let spec = Spec::symmetric(&[64, 256, 8], Activation::Elu);
/// let mut session = Session::new(&Gpu::new()?, &spec, Training { epochs: 20, ..Training::default() })?;
/// session.fit(&train)?;
/// let codes = session.encode(test.values())?;
/// assert_eq!(codes.len(), test.rows() * 8);
/// # Ok::<(), strait::Error>(())
/// ```
pub struct Session {
    pub(super) network: Network,
    /// The network's tensors on the GPU.
    pub(super) resident: Resident,
    pub(super) training: Training,
    /// Whether the frozen tensors are known: the scaling of the input, and what its corruption needs.
    pub(super) scaled: bool,
    /// Steps submitted.
    pub(super) step: u64,
    /// The step at which the current run started: 0, unless it follows another.
    pub(super) start: u64,
    /// Whether the current run has come to its end, so that loading data begins another.
    pub(super) over: bool,
    /// The rows that the current run trains on, where it is known: it is a run over so many.
    pub(super) rows: Option<u64>,
    /// Whether an epoch has ended without the look at the validation rows that belongs to it.
    pub(super) look: bool,
    /// What early stopping has seen so far.
    pub(super) best: Best,
    /// Whether steps were submitted of which nobody has read how they ended.
    pub(super) unread: bool,
    /// What takes its steps, once data is loaded.
    pub(super) engine: Option<Engine>,
    pub(super) inference: BTreeMap<Purpose, Inference>,
    /// The tiles that were measured.
    pub(super) tuning: Arc<Tuning>,
}

/// Rows from anywhere.
type Rows = Arc<dyn Source>;

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spec = self.network.spec();
        f.debug_struct("Session").field("gpu", self.gpu()).field("spec", spec).field("step", &self.step).finish()
    }
}

impl Session {
    /// A model with fresh weights, a function of spec and seed.
    ///
    /// # Errors
    /// As [`Spec::check`] and [`Training::check`]; [`Error::Limit`] where the adapter cannot hold the model.
    pub fn new(gpu: &Gpu, spec: &Spec, training: Training) -> Result<Session> {
        let session = Session::blank(gpu, spec, training)?;
        for i in 0..session.network.params().len() {
            session.resident.write(Kept::Values, i, &session.network.initial_of(i, training.seed))?;
        }
        Ok(session)
    }

    /// The same before anything is written into the parameters, which are 0.
    pub(super) fn blank(gpu: &Gpu, spec: &Spec, training: Training) -> Result<Session> {
        training.check()?;
        if spec.precision == Precision::F16 && !gpu.limits().f16 {
            return Err(Error::spec("precision", "f16", "f32 on a device without the feature SHADER_F16"));
        }
        let network = Network::new(spec)?.within(gpu.limits().binding_bytes);
        let resident = Resident::new(gpu, network.tensors())?;
        let scaled = network.constants().is_empty();
        let mut session = Session {
            network,
            resident,
            training,
            scaled,
            step: 0,
            start: 0,
            over: false,
            rows: None,
            look: false,
            best: Best::default(),
            unread: false,
            engine: None,
            inference: BTreeMap::new(),
            tuning: Arc::default(),
        };
        // What a spec says itself need not be learned.
        if let (Scaling::None, Corruption::Missing { keep }) = (spec.scaling, &spec.corruption) {
            session.set_constants(&[keep.iter().map(|&k| f32::from(u8::from(k))).collect()])?;
        }
        Ok(session)
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        self.network.spec()
    }

    /// The training options.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.resident.gpu
    }

    /// Steps submitted so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// The trainable tensors by name: `encoder.0.weight` `[in, out]`, `encoder.0.bias` `[out]` and so on.
    pub fn tensors(&self) -> &[Tensor] {
        self.network.params()
    }

    /// Reads the trainable tensors back, row-major, in the order of [`Session::tensors`].
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceLost`].
    pub fn parameters(&self) -> Result<Vec<Vec<f32>>> {
        self.resident.read_all(Kept::Values)
    }

    /// Reads one trainable tensor back, row-major, by its name.
    ///
    /// ```no_run
    /// # use strait::{Activation, Gpu, Session, Spec, Training};
    /// # let session = Session::new(&Gpu::new()?, &Spec::symmetric(&[64, 8], Activation::Elu), Training::default())?;
    /// let weights = session.parameter("encoder.0.weight")?;
    /// assert_eq!(weights.len(), 64 * 8);
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] where there is none of this name; [`Error::Device`] or [`Error::DeviceLost`].
    pub fn parameter(&self, name: &str) -> Result<Vec<f32>> {
        let tensors = self.network.params();
        let Some(at) = tensors.iter().position(|tensor| tensor.name == name) else {
            let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            return Err(Error::data("parameter", format!("{name:?}"), names.join(", ")));
        };
        self.resident.read(Kept::Values, at)
    }

    /// Replaces the trainable tensors, row-major, in the order of [`Session::tensors`]. What early stopping has seen
    /// was of other parameters and is forgotten.
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong or one is not finite.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.resident.write_all(Kept::Values, "parameters", values)?;
        (self.best, self.look) = (Best::default(), false);
        Ok(())
    }

    /// The network.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// What every program of this session shares, for one that runs `graph`.
    pub(crate) fn buffers(&self, graph: &Graph) -> Result<&BTreeMap<Role, Buffer>> {
        self.check_known(graph)?;
        Ok(&self.resident.shared)
    }

    /// The number of rows in `values`, which must be whole and finite.
    pub(crate) fn check_rows(&self, values: &[f32], width: usize, what: &str) -> Result<usize> {
        if values.is_empty() || !values.len().is_multiple_of(width) {
            let allowed = format!("whole rows of {width} values, at least one");
            return Err(Error::data(what, format!("{} values", values.len()), allowed));
        }
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values.len() / width),
            Some(at) => {
                let place = format!("{what}: row {}, column {}", at / width, at % width);
                Err(Error::data(place, values[at], "a finite number"))
            }
        }
    }

    pub(super) fn set_constants(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.resident.set_constants(values)?;
        self.scaled = true;
        Ok(())
    }

    /// Makes data ready to be trained on: learns the scaling where it is not known yet, holds out validation rows,
    /// and compiles the training step. [`Session::fit`] does this by itself; call it before [`Session::step`]. Steps
    /// that are under way come to their end first; behind a run that has come to its end, another begins. So it does
    /// behind a run that was broken off over another number of rows, since its steps and epochs were those of other
    /// data; a warning in the log says so.
    ///
    /// # Errors
    /// [`Error::Data`] where the data does not fit the model, [`Error::Limit`] where the device cannot hold it;
    /// [`Error::Diverged`] where one of the steps under way went bad. It is told once: loading again goes on from there.
    pub fn load(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<()> {
        pollster::block_on(self.ready(data.into(), Wait::Block))
    }

    /// [`Session::load`], blocking or not.
    pub(super) async fn ready(&mut self, source: Rows, how: Wait) -> Result<()> {
        let source: Rows = Arc::new(Fixed::new(source));
        self.check_shape(&*source)?;
        let (train, validation) = self.hold_out(source.clone())?;
        let constants = if self.scaled { self.resident.constants()? } else { self.learn_constants(&*train)? };
        self.check_labels(&*source)?;
        // Rows that are held out may lie outside what the loss is made for, and cost more for it.
        self.check_range(&*train, &constants)?;
        self.settle(how).await?;
        self.engine = None;
        for penalty in &self.spec().penalties {
            if let Some(method) = penalty.method(self.spec()) {
                log::info!("the {} penalty is computed by {method:?}", penalty.name());
            }
        }
        let (rows, begun) = (train.rows() as u64, self.step > self.start && !self.over);
        let other = self.rows.filter(|&of| begun && of != rows);
        let anew = self.over || other.is_some();
        let start = if anew { self.step } else { self.start };
        let mut feed = Feed::new(self.gpu(), train, &self.training, start)?;
        feed.seek(self.step);
        if let Some(of) = other {
            let done = self.step - self.start;
            log::warn!("{done} steps into a run over {of} rows, {rows} rows were loaded: another run begins");
        }
        if anew {
            (self.start, self.best, self.over, self.look) = (start, Best::default(), false, false);
        }
        self.rows = Some(rows);
        if self.training.early_stopping.is_some() {
            self.resident.tensors.sets().try_for_each(|set| self.resident.keep(set, Kept::Best))?;
        }
        let steps = [self.training_step()?];
        let epochs = feed.steps_per_epoch().saturating_mul(self.training.epochs);
        let ramps = self.network.ramps().iter().map(|(_, ramp, to)| (*ramp, *to)).collect();
        let (table, scalars) = (self.resident.buffer(Role::Table)?, self.network.scalars());
        let table = Table::new(table, scalars, &steps, ramps, [start, epochs.saturating_add(start)])?;
        let target = self.step_target(&feed);
        let mut engine = Engine::new(&mut self.resident, feed, &steps, table, &target, self.step)?;
        engine.validation = validation.map(|rows| Evaluation::new(self, rows)).transpose()?;
        self.engine = Some(engine);
        if !self.scaled {
            self.set_constants(&constants)?;
        }
        if self.look {
            // Of the epoch that had just ended when the run was broken off.
            self.validate(how).await?;
        }
        Ok(())
    }

    /// Its training as a step: the graph of its objective, and the update of all its sets.
    pub(super) fn training_step(&self) -> Result<Step> {
        let Training { optimizer, learning_rate, schedule, clip_norm, shuffle, .. } = self.training;
        let graph = self.network.graph(Purpose::Train, shuffle)?;
        let update = Update { sets: graph.sets().collect(), optimizer, learning_rate, schedule, clip_norm };
        Ok(Step::new("", graph, [update]))
    }

    /// Fails where there are no rows, or none that fit the model.
    pub(super) fn check_shape(&self, source: &dyn Source) -> Result<()> {
        let wanted = self.network.data_columns();
        if source.columns() != wanted {
            let classes = wanted - self.spec().input;
            let beside =
                if classes > 0 { format!(" and its {classes} classes (Data::labelled)") } else { String::new() };
            let allowed = format!("{wanted}, the width of the model's input{beside}");
            return Err(Error::data(format!("{}: columns", source.name()), source.columns(), allowed));
        }
        if source.rows() == 0 {
            return Err(Error::data(format!("{}: rows", source.name()), 0, "1 or more"));
        }
        Ok(())
    }

    /// Fails where a graph reads a frozen tensor that is not learned yet. What a corruption needs is read by no graph
    /// that corrupts nothing.
    pub(super) fn check_known(&self, graph: &Graph) -> Result<()> {
        if self.scaled {
            return Ok(());
        }
        let read = graph.nodes().filter_map(|(_, node)| match node.op {
            Op::Constant(i) => self.network.constants().get(i).map(|tensor| tensor.name.as_str()),
            _ => None,
        });
        // Where both are missing, the scaling tells what the ends are of.
        let place = match read.min_by_key(|name| matches!(*name, "input.low" | "input.high")) {
            None => return Ok(()),
            Some("input.low" | "input.high") => "smallest and largest training value (corruption: salt_and_pepper)",
            Some(_) => "input scaling",
        };
        Err(Error::data(place, "unknown", "one that was learned from data: call fit or load first"))
    }

    /// Training rows, and validation rows where some are held out.
    fn hold_out(&self, source: Rows) -> Result<(Rows, Option<Rows>)> {
        let Some(EarlyStopping { validation, .. }) = self.training.early_stopping else { return Ok((source, None)) };
        let rows = source.rows();
        let held = ((rows as f64 * validation).round() as usize).max(1);
        if held >= rows {
            let name = format!("{}: rows", source.name());
            return Err(Error::data(name, rows, "enough to hold some out for validation"));
        }
        let part = |first, rows| Arc::new(Part { source: source.clone(), first, rows }) as Rows;
        Ok((part(0, rows - held), Some(part(rows - held, held))))
    }
}
