//! Tables of fixed-width numbers in a binary file: the element types and the layout that IDX and NPY share.

use super::fortran::Fortran;
use super::{FINITE, cell};
use crate::{Error, Result};

/// The type of a number in a file. Whole numbers past 2^24 are rounded to the nearest `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// A byte that is 0 or 1.
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl Element {
    /// Its width in bytes.
    pub(super) fn width(self) -> usize {
        match self {
            Element::Bool | Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 | Element::F16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::U64 | Element::I64 | Element::F64 => 8,
        }
    }

    /// What a value must be.
    fn allowed(self) -> &'static str {
        if self == Element::Bool { "0 or 1, the bytes of a bool" } else { FINITE }
    }
}

/// The order of the bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// That of this machine.
    pub(super) const NATIVE: Order = if cfg!(target_endian = "big") { Order::Big } else { Order::Little };
}

/// Where the table lies in its file and how to read it.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) element: Element,
    pub(super) order: Order,
    /// The byte at which the values begin.
    pub(super) offset: u64,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The bytes that the values take, checked not to overflow.
    pub(super) bytes: u64,
    /// How the order of the file differs from that of the table, if it does.
    pub(super) fortran: Option<Fortran>,
}

impl Layout {
    /// The layout of an array of `dimensions`: the first is the rows, the others make up the columns.
    pub(super) fn new(name: &str, element: Element, order: Order, offset: u64, dimensions: &[u64]) -> Result<Layout> {
        let Some((&rows, inner)) = dimensions.split_first() else {
            return Err(Error::data(format!("{name}: number of dimensions"), 0, "1 or more"));
        };
        if let Some(i) = dimensions.iter().position(|&d| d == 0) {
            return Err(Error::data(format!("{name}: dimension {i}"), 0, "1 or more"));
        }
        let columns = inner.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
        let bytes = columns.and_then(|c| c.checked_mul(rows)).and_then(|n| n.checked_mul(element.width() as u64));
        match (bytes, columns.map(usize::try_from), usize::try_from(rows)) {
            // The end of the file's values is asked for here too, so that no later sum can overflow.
            (Some(bytes), Some(Ok(columns)), Ok(rows))
                if bytes.checked_add(offset).is_some() && usize::try_from(bytes).is_ok() =>
            {
                Ok(Layout { element, order, offset, rows, columns, bytes, fortran: None })
            }
            _ => {
                let allowed = format!("sizes whose product, in bytes, is at most {}", usize::MAX);
                Err(Error::data(format!("{name}: dimensions"), format!("{dimensions:?}"), allowed))
            }
        }
    }

    /// The row and the column of the value that is number `index` in the file.
    pub(super) fn cell(&self, index: usize) -> (usize, usize) {
        match &self.fortran {
            Some(fortran) => fortran.cell(index),
            None => (index / self.columns, index % self.columns),
        }
    }

    /// What errors call the values from number `index` of the file on.
    pub(super) fn part(&self, index: usize) -> String {
        match (&self.fortran, self.cell(index)) {
            (None, (row, _)) => format!("values from row {row} on"),
            (Some(_), (row, column)) => format!("values in Fortran order from row {row}, column {column} on"),
        }
    }

    /// Checks the layout against the length of the file, before anything is allocated for it.
    pub(super) fn check_length(&self, name: &str, length: u64) -> Result<()> {
        let whole = self.offset + self.bytes;
        if length == whole {
            return Ok(());
        }
        let allowed = format!("the {whole} bytes of a header and {} x {} values", self.rows, self.columns);
        Err(Error::data(format!("{name}: length of the file in bytes"), length, allowed))
    }

    /// Decodes `bytes`, which begin at value `first` of the file, to `out`: one value for each whole element.
    pub(super) fn decode(&self, name: &str, first: usize, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        match self.element {
            // What is not finite is refused, as every other byte is.
            Element::Bool => {
                let bit = |v| if v < 2 { f32::from(v) } else { f32::NAN };
                self.each(name, first, bytes, out, u8::from_le_bytes, bit)
            }
            Element::U8 => self.each(name, first, bytes, out, u8::from_le_bytes, f32::from),
            Element::I8 => self.each(name, first, bytes, out, i8::from_le_bytes, f32::from),
            Element::U16 => self.each(name, first, bytes, out, u16::from_le_bytes, f32::from),
            Element::I16 => self.each(name, first, bytes, out, i16::from_le_bytes, f32::from),
            Element::U32 => self.each(name, first, bytes, out, u32::from_le_bytes, |v| v as f32),
            Element::I32 => self.each(name, first, bytes, out, i32::from_le_bytes, |v| v as f32),
            Element::U64 => self.each(name, first, bytes, out, u64::from_le_bytes, |v| v as f32),
            Element::I64 => self.each(name, first, bytes, out, i64::from_le_bytes, |v| v as f32),
            Element::F16 => self.each(name, first, bytes, out, half::f16::from_le_bytes, f32::from),
            Element::F32 => self.each(name, first, bytes, out, f32::from_le_bytes, |v| v),
            Element::F64 => self.each(name, first, bytes, out, f64::from_le_bytes, |v| v as f32),
        }
    }

    /// [`decode`](Layout::decode) for elements of type `T`, `W` bytes wide.
    fn each<const W: usize, T: Copy + std::fmt::Debug>(
        &self,
        name: &str,
        first: usize,
        bytes: &[u8],
        out: &mut [f32],
        from_le_bytes: fn([u8; W]) -> T,
        to_f32: fn(T) -> f32,
    ) -> Result<()> {
        for (i, (&element, value)) in bytes.as_chunks::<W>().0.iter().zip(out).enumerate() {
            let mut element = element;
            if self.order == Order::Big {
                element.reverse();
            }
            let found = from_le_bytes(element);
            *value = to_f32(found);
            if !value.is_finite() {
                let (row, column) = self.cell(first + i);
                return Err(Error::data(cell(name, row, column), format!("{found:?}"), self.element.allowed()));
            }
        }
        Ok(())
    }
}
