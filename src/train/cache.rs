//! Tunings on disk: one JSON file for each adapter, in a folder of the caller's. It holds for one driver and for the
//! kernels of one version of strait; with others it is not used.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tune::target;
use crate::error::{Error, Result};
use crate::gpu::{AdapterSummary, Gpu};
use crate::inference::{failure, replace};
use crate::plan::{Product, Recording, Target, Tuning};

/// Characters of an adapter's name and backend that a file is named after.
const NAME: usize = 100;

/// What a tuning holds for.
#[derive(PartialEq, Serialize, Deserialize)]
struct Key {
    adapter: String,
    backend: String,
    driver: String,
    kernels: String,
}

/// A file.
#[derive(Serialize, Deserialize)]
struct File {
    #[serde(flatten)]
    key: Key,
    tuning: Tuning,
}

impl Tuning {
    /// Reads what [`Tuning::save`] wrote for this adapter: nothing where there is no file, or one for another driver,
    /// other kernels, or a device with other features.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with the path where the file is damaged; [`Error::Io`] where it cannot be read.
    pub fn load(folder: impl AsRef<Path>, gpu: &Gpu) -> Result<Option<Tuning>> {
        let path = place(folder.as_ref(), gpu.adapter());
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(Error::io(&path))?,
        };
        let fail = failure(&path);
        let damaged = |e: serde_json::Error| fail("tuning", &e.to_string(), "JSON that strait wrote");
        // The key first: what else another version writes is its own affair.
        let found: Key = serde_json::from_slice(&bytes).map_err(damaged)?;
        if found != Key::new(gpu)? {
            return Ok(None);
        }
        let File { tuning, .. } = serde_json::from_slice(&bytes).map_err(damaged)?;
        let usable = tuning.check(&Target::of(gpu, 1));
        usable.map_err(|e| fail("tuning", &e.to_string(), "tiles that this adapter can use"))?;
        Ok(Some(tuning))
    }

    /// Writes the tuning into a folder, for this adapter. Products that a file there names and this tuning does not are
    /// kept, where it still holds.
    ///
    /// # Errors
    /// [`Error::Io`], of the kind `ResourceBusy` where somebody else is writing the file; it is then as it was.
    pub fn save(&self, folder: impl AsRef<Path>, gpu: &Gpu) -> Result<()> {
        let folder = folder.as_ref();
        // A damaged file is no loss.
        let mut tuning = Tuning::load(folder, gpu).ok().flatten().unwrap_or_default();
        tuning.tiles.extend(&self.tiles);
        let file = serde_json::to_vec_pretty(&File { key: Key::new(gpu)?, tuning });
        let bytes = file.map_err(|e| Error::Internal(format!("tuning: {e}")))?;
        let path = place(folder, gpu.adapter());
        replace(&path, |mut file| file.write_all(&bytes).map_err(Error::io(&path)))
    }
}

impl Key {
    fn new(gpu: &Gpu) -> Result<Key> {
        let AdapterSummary { name, driver, backend, .. } = gpu.adapter().clone();
        Ok(Key { adapter: name, backend, driver, kernels: kernels(gpu)? })
    }
}

/// A number that changes with the texts of the kernels that a tuning chooses among, and with the choice. Should it
/// change with a compiler too, products are measured once more.
fn kernels(gpu: &Gpu) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    let all = Target::of(gpu, 1);
    for flags in 0..8 {
        let [ta, tb, half] = [1, 2, 4].map(|flag| flags & flag != 0);
        if half && !all.limits.f16 {
            continue;
        }
        // Rows of eight columns, so that octets are read where they can be.
        // A long sum too, which GPUs are given in parts.
        for inner in [8, 1 << 14] {
            let product = Product { rows: 8, inner, columns: 8, ta, tb, half };
            let graph = product.graph()?;
            for tile in all.tiles(&product) {
                let recording = Recording::new(&graph, target(gpu, &product, tile))?;
                recording.dispatches.iter().for_each(|dispatch| dispatch.wgsl.hash(&mut hasher));
            }
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// The file of an adapter.
fn place(folder: &Path, adapter: &AdapterSummary) -> PathBuf {
    let name = format!("{} {}", adapter.name, adapter.backend).to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(NAME).collect();
    folder.join(format!("tuning-{name}.json"))
}
