//! What a file has of tensors on the GPU: by which name, and where each lies. Files are written, checked and read by it.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::file::own;
use super::resident::Resident;
use super::tensors::{self, TensorFile, failure};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::graph::{Kept, Shape, Tensor};

/// The version of the files written here; readers refuse a newer one.
const VERSION: u64 = 1;

/// The key of a file's version.
const KEY: &str = "strait.version";

/// Tensors by their names in a file.
#[derive(Default)]
pub(crate) struct Contents(Vec<Entry>);

struct Entry {
    /// Called as in the file.
    tensor: Tensor,
    /// What of the i-th trainable tensor it is, or the i-th frozen one.
    kept: Option<Kept>,
    i: usize,
}

impl Contents {
    /// Adds a tensor: what is kept of the i-th trainable one, or the i-th frozen one.
    pub fn add(&mut self, name: String, shape: &Shape, kept: Option<Kept>, i: usize) {
        self.0.push(Entry { tensor: Tensor { name, shape: shape.clone() }, kept, i });
    }

    /// Writes them beside some metadata; errors name `path`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn write(
        &self,
        path: &Path,
        out: &mut dyn Write,
        metadata: impl IntoIterator<Item = (String, String)>,
        resident: &Resident,
    ) -> Result<()> {
        let version = (KEY.to_string(), VERSION.to_string());
        let metadata: HashMap<String, String> = metadata.into_iter().chain([version]).collect();
        let tensors: Vec<(String, Vec<usize>)> =
            self.0.iter().map(|Entry { tensor, .. }| (tensor.name.clone(), tensor.shape.dims.clone())).collect();
        let constants = if self.0.iter().any(|entry| entry.kept.is_none()) { resident.constants()? } else { vec![] };
        tensors::write(path, out, metadata, &tensors, |at| match self.0[at] {
            Entry { kept: Some(kept), i, .. } => resident.read(kept, i),
            Entry { kept: None, i, .. } => Ok(constants[i].clone()),
        })
    }

    /// Checks that a file has each of them, in the right shape and of finite numbers, and no other.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor; [`Error::Io`].
    pub(super) fn check(&self, file: &mut TensorFile) -> Result<()> {
        let mut named = BTreeSet::new();
        for Entry { tensor, .. } in &self.0 {
            named.insert(&tensor.name);
            own(file, "", tensor)?;
        }
        match file.names().iter().find(|name| !named.contains(name)) {
            None => Ok(()),
            Some(name) => Err(failure(file.path())(name, "a tensor", "the tensors of the model and of the run alone")),
        }
    }

    /// Reads them from a file.
    ///
    /// # Errors
    /// As [`Contents::check`]; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn fill(&self, file: &mut StateFile, resident: &mut Resident) -> Result<()> {
        let mut constants = Vec::new();
        for Entry { tensor, kept, i } in &self.0 {
            let values = own(&mut file.0, "", tensor)?;
            match kept {
                None => constants.push(values),
                Some(kept) => {
                    resident.keep_of(*i, *kept)?;
                    resident.write(*kept, *i, &values)?;
                }
            }
        }
        if !constants.is_empty() {
            resident.set_constants(&constants)?;
        }
        // What was written is held twice until something is submitted.
        resident.gpu.submit([])
    }
}

/// Fails where a file is not of a version that can be read.
pub(super) fn check_version(file: &TensorFile) -> Result<()> {
    let fail = failure(file.path());
    let version = file.metadata(KEY).ok_or_else(|| fail(KEY, "nothing", "metadata that strait wrote"))?;
    match version.parse() {
        Ok(1..=VERSION) => Ok(()),
        _ => Err(fail(KEY, &format!("{version:?}"), &format!("1 to {VERSION}"))),
    }
}

/// A file of tensors whose header was read.
pub(crate) struct StateFile(TensorFile);

impl StateFile {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] and [`Error::Io`].
    pub fn open(path: &Path) -> Result<StateFile> {
        StateFile::of(TensorFile::open(path)?)
    }

    /// The same of one in memory.
    ///
    /// # Errors
    /// As [`StateFile::open`].
    pub fn in_memory(name: &Path, bytes: Arc<[u8]>) -> Result<StateFile> {
        StateFile::of(TensorFile::in_memory(name, bytes)?)
    }

    fn of(file: TensorFile) -> Result<StateFile> {
        check_version(&file)?;
        Ok(StateFile(file))
    }

    /// Where it lies, or what it is called in memory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Its metadata under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata(key)
    }

    /// Checks that it has what it should, and nothing else.
    ///
    /// # Errors
    /// As [`Contents::check`].
    pub fn check(&mut self, contents: &Contents) -> Result<()> {
        contents.check(&mut self.0)
    }
}
