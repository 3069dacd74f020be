//! Files of models: safetensors with the spec in the metadata, and whatever belongs to a run beside the model.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;

use super::Model;
use super::contents::{Contents, check_version};
use super::replace::replace;
use super::resident::Resident;
use super::tensors::{TensorFile, failure};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::graph::{Kept, Tensor};
use crate::model::{Meanings, Network, Spec};

/// What a run may keep of the parameters beside their values, with the prefix of its names.
pub(crate) const STATE: [(Kept, &str); 4] = [
    (Kept::First(0), "optimizer.first."),
    (Kept::Second(0), "optimizer.second."),
    (Kept::Best, "early_stopping.best."),
    (Kept::Average, "average."),
];

/// How the weights of a parameter file lie. Where a layer is as wide as its input, nothing but this tells a matrix from
/// its transpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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

/// The state of a run: metadata, and what is kept of the parameters.
pub(crate) struct Run {
    pub metadata: String,
    pub kept: Vec<(Kept, &'static str)>,
}

/// Writes a model and, where it is given, the state of a run, which `resident` keeps, in the place of what is at `path`.
///
/// # Errors
/// As [`replace`] and [`copy`]. Where it fails, what is there stays.
pub(crate) fn write(path: &Path, model: &Model, resident: &Resident, run: Option<Run>) -> Result<()> {
    replace(path, |file| copy(path, &mut BufWriter::new(file), model, resident, run))
}

/// Writes the same anywhere; errors name `path`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Device`] and [`Error::DeviceLost`].
pub(crate) fn copy(
    path: &Path,
    out: &mut dyn Write,
    model: &Model,
    resident: &Resident,
    run: Option<Run>,
) -> Result<()> {
    let mut metadata = HashMap::from([("strait.spec".to_string(), model.spec().to_json()?)]);
    let mut kept = vec![];
    if let Some(run) = run {
        metadata.insert("strait.run".into(), run.metadata);
        kept = run.kept;
    }
    contents(model.network(), &kept, model.is_known()).write(path, out, metadata, resident)
}

/// What a model's file has: the parameters, what is kept of them, and the frozen tensors where they are known.
fn contents(network: &Network, kept: &[(Kept, &str)], known: bool) -> Contents {
    let mut contents = Contents::default();
    for (kept, prefix) in [(Kept::Values, "")].iter().chain(kept) {
        for (i, tensor) in network.params().iter().enumerate() {
            contents.add(format!("{prefix}{}", tensor.name), &tensor.shape, Some(*kept), i);
        }
    }
    for (i, tensor) in network.constants().iter().enumerate().filter(|_| known) {
        contents.add(tensor.name.clone(), &tensor.shape, None, i);
    }
    contents
}

/// A file of a model, whose spec was read.
pub(crate) struct ModelFile {
    file: TensorFile,
    network: Network,
}

impl ModelFile {
    /// Reads the header of a file, and the spec.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::Io`], [`Error::Spec`].
    pub fn open(path: &Path, meanings: &Meanings) -> Result<ModelFile> {
        let fail = failure(path);
        let file = TensorFile::open(path)?;
        let key = |key: &str| file.metadata(key).ok_or_else(|| fail(key, "nothing", "metadata that strait wrote"));
        check_version(&file)?;
        let spec = Spec::from_json(key("strait.spec")?).map_err(|e| fail("strait.spec", &e.to_string(), "a spec"))?;
        let network = Network::new(&spec.given(meanings)?)?;
        Ok(ModelFile { file, network })
    }

    /// A file in memory, of a model of this spec.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn in_memory(name: &Path, bytes: Arc<[u8]>, spec: &Spec) -> Result<ModelFile> {
        let file = TensorFile::in_memory(name, bytes)?;
        Ok(ModelFile { file, network: Network::new(spec)? })
    }

    /// Where it lies, or what it is called in memory.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The model that it is of.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The state of a run, as metadata.
    pub fn run(&self) -> Option<&str> {
        self.file.metadata("strait.run")
    }

    /// What a run may keep that is there.
    pub fn kept(&self) -> Vec<(Kept, &'static str)> {
        let names = self.file.names();
        STATE.into_iter().filter(|(_, prefix)| names.iter().any(|name| name.starts_with(prefix))).collect()
    }

    /// Whether it has the frozen tensors.
    fn has_constants(&self) -> bool {
        self.network.constants().iter().any(|tensor| self.file.info(&tensor.name).is_some())
    }

    /// Checks every value of what is kept beside the parameters, of these and of the frozen tensors, which must be
    /// there where `known`; and that there is nothing else.
    pub fn check(&mut self, kept: &[(Kept, &str)], known: bool) -> Result<()> {
        let known = known || self.has_constants();
        contents(&self.network, kept, known).check(&mut self.file)?;
        if known {
            self.constants()?;
        }
        Ok(())
    }

    /// The frozen tensors.
    fn constants(&mut self) -> Result<Vec<Vec<f32>>> {
        let path = self.path().to_path_buf();
        let fail = failure(&path);
        let mut constants = Vec::new();
        for tensor in self.network.constants() {
            constants.push(own(&mut self.file, "", tensor)?);
        }
        usable_scales(self.network.constants(), &mut constants)
            .map_err(|(name, bad)| fail(name, &format!("{bad:?}"), SCALES))?;
        Ok(constants)
    }

    /// Writes parameters and frozen tensors into a model of this file.
    pub fn fill(&mut self, model: &Model) -> Result<()> {
        if self.has_constants() {
            model.set_constants(&self.constants()?)?;
        }
        self.fill_kept(model.resident(), Kept::Values, "")?;
        // What was written is held twice until something is submitted.
        model.gpu().submit([])
    }

    /// Writes what is kept of the parameters under a prefix.
    pub fn fill_kept(&mut self, resident: &Resident, kept: Kept, prefix: &str) -> Result<()> {
        for (i, tensor) in self.network.params().iter().enumerate() {
            resident.write(kept, i, &own(&mut self.file, prefix, tensor)?)?;
        }
        Ok(())
    }
}

/// What the values of `input.scale` must be.
pub(crate) const SCALES: &str = "inverses of spreads: above 0, in the normal range of f32";

/// Sees to it that every feature has a spread where these frozen tensors have any, or fails with the tensor and the value that
/// is none.
pub(crate) fn usable_scales<'a>(
    tensors: &'a [Tensor],
    values: &mut [Vec<f32>],
) -> std::result::Result<(), (&'a str, f32)> {
    let scales = tensors.iter().zip(values).filter(|(tensor, _)| tensor.name == "input.scale");
    for (tensor, values) in scales {
        usable_scale(&tensor.name, values).map_err(|bad| (tensor.name.as_str(), bad))?;
    }
    Ok(())
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

/// Reads a tensor of strait's own out of a file.
pub(super) fn own(file: &mut TensorFile, prefix: &str, tensor: &Tensor) -> Result<Vec<f32>> {
    take(file, &format!("{prefix}{}", tensor.name), tensor, Weights::InOut, &[Dtype::F32])
}

/// Reads a tensor, called `name` there, out of a file, checking its type, its shape and its values.
pub(super) fn take(
    file: &mut TensorFile,
    name: &str,
    tensor: &Tensor,
    weights: Weights,
    types: &[Dtype],
) -> Result<Vec<f32>> {
    let path = file.path().to_path_buf();
    let fail = failure(&path);
    let (dtype, dims) = file.info(name).ok_or_else(|| fail(name, "nothing", "a tensor of this name"))?;
    if !types.contains(&dtype) {
        let names: Vec<String> = types.iter().map(|dtype| format!("{dtype:?}")).collect();
        return Err(fail(name, &format!("dtype {dtype:?}"), &format!("dtype {}", names.join(", "))));
    }
    let right = weights.dims(tensor);
    if dims != right {
        let other = if weights == Weights::InOut { Weights::OutIn } else { Weights::InOut };
        let hint = match dims == other.dims(tensor) {
            true => format!("; the transpose fits: load it with Weights::{other:?}"),
            false => String::new(),
        };
        return Err(fail(name, &format!("shape {dims:?}"), &format!("shape {right:?}{hint}")));
    }
    Ok(weights.turned(tensor, file.read(name)?))
}
