//! Checkpoints in memory: they outlive the device, which cannot be read any more once it is lost.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

#[cfg(doc)]
use super::{Session, Trainer};
use crate::error::{Error, Result};
use crate::inference;
use crate::model::Spec;

/// What a snapshot is called where a file has its path.
pub(super) const SNAPSHOT: &str = "snapshot";

/// Everything that a checkpoint holds, in memory: see [`Session::snapshot`] and [`Trainer::snapshot`]. Cloning gives
/// another handle to the same bytes.
#[derive(Clone)]
pub struct Snapshot {
    /// The spec with what its names mean, which a file does not hold; none of a trainer's.
    spec: Option<Spec>,
    step: u64,
    /// A checkpoint's file.
    bytes: Arc<[u8]>,
}

impl Snapshot {
    pub(super) fn new(spec: Option<Spec>, step: u64, bytes: Vec<u8>) -> Snapshot {
        Snapshot { spec, step, bytes: bytes.into() }
    }

    /// The step that it was taken after: of a trainer's, one of its phase.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes it as a checkpoint's file, in the place of what is there.
    ///
    /// # Errors
    /// [`Error::Io`], as [`Session::checkpoint`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        inference::replace(path, |mut file| file.write_all(&self.bytes).map_err(Error::io(path)))
    }

    pub(super) fn spec(&self) -> Option<&Spec> {
        self.spec.as_ref()
    }

    pub(super) fn content(&self) -> Arc<[u8]> {
        self.bytes.clone()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("step", &self.step).field("bytes", &self.bytes.len()).finish()
    }
}
