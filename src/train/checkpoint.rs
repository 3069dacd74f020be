//! Checkpoints: safetensors files with the spec, the training options and everything a run needs to go on bit for
//! bit in another process.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::averages::Average;
use super::fit::Reading;
use super::looked::Looked;
use super::progress::{Best, Plateau};
use super::snapshot::{SNAPSHOT, Snapshot};
use super::{Session, Training};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Wait};
use crate::graph::Kept;
use crate::inference::{self, Model, ModelFile, STATE, Weights, failure};
use crate::model::Meanings;
use crate::plan::{Target, Tuning};

/// Where a run stands, as metadata.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    training: Training,
    step: u64,
    /// Where it started, if it follows another.
    #[serde(default)]
    start: u64,
    /// The rows that it trains on, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    /// Whether the look at the validation rows at the end of an epoch is still due.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    look: bool,
    best: Best,
    /// The rows of the caller's own that it looks at, which are not in the file; none where they are held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validation: Option<Looked>,
    /// What looks at the validation rows have made of the learning rate.
    #[serde(default, skip_serializing_if = "Plateau::is_new")]
    plateau: Plateau,
    /// How the parameters are averaged, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    average: Option<Average>,
    /// The tiles of its products, where they were measured.
    #[serde(default, skip_serializing_if = "Tuning::is_empty")]
    tuning: Tuning,
}

impl Standing {
    /// What the run keeps beside the parameters, with the prefix of the tensors' names. Moments start at zero.
    fn kept(&self) -> impl Iterator<Item = (Kept, &'static str)> {
        let (first, second) = self.training.optimizer.moments();
        let begun = self.step > 0;
        STATE.into_iter().filter(move |(kept, _)| match kept {
            // A session has one update.
            Kept::First(_) => first && begun,
            Kept::Second(_) => second && begun,
            Kept::Best => self.best.validation.is_some(),
            Kept::Average => self.average.is_some(),
            Kept::Values | Kept::Gradients => false,
        })
    }
}

impl Session {
    /// Writes the model and the state of its training, so that [`Session::resume`] goes on as if nothing had
    /// happened. Steps that are under way come to their end first; where one of them goes bad, what is written is the
    /// state before it.
    ///
    /// # Errors
    /// As [`crate::Model::save`]; [`Error::Diverged`] where the bad step is an `update` that was taken in part, until
    /// data is loaded again.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let run = self.standing(pollster::block_on(self.course.settled_step(Wait::Block))?)?;
        inference::write(path.as_ref(), &self.model, &self.course.resident, Some(run))
    }

    /// A checkpoint in memory: it outlives the device, which cannot be read any more once it is lost. As
    /// [`Session::checkpoint`] it waits for the steps under way.
    ///
    /// ```no_run
    /// # use strait::{Error, Gpu, Session, Spec, Training, data};
    /// # fn train(spec: &Spec) -> strait::Result<()> {
    /// let mut session = Session::new(&Gpu::new()?, spec, Training::default())?;
    /// session.snapshot_every(Some(1000));
    /// match session.fit(data::digits()?) {
    ///     Err(Error::DeviceLost { .. }) => {
    ///         let snapshot = session.last_snapshot().cloned();
    ///         drop(session);
    ///         if let Some(snapshot) = snapshot {
    ///             Session::restore(&Gpu::new()?, &snapshot)?.fit(data::digits()?)?;
    ///         }
    ///     }
    ///     other => drop(other?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::checkpoint`], but for the file's.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.reading(pollster::block_on(self.course.settled_step(Wait::Block))?)?()
    }

    /// What reads back a snapshot of where the run stands after a step.
    pub(super) fn reading(&self, step: (u64, bool)) -> Result<Reading> {
        let (run, model, resident) = (self.standing(step)?, self.model.clone(), self.course.resident.clone());
        Ok(Box::new(move || {
            let mut bytes = Vec::new();
            inference::copy(Path::new(SNAPSHOT), &mut bytes, &model, &resident, Some(run))?;
            Ok(Snapshot::new(Some(model.spec().clone()), step.0, bytes))
        }))
    }

    /// Has [`Session::fit`] and its like take a snapshot once so many steps were taken since the last one, at the next
    /// report; none where it is `None`, as at first. 0 is taken for 1: one at every report. Each waits for the steps under way and reads back what a checkpoint
    /// holds; a run that is awaited gives the thread back meanwhile.
    pub fn snapshot_every(&mut self, steps: Option<u64>) {
        self.course.snapshot_every(steps);
    }

    /// The last snapshot that [`Session::snapshot_every`] had taken. It is there when the device is lost, too.
    pub fn last_snapshot(&self) -> Option<&Snapshot> {
        self.course.snapshot.as_ref()
    }

    /// Goes on from a snapshot, on this device or another: as [`Session::resume`], to the bit on an adapter of the same
    /// kind.
    ///
    /// # Errors
    /// As [`Session::resume`].
    pub fn restore(gpu: &Gpu, snapshot: &Snapshot) -> Result<Session> {
        let name = Path::new(SNAPSHOT);
        let Some(spec) = snapshot.spec() else {
            return Err(failure(name)("spec", "none", "that of a session; this one is of a Trainer"));
        };
        let file = ModelFile::in_memory(name, snapshot.content(), spec)?;
        Session::of_file(gpu, file, true)
    }

    /// The state of the run where it stands after a step, once those under way have run.
    fn standing(&self, (step, bad): (u64, bool)) -> Result<inference::Run> {
        let course = &self.course;
        let standing = Standing {
            training: self.training,
            step,
            start: course.start.min(step),
            rows: course.rows,
            look: course.validation_due && !bad,
            best: course.best,
            validation: course.looked,
            plateau: course.plateau,
            // One update trains all sets.
            average: course.averages.values().next().copied(),
            tuning: Tuning::clone(&self.model.tuning()),
        };
        let metadata = serde_json::to_string(&standing).map_err(|e| Error::Internal(format!("metadata: {e}")))?;
        Ok(inference::Run { metadata, kept: standing.kept().collect() })
    }

    /// Reads a model that [`crate::Model::save`] or [`Session::checkpoint`] wrote, to be used or trained afresh.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor or metadata key where the file is not what it should be; [`Error::Io`].
    pub fn open(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Session> {
        Session::open_with(gpu, path, &Meanings::new())
    }

    /// [`Session::open`] of a model whose spec names losses or penalties of the caller's own, with what the names mean.
    ///
    /// # Errors
    /// As [`Session::open`]; [`Error::Spec`] where a name is not given.
    pub fn open_with(gpu: &Gpu, path: impl AsRef<Path>, meanings: &Meanings) -> Result<Session> {
        Session::read(gpu, path.as_ref(), meanings, false)
    }

    /// Reads a checkpoint so that [`Session::fit`] goes on where it was written: on the same data, adapter and driver
    /// the parameters end up the same to the bit. Its tuning comes back too; products for whose tiles the adapter is
    /// none take their defaults, which is logged. So does an average of the parameters; where the file has none, as one
    /// that an older version wrote, and `average` is set for what follows, it begins with the next step. Validation rows of
    /// the caller's own are not in it: the run asks for them ([`Session::set_validation`]), where it was this version that
    /// wrote it.
    ///
    /// # Errors
    /// As [`Session::open`], also where the file holds no state of training.
    pub fn resume(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Session> {
        Session::resume_with(gpu, path, &Meanings::new())
    }

    /// [`Session::resume`] of a model whose spec names losses or penalties of the caller's own, with what the names
    /// mean.
    ///
    /// # Errors
    /// As [`Session::resume`]; [`Error::Spec`] where a name is not given.
    pub fn resume_with(gpu: &Gpu, path: impl AsRef<Path>, meanings: &Meanings) -> Result<Session> {
        Session::read(gpu, path.as_ref(), meanings, true)
    }

    fn read(gpu: &Gpu, path: &Path, meanings: &Meanings, resume: bool) -> Result<Session> {
        Session::of_file(gpu, ModelFile::open(path, meanings)?, resume)
    }

    fn of_file(gpu: &Gpu, mut file: ModelFile, resume: bool) -> Result<Session> {
        let path = file.path().to_path_buf();
        let fail = failure(&path);
        let run: Option<Standing> = match file.run() {
            Some(text) => {
                let parsed = serde_json::from_str(text);
                Some(parsed.map_err(|e| fail("strait.run", &e.to_string(), "the state of a run"))?)
            }
            None if resume => {
                return Err(fail("strait.run", "nothing", "the state of a run: this file holds a model only"));
            }
            None => None,
        };
        // Everything is checked before anything is allocated on the device.
        let training = run.as_ref().map_or_else(Training::default, |run| run.training);
        training.check().map_err(|e| fail("strait.run", &e.to_string(), "options that can work"))?;
        if let Some(run) = run.as_ref().filter(|run| run.start > run.step) {
            return Err(fail("strait.run", &format!("start {}", run.start), &format!("0 to {}, its step", run.step)));
        }
        if let Some(run) = run.as_ref().filter(|run| !(0.0..=1.0).contains(&run.plateau.factor)) {
            return Err(fail("strait.run", &format!("plateau.factor {}", run.plateau.factor), "0 to 1"));
        }
        if let Some((run, average)) = run.as_ref().and_then(|run| Some((run, run.average?))) {
            average.check(run.step).map_err(|e| fail("strait.run", &e.to_string(), "an average of the run's steps"))?;
        }
        let kept: Vec<(Kept, &str)> = run.iter().flat_map(Standing::kept).collect();
        file.check(&kept, run.as_ref().is_some_and(|run| run.step > 0))?;
        let model = Model::blank(gpu, file.network().clone())?;
        file.fill(&model)?;
        let mut session = Session::of(&model, training)?;
        if let (Some(run), true) = (run, resume) {
            let course = &mut session.course;
            for (kept, prefix) in kept {
                course.resident.keep_all(kept)?;
                file.fill_kept(&course.resident, kept, prefix)?;
            }
            (course.step, course.start) = (run.step, run.start);
            (course.best, course.looked, course.plateau) = (run.best, run.validation, run.plateau);
            let sets = course.resident.tensors.sets();
            course.averages = sets.zip(run.average.into_iter().cycle()).collect();
            (course.rows, course.validation_due, course.snapshot_at) = (run.rows, run.look, run.step);
            course.data_budget = Some(training.data_budget);
            model.set_tuning(Arc::new(usable(run.tuning, &Target::of(gpu, 1))));
        }
        Ok(session)
    }

    /// Replaces the parameters by those of a safetensors file from anywhere that has them under the names of
    /// [`Model::tensors`]; other tensors in it are left alone, whatever their type. For other names there is
    /// [`Session::load_parameters_named`]. Numbers of 64 and of 16 bits (F64, F16, BF16) become f32. `weights` says how
    /// the file's matrices lie:
    ///
    /// ```no_run
    /// # fn show(session: &mut strait::Session) -> strait::Result<()> {
    /// use strait::Weights;
    ///
    /// session.load_parameters("strait.safetensors", Weights::InOut)?;
    /// session.load_parameters("pytorch.safetensors", Weights::OutIn)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that is missing, has another shape or type, or holds something else than
    /// finite numbers in the range of f32, with the element; where a matrix would fit in the other layout alone, the
    /// error says so. So it is where weights are tied and the file has a decoder's matrix, too, that is not the
    /// transpose of the encoder's to the bit. [`Error::Io`]. Where it fails nothing was changed.
    pub fn load_parameters(&mut self, path: impl AsRef<Path>, weights: Weights) -> Result<()> {
        let values = inference::parameters(path.as_ref(), self.model.network(), weights)?;
        self.set_parameters(&values)
    }

    /// Replaces the parameters by those of a file that calls them otherwise, as PyTorch's `state_dict` does. Each pair
    /// is the name of a layer here (`encoder.0`, which has `encoder.0.weight` and `encoder.0.bias`), then the file's
    /// name of it; or the names of one tensor. Every tensor must be named, and the file may have no other: one that is
    /// left over, such as the statistics of a normalisation, would mean something that this model does not compute.
    ///
    /// A module of PyTorch that has `self.encoder = nn.Sequential(nn.Linear(784, 256), nn.ELU(), nn.Linear(256, 32))`
    /// and a mirrored `self.decoder` numbers its activations, too; a single `nn.Sequential` has numbers only, and
    /// layers with names of their own have those:
    ///
    /// ```no_run
    /// # fn show(session: &mut strait::Session) -> strait::Result<()> {
    /// use strait::Weights;
    ///
    /// let numbered = [
    ///     ("encoder.0", "encoder.0"),
    ///     ("encoder.1", "encoder.2"),
    ///     ("decoder.0", "decoder.0"),
    ///     ("decoder.1", "decoder.2"),
    /// ];
    /// session.load_parameters_named("module.safetensors", Weights::OutIn, &numbered)?;
    /// let single = [("encoder.0", "0"), ("encoder.1", "2"), ("decoder.0", "4"), ("decoder.1", "6")];
    /// session.load_parameters_named("sequential.safetensors", Weights::OutIn, &single)?;
    /// let named = [("encoder.0", "fc1"), ("encoder.1", "fc2"), ("decoder.0", "fc3"), ("decoder.1", "fc4")];
    /// session.load_parameters_named("names.safetensors", Weights::OutIn, &named)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With tied weights a decoder's layer has a bias alone here. Where the file has its weight, too, it must be the
    /// transpose of the encoder's, to the bit. Every layer here has a bias: for one of PyTorch without (`bias=False`)
    /// the file needs zeros. Activations are not in such a file; they are the spec's.
    ///
    /// # Errors
    /// As [`Session::load_parameters`], with both names; [`Error::Data`] where the pairs do not name every tensor once.
    /// Where it fails nothing was changed.
    pub fn load_parameters_named(
        &mut self,
        path: impl AsRef<Path>,
        weights: Weights,
        names: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<()> {
        let values = inference::named_parameters(path.as_ref(), self.model.network(), weights, names)?;
        self.set_parameters(&values)
    }
}

/// The part of a tuning that a device can use.
fn usable(mut tuning: Tuning, target: &Target) -> Tuning {
    let all = tuning.tiles.len();
    tuning.tiles.retain(|product, tile| target.can_take(product, *tile));
    let lost = all - tuning.tiles.len();
    if lost > 0 {
        log::warn!(
            "this adapter cannot use the checkpoint's tiles for {lost} of {all} products: they take the defaults"
        );
    }
    tuning
}
