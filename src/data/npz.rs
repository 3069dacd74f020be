//! NPZ, what `numpy.savez` writes: a ZIP archive whose entries are NPY files, stored as they are or deflated.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::input::{Input, Packing, bad_content, other_kind};
use super::{Data, MAX_BYTES, excerpt, npy};
use crate::{Error, Result};

/// What the entry of an array is called behind the array's name.
const ENDING: &str = ".npy";

/// Reads an array of an NPZ archive, as [`read_npy`](super::read_npy) reads a file of one. `name` is what the array was
/// called when it was saved (`x` for `numpy.savez(path, x=x)`, `arr_0` for the first without a name); an archive of one
/// array needs none. Needs the feature `npz`.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] if it is not a whole ZIP archive, if it holds no array, no
/// one of that name or, where no name is given, several (the error lists their names), if the array is encrypted, packed
/// otherwise than stored or deflated, damaged, or no NPY file that `read_npy` would read, or if the values of a deflated
/// one would take more than [`MAX_BYTES`] in memory; see [`read_npz_within`].
pub fn read_npz(path: impl AsRef<Path>, name: Option<&str>) -> Result<Data> {
    read_npz_within(path, name, MAX_BYTES)
}

/// As [`read_npz`], where the values of a deflated array (`numpy.savez_compressed`) may take up to `max_bytes` in memory,
/// four each. Those of a stored one are bounded by the size of the archive.
///
/// # Errors
///
/// As [`read_npz`].
pub fn read_npz_within(path: impl AsRef<Path>, name: Option<&str>, max_bytes: u64) -> Result<Data> {
    let mut archive = Archive::open(path.as_ref())?;
    let index = archive.find(name)?;
    npy::read(archive.entry(index, max_bytes)?)
}

/// The names of the arrays in an NPZ archive, in its order. Needs the feature `npz`.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] if it is not a whole ZIP archive.
pub fn npz_names(path: impl AsRef<Path>) -> Result<Vec<String>> {
    Ok(Archive::open(path.as_ref())?.arrays().map(|(_, name)| name.to_string()).collect())
}

/// An open archive and what its entries are called.
struct Archive {
    path: PathBuf,
    length: u64,
    zip: ZipArchive<BufReader<File>>,
    entries: Vec<String>,
}

impl Archive {
    fn open(path: &Path) -> Result<Archive> {
        let (mut file, length) = Input::file(path)?;
        if let Some((kind, advice)) = other_kind(file.fill_buf().map_err(Error::io(path))?)
            && !kind.contains("ZIP")
        {
            let allowed = format!("a ZIP archive, as .npz files are: {advice}");
            return Err(Error::data(path.display().to_string(), kind, allowed));
        }
        let refused = |e| refused(path, &path.display().to_string(), e);
        let zip = ZipArchive::new(file).map_err(refused)?;
        let names = zip.file_names().map(|name| name.map(|name| name.into_owned()));
        let entries = names.collect::<std::result::Result<_, _>>().map_err(refused)?;
        Ok(Archive { path: path.to_path_buf(), length, zip, entries })
    }

    /// The arrays: each one's number among the entries, and its name.
    fn arrays(&self) -> impl Iterator<Item = (usize, &str)> {
        let arrays = self.entries.iter().enumerate();
        arrays.filter_map(|(index, entry)| Some((index, entry.strip_suffix(ENDING)?)))
    }

    /// The number of the entry that is meant.
    fn find(&self, name: Option<&str>) -> Result<usize> {
        let place = |what: &str| format!("{}: {what}", self.path.display());
        let mut arrays = self.arrays();
        let Some((first, _)) = arrays.next() else {
            return Err(Error::data(place("arrays"), "none", format!("entries whose names end with {ENDING}")));
        };
        let Some(name) = name else {
            return match arrays.count() {
                0 => Ok(first),
                more => {
                    let found = format!("none, where there are {} arrays", more + 1);
                    Err(Error::data(place("name of the array"), found, format!("one of {}", self.names())))
                }
            };
        };
        // As numpy.load does: an entry's whole name first.
        let whole = self.entries.iter().position(|entry| entry == name);
        let named = || self.arrays().find(|(_, array)| *array == name).map(|(index, _)| index);
        whole.or_else(named).ok_or_else(|| {
            let allowed = format!("one of {}", self.names());
            Error::data(place("name of the array"), excerpt(name.as_bytes()), allowed)
        })
    }

    /// The names of the first arrays, for errors.
    fn names(&self) -> String {
        let names = self.arrays().take(50).map(|(_, name)| excerpt(name.as_bytes()));
        names.collect::<Vec<_>>().join(", ")
    }

    /// The NPY file that is the entry of this number.
    fn entry(&mut self, index: usize, max_bytes: u64) -> Result<Input<'_>> {
        let name = excerpt(self.entries[index].as_bytes());
        let place = format!("{}: {name}", self.path.display());
        let entry = self.zip.by_index(index).map_err(|e| refused(&self.path, &place, e))?;
        let length = match entry.compression() {
            // The archive may lie about it, but not hold more than its own length.
            CompressionMethod::Stored if entry.compressed_size() <= self.length => Some(entry.compressed_size()),
            CompressionMethod::Stored => {
                let allowed = format!("at most {}, the bytes of the archive", self.length);
                return Err(Error::data(format!("{place}: bytes"), entry.compressed_size(), allowed));
            }
            CompressionMethod::Deflated => None,
            other => return Err(Error::data(format!("{place}: packing"), other, "stored or deflated")),
        };
        let packing = Packing { kind: "ZIP archive", max_bytes, within: "read_npz_within" };
        Ok(Input::within(&self.path, &name, Box::new(entry), length, packing))
    }
}

/// The error for what the reader of archives says about the archive, or the entry, at `place`.
fn refused(path: &Path, place: &str, error: ZipError) -> Error {
    match error {
        ZipError::Io(e) if !bad_content(e.kind()) => Error::io(path)(e),
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
            Error::data(place, "an encrypted entry", "one that is not encrypted")
        }
        e => Error::data(place, e, "a whole, undamaged ZIP archive, as .npz files are"),
    }
}
