//! IDX, the format of MNIST: a magic number with element type and number of dimensions, the dimensions, the values;
//! everything big-endian.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::element::{Element, Layout, Order};
use super::input::{Input, PIECE, other_kind};
use super::{Data, MAX_BYTES, Source, span};
use crate::{Error, Result};

/// What becomes of the values of an IDX file. Nothing is scaled unless it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// The values as they are stored, whatever their type.
    Raw,
    /// Bytes divided by 255, so that they lie in 0 to 1. Allowed for files of `u8` only.
    Unit,
}

impl Scale {
    /// Checks that the values of a file may be scaled so.
    fn check(self, name: &str, element: Element) -> Result<()> {
        if self == Scale::Unit && element != Element::U8 {
            let found = format!("{element:?}");
            return Err(Error::data(format!("{name}: element type"), found, "U8, to divide by 255 (Scale::Unit)"));
        }
        Ok(())
    }

    fn apply(self, values: &mut [f32]) {
        match self {
            Scale::Raw => {}
            Scale::Unit => values.iter_mut().for_each(|v| *v /= 255.0),
        }
    }
}

/// Reads an IDX file, plain or gzipped: rows are the first dimension, columns all others (n x (h*w) for images, n x 1
/// for a file of one dimension). Element types are u8, i8, i16, i32, f32 and f64; whole numbers past 2^24 are rounded to
/// the nearest `f32`.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] if it is not a well-formed IDX file of exactly the size
/// its header says, if a value is not finite as `f32`, if `scale` does not suit the element type, or if the values of a
/// gzipped file would take more than [`MAX_BYTES`] in memory; see [`read_idx_within`].
pub fn read_idx(path: impl AsRef<Path>, scale: Scale) -> Result<Data> {
    read_idx_within(path, scale, MAX_BYTES)
}

/// As [`read_idx`], where the values of a gzipped file may take up to `max_bytes` in memory, four each. Those of a plain
/// file are bounded by its size.
///
/// # Errors
///
/// As [`read_idx`].
pub fn read_idx_within(path: impl AsRef<Path>, scale: Scale, max_bytes: u64) -> Result<Data> {
    let mut input = Input::open_within(path.as_ref(), max_bytes)?;
    let (layout, _) = read_header(&mut input)?;
    scale.check(input.name(), layout.element)?;
    let mut values = input.values(&layout)?;
    scale.apply(&mut values);
    Data::named(input.name(), layout.columns, values)
}

/// Reads the labels in an IDX file of one dimension, plain or gzipped.
///
/// # Errors
///
/// As [`read_idx`]; also [`Error::Data`] if the file has more than one dimension or a label is not a whole number from
/// 0 to 2^24 - 1.
pub fn read_idx_labels(path: impl AsRef<Path>) -> Result<Vec<u32>> {
    let mut input = Input::open(path.as_ref())?;
    let (layout, dimensions) = read_header(&mut input)?;
    if dimensions.len() != 1 {
        let place = format!("{}: number of dimensions", input.name());
        return Err(Error::data(place, dimensions.len(), "1, for labels"));
    }
    let values = input.values(&layout)?;
    let label = |(row, &v): (usize, &f32)| {
        // Below 2^24 every whole number is exact in f32; what was rounded on the way here is not below.
        if v >= 0.0 && v < (1 << 24) as f32 && v.fract() == 0.0 {
            return Ok(v as u32);
        }
        Err(Error::data(format!("{}: label {row}", input.name()), v, "a whole number from 0 to 16777215"))
    };
    values.iter().enumerate().map(label).collect()
}

/// An IDX file on disk as a [`Source`]: rows are read when they are asked for, and nothing is held in memory.
///
/// The file must not be gzipped, as rows are found by seeking.
#[derive(Debug)]
pub struct IdxFile {
    path: PathBuf,
    name: String,
    layout: Layout,
    dimensions: Vec<usize>,
    scale: Scale,
    // Seeking and reading are two calls, which two threads must not interleave.
    file: Mutex<File>,
}

impl IdxFile {
    /// Opens the file and checks its header and its length.
    ///
    /// # Errors
    ///
    /// As [`read_idx`], except that values are checked when they are read; also [`Error::Data`] for a gzipped file.
    pub fn open(path: impl AsRef<Path>, scale: Scale) -> Result<IdxFile> {
        let path = path.as_ref();
        let mut input = Input::open(path)?;
        let name = input.name().to_string();
        let Some(length) = input.length() else {
            return Err(Error::data(name, "a gzipped file", "a plain IDX file; unpack it, or use read_idx"));
        };
        let (layout, dimensions) = read_header(&mut input)?;
        scale.check(&name, layout.element)?;
        layout.check_length(&name, length)?;
        let file = Mutex::new(File::open(path).map_err(Error::io(path))?);
        Ok(IdxFile { path: path.to_path_buf(), name, layout, dimensions, scale, file })
    }

    /// The sizes of the array, rows first: `[n, height, width]` for images.
    pub fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }
}

impl Source for IdxFile {
    fn rows(&self) -> usize {
        self.layout.rows
    }

    fn columns(&self) -> usize {
        self.layout.columns
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        let mut first = span(self, first_row, out.len())?.start;
        let width = self.layout.element.width();
        let failed = |e: std::io::Error| match e.kind() {
            ErrorKind::UnexpectedEof => {
                Error::data(&self.name, "the end of the file", "the values that were there when it was opened")
            }
            _ => Error::io(&self.path)(e),
        };
        // A thread that panicked with the lock leaves nothing half-done: every read begins by seeking.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.layout.offset + (first * width) as u64)).map_err(failed)?;
        let mut piece = vec![0; PIECE.min(out.len() * width)];
        for values in out.chunks_mut(PIECE / width) {
            let bytes = &mut piece[..values.len() * width];
            file.read_exact(bytes).map_err(failed)?;
            self.layout.decode(&self.name, first, bytes, values)?;
            self.scale.apply(values);
            first += values.len();
        }
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Reads the header: the layout of the values and the dimensions.
fn read_header(input: &mut Input) -> Result<(Layout, Vec<usize>)> {
    let mut magic = [0; 4];
    input.fill("magic number", &mut magic)?;
    let name = input.name().to_string();
    let [0, 0, code, count] = magic else {
        let (found, allowed) = (format!("{magic:02x?}"), "[00, 00, type, dimensions]");
        let (found, allowed) = match other_kind(&magic) {
            Some((kind, advice)) => (kind.into(), format!("{allowed}, an IDX file: {advice}")),
            None => (found, allowed.into()),
        };
        return Err(Error::data(format!("{name}: magic number"), found, allowed));
    };
    let element = match code {
        0x08 => Element::U8,
        0x09 => Element::I8,
        0x0b => Element::I16,
        0x0c => Element::I32,
        0x0d => Element::F32,
        0x0e => Element::F64,
        _ => {
            let allowed = "0x08 (u8), 0x09 (i8), 0x0b (i16), 0x0c (i32), 0x0d (f32), 0x0e (f64)";
            return Err(Error::data(format!("{name}: element type"), format!("{code:#04x}"), allowed));
        }
    };
    let mut dimensions = Vec::new();
    for i in 0..count {
        let mut size = [0; 4];
        input.fill(&format!("dimension {i}"), &mut size)?;
        dimensions.push(u32::from_be_bytes(size));
    }
    let offset = 4 + 4 * u64::from(count);
    let sizes: Vec<u64> = dimensions.iter().map(|&d| d.into()).collect();
    let layout = Layout::new(&name, element, Order::Big, offset, &sizes)?;
    // Layout has checked that their product fits in a usize, so each of them does.
    Ok((layout, dimensions.iter().map(|&d| d as usize).collect()))
}
