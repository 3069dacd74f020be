//! Checkpoints: safetensors files with the spec, the training options and everything a run needs to go on bit for
//! bit in another process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::divergence::Bad;
use super::progress::Best;
use super::tensors::{self, TensorFile, failure};
use super::{Session, Training};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Wait};
use crate::graph::{Kept, Tensor};
use crate::model::{Meanings, Network, Spec};
use crate::plan::{Target, Tuning};

/// The version of the files written here; readers refuse a newer one.
const VERSION: u64 = 1;

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
    /// The tiles of its products, where they were measured.
    #[serde(default, skip_serializing_if = "Tuning::is_empty")]
    tuning: Tuning,
}

impl Standing {
    /// What the run keeps beside the parameters, with the prefix of the tensors' names. Moments start at zero.
    fn kept(&self) -> impl Iterator<Item = (Kept, &'static str)> {
        let (first, second) = self.training.optimizer.moments();
        let begun = self.step > 0;
        let all = [
            (Kept::First, "optimizer.first.", first && begun),
            (Kept::Second, "optimizer.second.", second && begun),
            (Kept::Best, "early_stopping.best.", self.best.validation.is_some()),
        ];
        all.into_iter().filter(|(_, _, is)| *is).map(|(kept, prefix, _)| (kept, prefix))
    }
}

/// How the weights of a parameter file lie. Where a layer is as wide as its input, nothing but this tells a matrix from
/// its transpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weights {
    /// `[in, out]`, so that a layer computes x W + b: as strait writes them.
    InOut,
    /// `[out, in]`, so that a layer computes x Wᵀ + b: as PyTorch's `Linear.weight`.
    OutIn,
}

impl Weights {
    /// The shape of a tensor in such a file.
    fn dims(self, tensor: &Tensor) -> Vec<usize> {
        match (self, tensor.shape.dims.as_slice()) {
            (Weights::OutIn, &[rows, columns]) if tensor.name.ends_with(".weight") => vec![columns, rows],
            (_, dims) => dims.to_vec(),
        }
    }

    /// Values of such a file's tensor, as strait has them.
    fn turned(self, tensor: &Tensor, values: Vec<f32>) -> Vec<f32> {
        match (self, tensor.shape.dims.as_slice()) {
            (Weights::OutIn, &[rows, columns]) if tensor.name.ends_with(".weight") => {
                (0..rows * columns).map(|i| values[i % columns * rows + i / columns]).collect()
            }
            _ => values,
        }
    }
}

impl Session {
    /// Writes the model: parameters, scaling and spec. Anything that reads safetensors can read it; weights are
    /// [in, out].
    ///
    /// A regular file that is there is replaced in one go and keeps its permissions, also through links. The new one is
    /// written beside it under the same name with `.strait-part` added; what a process that was killed left under that
    /// name goes with the next call.
    ///
    /// # Errors
    /// [`Error::Io`], of the kind `ResourceBusy` where another process or thread is writing the same file, and
    /// [`Error::Device`] or [`Error::DeviceLost`] where the parameters cannot be read back. The file is whole or
    /// untouched.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write(path.as_ref(), None)
    }

    /// Writes the model and the state of its training, so that [`Session::resume`] goes on as if nothing had
    /// happened. Steps that are under way come to their end first; where one of them goes bad, what is written is the
    /// state before it.
    ///
    /// # Errors
    /// As [`Session::save`]; [`Error::Diverged`] where the bad step is an `update` that was taken in part, until
    /// data is loaded again.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let bad = pollster::block_on(self.bad(Wait::Block))?;
        if let Some(torn) = bad.filter(Bad::torn) {
            return Err(self.diverged(&torn));
        }
        let step = bad.map_or(self.step, |bad| bad.step);
        self.write(
            path.as_ref(),
            Some(Standing {
                training: self.training,
                step,
                start: self.start.min(step),
                rows: self.rows,
                look: self.look && bad.is_none(),
                best: self.best,
                tuning: self.tuning().clone(),
            }),
        )
    }

    fn write(&self, path: &Path, run: Option<Standing>) -> Result<()> {
        let json = |e: serde_json::Error| Error::Internal(format!("metadata: {e}"));
        let mut metadata = std::collections::HashMap::from([
            ("strait.version".to_string(), VERSION.to_string()),
            ("strait.spec".to_string(), self.spec().to_json()?),
        ]);
        let mut kept = vec![(Kept::Values, "")];
        if let Some(run) = run {
            metadata.insert("strait.run".into(), serde_json::to_string(&run).map_err(json)?);
            kept.extend(run.kept());
        }
        let (mut tensors, mut from) = (Vec::new(), Vec::new());
        for (kept, prefix) in kept {
            for (i, tensor) in self.network.params().iter().enumerate() {
                tensors.push((format!("{prefix}{}", tensor.name), tensor.shape.dims.clone()));
                from.push((Some(kept), i));
            }
        }
        let constants = if self.scaled { self.resident.constants()? } else { vec![] };
        for (i, tensor) in self.network.constants().iter().enumerate().take(constants.len()) {
            tensors.push((tensor.name.clone(), tensor.shape.dims.clone()));
            from.push((None, i));
        }
        tensors::write(path, metadata, &tensors, |at| match from[at] {
            (Some(kept), i) => self.resident.read(kept, i),
            (None, i) => Ok(constants[i].clone()),
        })
    }

    /// Reads a model that [`Session::save`] or [`Session::checkpoint`] wrote, to be used or trained afresh.
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
    /// none take their defaults, which is logged.
    ///
    /// # Errors
    /// As [`Session::open`], also where the file holds no state of training.
    pub fn resume(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Session> {
        Session::resume_with(gpu, path, &Meanings::new())
    }

    /// [`Session::resume`] of a model whose spec names losses or penalties of the caller's own, with what the names mean.
    ///
    /// # Errors
    /// As [`Session::resume`]; [`Error::Spec`] where a name is not given.
    pub fn resume_with(gpu: &Gpu, path: impl AsRef<Path>, meanings: &Meanings) -> Result<Session> {
        Session::read(gpu, path.as_ref(), meanings, true)
    }

    fn read(gpu: &Gpu, path: &Path, meanings: &Meanings, resume: bool) -> Result<Session> {
        let fail = failure(path);
        let mut file = TensorFile::open(path)?;
        let key = |key: &str| file.metadata(key).ok_or_else(|| fail(key, "nothing", "metadata that strait wrote"));
        let version = key("strait.version")?;
        if version.parse::<u64>().ok().is_none_or(|v| v == 0 || v > VERSION) {
            return Err(fail("strait.version", &format!("{version:?}"), &format!("1 to {VERSION}")));
        }
        let spec = Spec::from_json(key("strait.spec")?).map_err(|e| fail("strait.spec", &e.to_string(), "a spec"))?;
        let spec = spec.given(meanings)?;
        let run: Option<Standing> = match file.metadata("strait.run") {
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
        let network = Network::new(&spec)?;
        let training = run.as_ref().map_or_else(Training::default, |run| run.training);
        training.check().map_err(|e| fail("strait.run", &e.to_string(), "options that can work"))?;
        if let Some(run) = run.as_ref().filter(|run| run.start > run.step) {
            return Err(fail("strait.run", &format!("start {}", run.start), &format!("0 to {}, its step", run.step)));
        }
        let begun = run.as_ref().is_some_and(|run| run.step > 0);
        let scaling = begun || network.constants().iter().any(|t| file.info(&t.name).is_some());
        let kept: Vec<(Kept, &str)> =
            [(Kept::Values, "")].into_iter().chain(run.iter().flat_map(Standing::kept)).collect();
        let mut named = BTreeSet::new();
        for (_, prefix) in &kept {
            for tensor in network.params() {
                named.insert(format!("{prefix}{}", tensor.name));
                take(&mut file, prefix, tensor, Weights::InOut)?;
            }
        }
        let mut constants = Vec::new();
        for tensor in network.constants().iter().filter(|_| scaling) {
            named.insert(tensor.name.clone());
            let mut values = take(&mut file, "", tensor, Weights::InOut)?;
            if tensor.name == "input.scale" {
                usable_scale(&tensor.name, &mut values).map_err(|bad| {
                    fail(&tensor.name, &format!("{bad:?}"), "inverses of spreads: above 0, in the normal range of f32")
                })?;
            }
            constants.push(values);
        }
        if let Some(name) = file.names().iter().find(|name| !named.contains(*name)) {
            return Err(fail(name, "a tensor", "the tensors of the spec and of the run alone"));
        }
        let mut session = Session::blank(gpu, &spec, training)?;
        if !constants.is_empty() {
            session.set_constants(&constants)?;
        }
        for (kept, prefix) in kept {
            if kept != Kept::Values && !resume {
                continue;
            }
            session.resident.tensors.sets().try_for_each(|set| session.resident.keep(set, kept))?;
            for (i, tensor) in network.params().iter().enumerate() {
                session.resident.write(kept, i, &take(&mut file, prefix, tensor, Weights::InOut)?)?;
            }
        }
        if let (Some(run), true) = (run, resume) {
            (session.step, session.start, session.best) = (run.step, run.start, run.best);
            (session.rows, session.look) = (run.rows, run.look);
            session.tuning = Arc::new(usable(run.tuning, &Target::of(gpu, 1)));
        }
        Ok(session)
    }

    /// Replaces the parameters by those of a safetensors file from anywhere, found by name and shape; other tensors
    /// in it are left alone, whatever their type. `weights` says how the file's matrices lie:
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
    /// As [`Session::open`]; where a matrix would fit in the other layout alone, the error says so. Where it fails
    /// nothing was changed.
    pub fn load_parameters(&mut self, path: impl AsRef<Path>, weights: Weights) -> Result<()> {
        let mut file = TensorFile::open(path.as_ref())?;
        let mut values = Vec::with_capacity(self.network.params().len());
        for tensor in self.network.params() {
            values.push(take(&mut file, "", tensor, weights)?);
        }
        self.set_parameters(&values)
    }
}

/// Sees to it that every feature has a spread, or fails with the value that is none. A file may say 0 for a
/// feature that was constant in the training data, which hid every later deviation from it; such a deviation now counts
/// as it is.
fn usable_scale(name: &str, values: &mut [f32]) -> std::result::Result<(), f32> {
    let mut constant = 0;
    for value in values {
        if *value == 0.0 {
            (*value, constant) = (1.0, constant + 1);
        } else if !value.is_normal() || *value < 0.0 {
            return Err(*value);
        }
    }
    if constant > 0 {
        log::info!(
            "{name} is 0 for {constant} features that were constant: deviations from them now count as they are"
        );
    }
    Ok(())
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

/// Reads a tensor out of a file, checking its shape and its values.
fn take(file: &mut TensorFile, prefix: &str, tensor: &Tensor, weights: Weights) -> Result<Vec<f32>> {
    let path = file.path().to_path_buf();
    let fail = failure(&path);
    let name = format!("{prefix}{}", tensor.name);
    let (dtype, dims) = file.info(&name).ok_or_else(|| fail(&name, "nothing", "a tensor of this name"))?;
    if dtype != Dtype::F32 {
        return Err(fail(&name, &format!("dtype {dtype:?}"), "dtype F32"));
    }
    let right = weights.dims(tensor);
    if dims != right {
        let other = if weights == Weights::InOut { Weights::OutIn } else { Weights::InOut };
        let hint = match dims == other.dims(tensor) {
            true => format!("; the transpose fits: load_parameters with Weights::{other:?}"),
            false => String::new(),
        };
        return Err(fail(&name, &format!("shape {dims:?}"), &format!("shape {right:?}{hint}")));
    }
    let values = file.read(&name)?;
    if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
        return Err(fail(&name, &bad.to_string(), "finite numbers"));
    }
    Ok(weights.turned(tensor, values))
}
