//! A binary file that is read from front to back, packed or not, where every way to end early is a typed error.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::MAX_BYTES;
use super::element::Layout;
use crate::{Error, Result};

/// The most bytes read at once; a multiple of every element's width.
pub(super) const PIECE: usize = 1 << 16;

/// The first two bytes of every gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An open file, or one within an archive, and how far it may be trusted.
pub(super) struct Input<'a> {
    path: PathBuf,
    name: String,
    reader: Box<dyn Read + 'a>,
    /// The length in bytes; `None` where it is unpacked, since the length then shows only at its end.
    length: Option<u64>,
    packing: Option<Packing>,
}

/// What a file is packed in.
#[derive(Clone, Copy)]
pub(super) struct Packing {
    /// What errors call it.
    pub(super) kind: &'static str,
    /// The bytes that unpacked values may take in memory: a small file may hold many.
    pub(super) max_bytes: u64,
    /// The function whose argument that is.
    pub(super) within: &'static str,
}

impl<'a> Input<'a> {
    /// Opens the file at `path`, unpacking it if it begins as a gzip file does.
    pub(super) fn open(path: &Path) -> Result<Input<'static>> {
        Input::open_within(path, MAX_BYTES)
    }

    /// As [`Input::open`], where the values of a gzipped file may take up to `max_bytes`.
    pub(super) fn open_within(path: &Path, max_bytes: u64) -> Result<Input<'static>> {
        let (mut file, length) = Input::file(path)?;
        if !file.fill_buf().map_err(Error::io(path))?.starts_with(&GZIP) {
            return Ok(Input::new(path, Box::new(file), Some(length)));
        }
        let packing = Packing { kind: "gzip file", max_bytes, within: "read_idx_within" };
        Ok(Input { packing: Some(packing), ..Input::new(path, Box::new(MultiGzDecoder::new(file)), None) })
    }

    /// Opens the file at `path` as it is.
    pub(super) fn open_plain(path: &Path) -> Result<Input<'static>> {
        let (file, length) = Input::file(path)?;
        Ok(Input::new(path, Box::new(file), Some(length)))
    }

    /// A file called `name` in the archive at `path`. Where its length is known, that must be no more than the archive's.
    #[cfg(feature = "npz")]
    pub(super) fn within(
        path: &Path,
        name: &str,
        reader: Box<dyn Read + 'a>,
        length: Option<u64>,
        packing: Packing,
    ) -> Input<'a> {
        let name = format!("{}: {name}", path.display());
        Input { name, packing: Some(packing), ..Input::new(path, reader, length) }
    }

    fn new(path: &Path, reader: Box<dyn Read + 'a>, length: Option<u64>) -> Input<'a> {
        Input { path: path.to_path_buf(), name: path.display().to_string(), reader, length, packing: None }
    }

    /// The open file and its length in bytes.
    pub(super) fn file(path: &Path) -> Result<(BufReader<File>, u64)> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        Ok((BufReader::new(file), length))
    }

    /// What errors call the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The length of the file in bytes; `None` if it is unpacked.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Fills `buffer` with the next bytes, which are the file's `part`.
    pub(super) fn fill(&mut self, part: &str, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.some(part, &mut buffer[filled..])? {
                0 => {
                    let found = format!("the end of the file after {filled} bytes of it");
                    return Err(Error::data(self.place(part), found, format!("{} bytes", buffer.len())));
                }
                count => filled += count,
            }
        }
        Ok(())
    }

    /// All values of the table, which must take up the rest of the file.
    ///
    /// Memory grows with what the file really holds and never by what its header says.
    pub(super) fn values(&mut self, layout: &Layout) -> Result<Vec<f32>> {
        if let Some(length) = self.length {
            layout.check_length(&self.name, length)?;
        } else if let Some(Packing { kind, max_bytes, within }) = self.packing {
            let bytes = (layout.rows as u64).saturating_mul(layout.columns as u64).saturating_mul(4);
            if bytes > max_bytes {
                let allowed = format!("{max_bytes} (max_bytes of {within}), for what is packed in a {kind}");
                return Err(Error::data(self.place("bytes of its values in memory"), bytes, allowed));
            }
        }
        let place = self.place("size");
        let too_large = |e| {
            let found = format!("{} x {} values: {e}", layout.rows, layout.columns);
            Error::data(place.clone(), found, "a table that fits in memory; stream a larger one")
        };
        let (width, count) = (layout.element.width(), layout.rows * layout.columns);
        let (mut values, mut piece, mut left) = (Vec::<f32>::new(), vec![0; PIECE], layout.bytes);
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let bytes = &mut piece[..length];
            let first = values.len();
            let next = first + length / width;
            self.fill(&layout.part(first), bytes)?;
            if next > values.capacity() {
                // Twofold, but never past what is to come.
                let room = next.max(2 * first).min(count);
                values.try_reserve_exact(room - first).map_err(&too_large)?;
            }
            values.resize(next, 0.0);
            layout.decode(&self.name, first, bytes, &mut values[first..])?;
            left -= length as u64;
        }
        if self.some("end", &mut [0])? != 0 {
            let allowed = format!("the end of the file, after {} x {} values", layout.rows, layout.columns);
            return Err(Error::data(self.place("end"), "more bytes", allowed));
        }
        if let Some(fortran) = &layout.fortran {
            fortran.reorder(&mut values).map_err(too_large)?;
        }
        Ok(values)
    }

    /// Reads at least one byte into `buffer`, or none at the end of the file.
    fn some(&mut self, part: &str, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.reader.read(buffer) {
                Ok(count) => return Ok(count),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // For a packed file these kinds are the unpacker's words about the content, not the system's.
                Err(e) => {
                    return Err(match self.packing {
                        Some(Packing { kind, .. }) if bad_content(e.kind()) => {
                            Error::data(self.place(part), e, format!("a whole, undamaged {kind}"))
                        }
                        _ => Error::io(&self.path)(e),
                    });
                }
            }
        }
    }

    /// The name of a part of the file in errors.
    fn place(&self, part: &str) -> String {
        format!("{}: {part}", self.name)
    }
}

/// What a file is that is none of numbers as they are asked for, by its first bytes, and what to do with it.
pub(super) fn other_kind(start: &[u8]) -> Option<(&'static str, &'static str)> {
    match start {
        [0x1f, 0x8b, ..] => Some(("a gzip file", "unpack it first")),
        [b'P', b'K', 3, 4, ..] => {
            Some(("a ZIP archive, as .npz files are", "read it with read_npz (feature npz), or unpack it first"))
        }
        [0x80, 2..=5, ..] => Some(("a Python pickle", "write the array with numpy.save instead")),
        [0x93, b'N', b'U', b'M', ..] => Some(("an NPY file", "read it with read_npy")),
        [0, 0, 8..=14, 1..=4, ..] => Some(("an IDX file", "read it with read_idx")),
        _ => None,
    }
}

/// Whether an error of this kind is about what a packed file holds.
pub(super) fn bad_content(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData)
}
