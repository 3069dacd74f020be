//! MNIST, and every data set that is laid out like it (Fashion-MNIST, KMNIST), from a folder.

use std::path::{Path, PathBuf};

use super::{Data, Scale, read_idx, read_idx_labels};
use crate::{Error, Result};

/// Reads the training and the test images in the folder `dir`: pixels scaled to 0 to 1, 60,000 x 784 and 10,000 x 784
/// for MNIST, with labels.
///
/// The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte`; a dot before `idx` and an ending `.gz` are understood too.
///
/// # Errors
///
/// [`Error::Io`] if the folder or a file cannot be read; [`Error::Data`] if a file is missing or is not what
/// [`read_idx`] and [`read_idx_labels`] accept, if images and labels are not equally many, or if training and test
/// images differ in size.
pub fn mnist(dir: impl AsRef<Path>) -> Result<(Data, Data)> {
    let dir = dir.as_ref();
    std::fs::metadata(dir).map_err(Error::io(dir))?;
    let (train, test) = (part(dir, "train")?, part(dir, "t10k")?);
    if train.columns() != test.columns() {
        let place = format!("{}: pixels of an image", test.name());
        return Err(Error::data(place, test.columns(), format!("{}, as in {}", train.columns(), train.name())));
    }
    Ok((train, test))
}

/// The images of one part, with labels.
fn part(dir: &Path, part: &str) -> Result<Data> {
    let images = read_idx(find(dir, part, "images", "idx3")?, Scale::Unit)?;
    images.with_labels(read_idx_labels(find(dir, part, "labels", "idx1")?)?)
}

/// The first spelling of a file's name that is there.
fn find(dir: &Path, part: &str, what: &str, kind: &str) -> Result<PathBuf> {
    let names = ["-", "."].map(|dot| ["", ".gz"].map(|end| format!("{part}-{what}{dot}{kind}-ubyte{end}"))).concat();
    let found = names.iter().map(|name| dir.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        Error::data(dir.display().to_string(), format!("no file of {part} {what}"), format!("one of {names:?}"))
    })
}
