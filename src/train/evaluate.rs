//! Evaluating: the mean of every term of the objective over rows, nothing corrupted. What it needs is made once, so
//! that looking at the validation rows after every epoch makes nothing new.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::feed::{Feed, fitting, of_rows};
use super::scaling::check_labels;
use super::table::Table;
use super::{Objective, Session, Training};
use crate::data::{Fixed, Source};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::{Buffer, FEWEST, Gpu, Paced, Program, Readback, Wait, Work, apart};
use crate::inference::{Model, halving};
use crate::kernel::{RING, TERMS};
use crate::model::{Network, Purpose};
use crate::plan::{AdapterKind, Recording, Role, Target};

/// Rows of a batch, where so many fit.
const ROWS: usize = 1024;

/// Operations of a product in about 4 ms on software adapters, of two cores,
const SOFTWARE: u64 = 1 << 27;

/// and on hardware adapters, of a processor's own.
const HARDWARE: u64 = 1 << 32;

/// Batches in one submit at most.
const STEPS: u64 = RING as u64 / 4;

/// Rows and the compiled objective.
pub(super) struct Evaluation {
    feed: Feed,
    rows: u64,
    state: Buffer,
    ring: Buffer,
    programs: [Program; 2],
    readback: Readback,
    /// What keeps submits short, where the device is shared.
    paced: Option<Paced>,
    terms: Vec<String>,
}

impl Session {
    /// The mean objective over the rows of `data`, term by term, without noise. A penalty of a unit's mean activity
    /// takes that mean over up to 1,024 rows at a time. Rows beyond what the loss is made for cost more for it, as
    /// [`crate::Loss`] says. Where a term is not finite in some row, its mean and the whole objective are not finite
    /// either; the other terms are still the means over all rows.
    ///
    /// On an adopted device it leaves the queue to the host about every 4 ms, and computes fewer rows at a time where the model is
    /// large, but for the sake of a mean activity: a mean over the same rows may then differ in its last digits from that on a
    /// device of strait's own. On one device it is the same to the bit.
    ///
    /// ```no_run
    /// # fn show(session: &mut strait::Session, test: &strait::Data) -> strait::Result<()> {
    /// let found = session.evaluate(test)?;
    /// println!("{} in all", found.loss);
    /// for (term, value) in &found.terms {
    ///     println!("{term}: {value}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] where the data does not fit the model, or the scaling of its input is not known yet.
    pub fn evaluate(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<Objective> {
        pollster::block_on(self.evaluate_with(data.into(), Wait::Block))
    }

    /// As [`Session::evaluate`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Session::evaluate`].
    pub async fn evaluate_async(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<Objective> {
        self.evaluate_with(data.into(), Wait::Await).await
    }

    async fn evaluate_with(&mut self, data: Arc<dyn Source>, how: Wait) -> Result<Objective> {
        let data: Arc<dyn Source> = Arc::new(Fixed::new(data));
        self.check_shape(&*data, false)?;
        let graph = self.network.graph(Purpose::Evaluate, false)?;
        self.check_known(&graph)?;
        let labels = check_labels(&self.network, &*data, how, &mut |_| {}).await;
        labels.map_err(|error| of_rows(self.gpu(), error))?;
        let ground = self.ground();
        let evaluation = apart(how, &mut |()| {}, move |_| Evaluation::new(&ground, data)).await;
        evaluation?.run(self.gpu(), how).await
    }

    /// What evaluating needs of it.
    pub(super) fn ground(&self) -> Ground {
        let (network, shared) = (self.network.clone(), self.course.resident.shared.clone());
        Ground { model: self.model.clone(), network, training: self.training, shared }
    }
}

/// What evaluating needs of a session.
pub(super) struct Ground {
    model: Model,
    network: Network,
    training: Training,
    shared: BTreeMap<Role, Buffer>,
}

impl Ground {
    /// Rows of a batch, `most` at most. On a device that is shared the longest dispatch is not to keep the host's frames waiting, so
    /// there may be fewer: by what it costs, not by what was measured, so that the same rows give the same bits again.
    fn rows_of_batch(&self, most: usize) -> Result<usize> {
        let gpu = self.model.gpu();
        // A mean activity of other rows would be another penalty.
        let coupled = self.network.spec().penalties.iter().any(|penalty| penalty.of_mean(&0.5.into()).is_some());
        if !gpu.is_shared() || coupled || most <= FEWEST {
            return Ok(most);
        }
        let graph = self.network.graph(Purpose::Evaluate, false)?;
        let Ok(recording) = Recording::new(&graph, Target { data_rows: most, ..self.model.target(most) }) else {
            // Of what does not fit, halves are tried.
            return Ok(most);
        };
        let longest = recording.dispatches.iter().map(|dispatch| dispatch.cost.flops).max().unwrap_or(0).max(1);
        let allowed = if gpu.kind() == AdapterKind::Software { SOFTWARE } else { HARDWARE };
        let fit = (most as u64).saturating_mul(allowed) / longest;
        Ok((fit as usize / FEWEST * FEWEST).clamp(FEWEST, most))
    }
}

impl Evaluation {
    /// For batches of 1,024 rows, or as many as fit; of rows that fit the model.
    pub fn new(ground: &Ground, source: Arc<dyn Source>) -> Result<Evaluation> {
        let most = fitting(ground.model.gpu(), &ground.training, source.columns()).min(ROWS);
        halving(ground.rows_of_batch(most)?, |batch| Evaluation::of(ground, source.clone(), batch))
    }

    fn of(ground: &Ground, source: Arc<dyn Source>, batch: usize) -> Result<Evaluation> {
        let gpu = ground.model.gpu();
        let once = Training { shuffle: false, drop_last: false, batch, ..ground.training };
        let rows = source.rows() as u64;
        let feed = Feed::new(gpu, source, &once, 0)?;
        let state = gpu.buffer("state", 64)?;
        let ring = gpu.buffer("ring", (RING * TERMS * 4) as u64)?;
        let graph = ground.network.graph(Purpose::Evaluate, false)?;
        let recording = Recording::new(&graph, Target { data_rows: feed.chunk_rows(), ..ground.model.target(batch) })?;
        let mut shared = ground.shared.clone();
        shared.insert(Role::Data, feed.buffer.clone());
        let network = &ground.network;
        if network.ramps().iter().any(|(_, ramp, _)| ramp.is_constant()) {
            shared.insert(Role::Table, Table::of_values(gpu, network.scalars(), network.ramps())?);
        }
        // A batch that is not finite stops nothing: every term is the mean over all rows.
        let flags = gpu.buffer("flags", 16)?;
        gpu.write(&flags, 8, bytemuck::bytes_of(&1u32))?;
        shared.insert(Role::Flags, flags);
        let program = Program::new(gpu, &recording, &state, &shared)?;
        let (terms, names) = (program.buffer(Role::Terms)?, graph.terms().to_vec());
        let finish = Program::finish(gpu, &state, terms, &ring, &shared[&Role::Flags], names.len() as u32, true)?;
        let readback = Readback::new(gpu, ring.bytes())?;
        let programs = [program, finish];
        let dispatches = programs.iter().map(Program::dispatches).sum();
        let paced = gpu.is_shared().then(|| Paced::new(gpu, dispatches)).transpose()?;
        Ok(Evaluation { feed, rows, state, ring, programs, readback, paced, terms: names })
    }

    /// The buffers it holds, shared or not.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        let own = [&self.state, &self.ring, self.readback.buffer()].into_iter();
        let own = own.chain(self.paced.iter().flat_map(Paced::held)).map(|buffer| (None, buffer));
        self.programs.iter().flat_map(Program::held).chain(own)
    }

    /// The mean objective; not finite where a row's is not.
    pub async fn run(&mut self, gpu: &Gpu, how: Wait) -> Result<Objective> {
        // A future that was dropped half-way leaves its copy behind.
        self.readback.discard();
        gpu.write(&self.state, 0, &[0; 64])?;
        self.feed.seek(0);
        let batch = self.feed.batch() as u64;
        let (mut done, mut sums) = (0u64, vec![0.0f64; self.terms.len()]);
        while done < self.feed.steps_per_epoch() {
            self.feed.fetch(gpu, how, &mut |_| {}).await?;
            self.feed.place(gpu, &self.state, done)?;
            let steps = STEPS.min(self.feed.steps_left_in_chunk());
            let parts = [(&self.ring, 0..self.ring.bytes())];
            match &mut self.paced {
                Some(paced) => {
                    paced.run(&self.programs, steps as usize, how).await?;
                    self.readback.start(&parts)?;
                }
                None => {
                    let step = self.programs.iter().map(Work::Run);
                    self.readback.start_after((0..steps).flat_map(|_| step.clone()), None, &parts)?;
                }
            }
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&self.readback.finish(how).await?);
            for step in done..done + steps {
                let rows = (self.rows - step * batch).min(batch) as f64;
                let means = &values[step as usize % RING * TERMS..];
                sums.iter_mut().zip(means).for_each(|(sum, &mean)| *sum += f64::from(mean) * rows);
            }
            self.feed.advance(steps);
            done += steps;
        }
        let means = sums.iter().map(|sum| sum / self.rows as f64);
        let terms: Vec<(String, f64)> = self.terms.iter().cloned().zip(means).collect();
        Ok(Objective { loss: terms.iter().map(|(_, v)| v).sum(), terms })
    }
}
