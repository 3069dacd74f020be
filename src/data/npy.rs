//! NPY, NumPy's file of one array: a magic string, a version, a header in Python's notation, the values.

use std::path::Path;

use super::Data;
use super::element::Layout;
use super::fortran::Fortran;
use super::input::{Input, other_kind};
use super::npy_header::Header;
use crate::{Error, Result};

const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// The bytes of the longest header that is read where the length of the file is not known: the longest of version 1.0.
const LONGEST_HEADER: u64 = 65_535;

/// Reads an NPY file (version 1.0, 2.0 or 3.0): rows are the first dimension, columns all others in C order, the last
/// index fastest (n x 1 for an array of one dimension), whether the array was saved in C order or in Fortran order.
/// Element types are f2, f4, f8, u1, u2, u4, u8, i1, i2, i4 and i8, in either byte order, and b1 (bool) as 0 and 1; whole
/// numbers past 2^24 are rounded to the nearest `f32`. The byte order `=`, that of the machine which wrote the file, is
/// taken for this machine's.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] if it is not a well-formed NPY file of exactly the size
/// its header says, if it holds another element type, if a value is not finite as `f32`, or if the byte of a bool is
/// neither 0 nor 1.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Data> {
    read(Input::open_plain(path.as_ref())?)
}

/// Reads an NPY file that may lie in an archive.
pub(super) fn read(mut input: Input) -> Result<Data> {
    let layout = read_header(&mut input)?;
    let values = input.values(&layout)?;
    Data::named(input.name(), layout.columns, values)
}

fn read_header(input: &mut Input) -> Result<Layout> {
    let name = input.name().to_string();
    let mut magic = MAGIC;
    input.fill("magic string", &mut magic)?;
    if magic != MAGIC {
        let (place, allowed) = (format!("{name}: magic string"), MAGIC.escape_ascii());
        return Err(match other_kind(&magic).filter(|_| magic[..4] != MAGIC[..4]) {
            Some((kind, advice)) => Error::data(place, kind, format!("{allowed}, an NPY file: {advice}")),
            None => Error::data(place, magic.escape_ascii(), allowed.to_string()),
        });
    }
    let mut version = [0; 2];
    input.fill("version", &mut version)?;
    let mut word = [0; 4];
    let used = match version {
        [1, 0] => &mut word[..2],
        [2 | 3, 0] => &mut word[..],
        [major, minor] => {
            return Err(Error::data(format!("{name}: version"), format!("{major}.{minor}"), "1.0, 2.0 or 3.0"));
        }
    };
    input.fill("length of the header", used)?;
    let start = (MAGIC.len() + version.len() + used.len()) as u64;
    let length = u32::from_le_bytes(word);
    let rest = input.length().map_or(LONGEST_HEADER, |whole| whole.saturating_sub(start));
    if u64::from(length) > rest {
        let place = format!("{name}: length of the header in bytes");
        let whose = if input.length().is_some() { "the bytes that follow" } else { "in an archive" };
        return Err(Error::data(place, length, format!("at most {rest}, {whose}")));
    }
    let mut text = vec![0; length as usize];
    input.fill("header", &mut text)?;
    let header = Header::parse(&name, &text)?;
    let layout = Layout::new(&name, header.element, header.order, start + u64::from(length), &header.shape)?;
    let fortran = if header.fortran { Fortran::new(&header.shape) } else { None };
    Ok(Layout { fortran, ..layout })
}
