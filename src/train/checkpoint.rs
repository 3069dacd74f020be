//! Checkpoints: safetensors files with the spec, the training options and everything a run needs to go on bit for
//! bit in another process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::divergence::Bad;
use super::progress::Best;
use super::replace::replace;
use super::{Session, Training};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Wait};
use crate::graph::{Kept, Tensor};
use crate::model::{Network, Spec};
use crate::plan::{Target, Tuning};

/// The version of the files written here; readers refuse a newer one.
const VERSION: u64 = 1;

/// Where a run stands, as metadata.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
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

impl Run {
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

/// Tensors by name, as f32, with their shapes.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A file's tensors by name, with their shapes; in place of the values the type where it is another than f32.
type Found = BTreeMap<String, (Vec<usize>, std::result::Result<Vec<f32>, Dtype>)>;

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
            Some(Run {
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

    fn write(&self, path: &Path, run: Option<Run>) -> Result<()> {
        let json = |e: serde_json::Error| Error::Internal(format!("metadata: {e}"));
        let mut metadata = std::collections::HashMap::from([
            ("strait.version".to_string(), VERSION.to_string()),
            ("strait.spec".to_string(), self.spec().to_json()?),
        ]);
        let mut tensors = named("", self.network.params(), self.parameters()?);
        if self.scaled {
            tensors.extend(named("", self.network.constants(), self.constants()?));
        }
        if let Some(run) = run {
            metadata.insert("strait.run".into(), serde_json::to_string(&run).map_err(json)?);
            for (kept, prefix) in run.kept() {
                tensors.extend(named(prefix, self.network.params(), self.read_kept(kept)?));
            }
        }
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(n, (dims, values))| (n, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let mut views = Vec::with_capacity(bytes.len());
        for (name, dims, bytes) in &bytes {
            let view = TensorView::new(Dtype::F32, dims.to_vec(), bytes);
            views.push((name.as_str(), view.map_err(|e| Error::Internal(format!("{name}: {e}")))?));
        }
        let file = safetensors::serialize(views, Some(metadata));
        replace(path, &file.map_err(|e| Error::Internal(format!("safetensors: {e}")))?)
    }

    /// Reads a model that [`Session::save`] or [`Session::checkpoint`] wrote, to be used or trained afresh.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor or metadata key where the file is not what it should be; [`Error::Io`].
    pub fn open(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Session> {
        Session::read(gpu, path.as_ref(), false)
    }

    /// Reads a checkpoint so that [`Session::fit`] goes on where it was written: on the same data, adapter and driver
    /// the parameters end up the same to the bit. Its tuning comes back too; products for whose tiles the adapter is
    /// none take their defaults, which is logged.
    ///
    /// # Errors
    /// As [`Session::open`], also where the file holds no state of training.
    pub fn resume(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Session> {
        Session::read(gpu, path.as_ref(), true)
    }

    fn read(gpu: &Gpu, path: &Path, resume: bool) -> Result<Session> {
        let fail = failure(path);
        let (mut tensors, metadata) = load(path)?;
        let key = |key: &str| metadata.get(key).ok_or_else(|| fail(key, "nothing", "metadata that strait wrote"));
        let version = key("strait.version")?;
        if version.parse::<u64>().ok().is_none_or(|v| v == 0 || v > VERSION) {
            return Err(fail("strait.version", &format!("{version:?}"), &format!("1 to {VERSION}")));
        }
        let spec = Spec::from_json(key("strait.spec")?).map_err(|e| fail("strait.spec", &e.to_string(), "a spec"))?;
        let run: Option<Run> = match metadata.get("strait.run") {
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
        let params = take(path, "", network.params(), Weights::InOut, &mut tensors)?;
        let begun = run.as_ref().is_some_and(|run| run.step > 0);
        let scaling = begun || network.constants().iter().any(|t| tensors.contains_key(&t.name));
        let mut constants =
            if scaling { take(path, "", network.constants(), Weights::InOut, &mut tensors)? } else { vec![] };
        for (tensor, values) in network.constants().iter().zip(&mut constants).filter(|(t, _)| t.name == "input.scale")
        {
            usable_scale(&tensor.name, values).map_err(|bad| {
                fail(&tensor.name, &format!("{bad:?}"), "inverses of spreads: above 0, in the normal range of f32")
            })?;
        }
        let training = run.as_ref().map_or_else(Training::default, |run| run.training);
        training.check().map_err(|e| fail("strait.run", &e.to_string(), "options that can work"))?;
        if let Some(run) = run.as_ref().filter(|run| run.start > run.step) {
            return Err(fail("strait.run", &format!("start {}", run.start), &format!("0 to {}, its step", run.step)));
        }
        let mut beside = Vec::new();
        for (kept, prefix) in run.iter().flat_map(Run::kept) {
            beside.push((kept, take(path, prefix, network.params(), Weights::InOut, &mut tensors)?));
        }
        if let Some(name) = tensors.keys().next() {
            return Err(fail(name, "a tensor", "the tensors of the spec and of the run alone"));
        }
        let mut session = Session::new(gpu, &spec, training)?;
        session.set_parameters(&params)?;
        if !constants.is_empty() {
            session.set_constants(&constants)?;
        }
        if let (Some(run), true) = (run, resume) {
            (session.step, session.start, session.best) = (run.step, run.start, run.best);
            (session.rows, session.look) = (run.rows, run.look);
            session.tuning = Arc::new(usable(run.tuning, &Target::of(gpu, 1)));
            for (kept, values) in beside {
                session.keep(kept)?;
                session.write_kept(kept, &values)?;
            }
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
        let (mut tensors, _) = load(path.as_ref())?;
        let values = take(path.as_ref(), "", self.network.params(), weights, &mut tensors)?;
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

fn named(prefix: &str, tensors: &[Tensor], values: Vec<Vec<f32>>) -> Tensors {
    let named = |(tensor, values): (&Tensor, Vec<f32>)| {
        (format!("{prefix}{}", tensor.name), (tensor.shape.dims.clone(), values))
    };
    tensors.iter().zip(values).map(named).collect()
}

/// Takes the named tensors out of a file's, checking shapes and values.
fn take(path: &Path, prefix: &str, wanted: &[Tensor], weights: Weights, tensors: &mut Found) -> Result<Vec<Vec<f32>>> {
    let fail = failure(path);
    let mut taken = Vec::with_capacity(wanted.len());
    for tensor in wanted {
        let name = format!("{prefix}{}", tensor.name);
        let (dims, values) = tensors.remove(&name).ok_or_else(|| fail(&name, "nothing", "a tensor of this name"))?;
        let values = values.map_err(|dtype| fail(&name, &format!("dtype {dtype:?}"), "dtype F32"))?;
        let right = weights.dims(tensor);
        if dims != right {
            let other = if weights == Weights::InOut { Weights::OutIn } else { Weights::InOut };
            let hint = match dims == other.dims(tensor) {
                true => format!("; the transpose fits: load_parameters with Weights::{other:?}"),
                false => String::new(),
            };
            return Err(fail(&name, &format!("shape {dims:?}"), &format!("shape {right:?}{hint}")));
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(fail(&name, &bad.to_string(), "finite numbers"));
        }
        taken.push(weights.turned(tensor, values));
    }
    Ok(taken)
}

pub(super) fn failure(path: &Path) -> impl Fn(&str, &str, &str) -> Error + '_ {
    move |place, found, allowed| Error::Checkpoint {
        path: path.to_path_buf(),
        place: place.into(),
        found: found.into(),
        allowed: allowed.into(),
    }
}

/// All tensors and metadata of a file.
fn load(path: &Path) -> Result<(Found, std::collections::HashMap<String, String>)> {
    let fail = failure(path);
    // What is no file, such as /dev/zero, may never end.
    let kind = std::fs::metadata(path).map_err(Error::io(path))?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(fail("file", "a device or a pipe", "a safetensors file"));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let refuse = |e: safetensors::SafeTensorError| fail("header", &e.to_string(), "a safetensors file");
    unique_names(&bytes).map_err(|name| fail(&name, "the name twice", "every name once"))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(refuse)?;
    let file = SafeTensors::deserialize(&bytes).map_err(refuse)?;
    let mut tensors = Found::new();
    for (name, view) in file.tensors() {
        let (words, _) = view.data().as_chunks::<4>();
        let values = match view.dtype() {
            Dtype::F32 => Ok(words.iter().map(|&b| f32::from_le_bytes(b)).collect()),
            other => Err(other),
        };
        tensors.insert(name, (view.shape().to_vec(), values));
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// Fails with a name that the header gives twice: a JSON reader would keep one of the two and say nothing.
fn unique_names(bytes: &[u8]) -> std::result::Result<(), String> {
    let length = bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(8)).filter(|&e| e <= bytes.len());
    let Some(header) = end.map(|end| &bytes[8..end]) else { return Ok(()) };
    let twice = Twice.deserialize(&mut serde_json::Deserializer::from_slice(header));
    twice.ok().flatten().map_or(Ok(()), Err)
}

/// Looks for a name that an object, or the metadata in it, gives twice.
struct Twice;

impl<'de> DeserializeSeed<'de> for Twice {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Twice {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    /// What readers take for no metadata. It must not end the search.
    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut twice = None;
        while let Some(name) = map.next_key::<String>()? {
            let inside = match name.as_str() {
                "__metadata__" => map.next_value_seed(Twice)?,
                _ => map.next_value::<IgnoredAny>().map(|_| None)?,
            };
            let again = seen.contains(&name).then(|| name.clone());
            twice = twice.or(inside).or(again);
            seen.insert(name);
        }
        Ok(twice)
    }
}
