//! Rows that lie on the GPU already and change while training goes on: a ring that the host pushes rows into, or a buffer of
//! the host's own.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(doc)]
use super::{Session, Trainer};
use crate::data::{Data, Source};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Work, lock};
use crate::inference::fits_binding;

/// The last rows that were pushed, on the GPU. It is given to [`Session::load`], [`Session::fit`] and their like, and to
/// those of a [`Trainer`], where other data is given; rows are pushed before and meanwhile, from any thread. Each submit of
/// steps trains on the rows that are there at that moment. Cloning gives another handle to the same rows.
///
/// An epoch is as many batches as a full ring has, so that [`crate::Training::epochs`] says how long a run is; what is held out
/// for validation is the caller's to say ([`Session::set_validation`]). How a run goes depends on when rows are pushed;
/// pushed at the same steps they give the same bits.
///
/// ```no_run
/// # use std::time::Duration;
/// # use strait::{Activation, Gpu, Result, Session, Spec, Training};
/// # fn recorded() -> Vec<f32> { vec![0.0; 64] }
/// use strait::train::Ring;
///
/// # fn main() -> Result<()> {
/// let gpu = Gpu::new()?;
/// let ring = Ring::uniform(&gpu, 64, 4096)?;
/// ring.push(&recorded())?;
/// let spec = Spec::symmetric(&[64, 16], Activation::Elu);
/// let mut session = Session::new(&gpu, &spec, Training { epochs: 1 << 30, ..Training::default() })?;
/// session.load(&ring)?;
/// // Each frame:
/// ring.push(&recorded())?;
/// while session.progress()?.is_some() {}
/// session.step_for(Duration::from_millis(4))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Ring(Arc<Inner>);

struct Inner {
    gpu: Gpu,
    buffer: Buffer,
    columns: usize,
    /// Rows that it holds at most.
    capacity: usize,
    order: Order,
    /// Rows that were ever pushed. Whoever pushes holds it until they are on their way.
    pushed: Mutex<u64>,
}

/// In which order steps see the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// A fresh one each submit and each pass. The k-th row that is pushed lies at k modulo the capacity.
    Uniform,
    /// From the newest on. The k-th row lies as far from the end, twice: so from each on to the oldest all lie side by side.
    Newest,
    /// As [`Order::Uniform`], in a buffer of the host's, which is full from the beginning.
    Host,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { columns, capacity, order, .. } = &*self.0;
        let ring = &mut f.debug_struct("Ring");
        ring.field("columns", columns)
            .field("capacity", capacity)
            .field("order", order)
            .field("rows", &self.rows())
            .finish()
    }
}

impl From<&Ring> for Arc<dyn Source> {
    fn from(ring: &Ring) -> Arc<dyn Source> {
        Arc::new(ring.clone())
    }
}

impl From<Ring> for Arc<dyn Source> {
    fn from(ring: Ring) -> Arc<dyn Source> {
        Arc::new(ring)
    }
}

impl Ring {
    /// An empty ring of up to `capacity` rows of `columns` values, from which batches are drawn uniformly: those of a
    /// submit, up to a pass over all rows, without one twice.
    ///
    /// # Errors
    /// [`Error::Spec`] where one of both is 0; [`Error::Limit`] where the device binds no such buffer; [`Error::Device`].
    pub fn uniform(gpu: &Gpu, columns: usize, capacity: usize) -> Result<Ring> {
        Ring::new(gpu, columns, capacity, Order::Uniform)
    }

    /// The same, of which each submit sees the newest rows first, and older ones as far as its steps go. It takes twice
    /// the memory. Graphs of a [`Trainer`] gather in order then.
    ///
    /// # Errors
    /// As [`Ring::uniform`].
    pub fn newest(gpu: &Gpu, columns: usize, capacity: usize) -> Result<Ring> {
        Ring::new(gpu, columns, capacity, Order::Newest)
    }

    /// A buffer of the host's on the same device, or a part of it, with `rows` rows of `columns` values without padding:
    /// what is rendered or recorded there is trained on, batches drawn uniformly. What the host submits before a submit of
    /// steps is seen by them. The buffer has the usages `STORAGE` and `COPY_SRC`, and ends at a multiple of 16 bytes.
    ///
    /// # Errors
    /// As [`Ring::uniform`]; [`Error::Limit`] where the buffer is smaller than that.
    pub fn of_buffer(gpu: &Gpu, buffer: Buffer, columns: usize, rows: usize) -> Result<Ring> {
        let needs = bytes(columns, rows)?;
        if buffer.bytes() < needs {
            let what = format!("{rows} rows of {columns} values in the host's own buffer");
            return Err(Error::Limit { what, needs, allowed: buffer.bytes(), limit: "its bytes" });
        }
        fits_binding(gpu, "rows in the host's own buffer", needs)?;
        Ok(Ring::of(gpu, buffer, columns, rows, Order::Host, rows as u64))
    }

    fn new(gpu: &Gpu, columns: usize, capacity: usize, order: Order) -> Result<Ring> {
        let copies = if order == Order::Newest { 2 } else { 1 };
        let bytes = bytes(columns, capacity.saturating_mul(copies))?;
        fits_binding(gpu, "a ring of rows", bytes)?;
        Ok(Ring::of(gpu, gpu.buffer("pushed rows", bytes)?, columns, capacity, order, 0))
    }

    fn of(gpu: &Gpu, buffer: Buffer, columns: usize, capacity: usize, order: Order, pushed: u64) -> Ring {
        Ring(Arc::new(Inner { gpu: gpu.clone(), buffer, columns, capacity, order, pushed: Mutex::new(pushed) }))
    }

    /// Rows that it holds at most.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Pushes rows, row-major, the newest last; where the ring is full they take the places of the oldest. It neither waits
    /// nor reads anything back.
    ///
    /// # Errors
    /// [`Error::Data`] where these are not whole rows, or a value is not finite: nothing is pushed then.
    /// [`Error::Device`] and [`Error::DeviceLost`].
    pub fn push(&self, rows: &[f32]) -> Result<()> {
        let columns = self.0.columns;
        if rows.is_empty() || !rows.len().is_multiple_of(columns) {
            let allowed = format!("whole rows of {columns} values, at least one");
            return Err(Error::data("rows to push", format!("{} values", rows.len()), allowed));
        }
        if let Some(at) = rows.iter().position(|v| !v.is_finite()) {
            let place = format!("rows to push: row {}, column {}", at / columns, at % columns);
            return Err(Error::data(place, rows[at], "a finite number"));
        }
        let (first, mut pushed) = self.begin(rows.len() / columns)?;
        for part in self.parts(*pushed, rows.len() / columns - first) {
            let values = &rows[(first + part.start) * columns..(first + part.end) * columns];
            let [at, again] = self.places(*pushed + part.start as u64, part.len());
            let reversed: Vec<f32>;
            let values = if self.0.order == Order::Newest {
                reversed = values.chunks(columns).rev().flatten().copied().collect();
                &reversed[..]
            } else {
                values
            };
            for at in at.into_iter().chain(again) {
                self.0.gpu.write(&self.0.buffer, self.offset(at), bytemuck::cast_slice(values))?;
            }
        }
        *pushed += (rows.len() / columns - first) as u64;
        self.0.gpu.alive()
    }

    /// Pushes rows out of a buffer of the host's on the same device, or a part of it, that lie there without padding. They
    /// are copied there, after whatever was submitted before. That they are finite is not known here: a step that meets
    /// one that is not ends the run.
    ///
    /// # Errors
    /// As [`Ring::push`]; [`Error::Device`] where the buffer is too small or has not the usage `COPY_SRC`.
    pub fn push_buffer(&self, buffer: &Buffer, rows: usize) -> Result<()> {
        let columns = self.0.columns;
        if rows == 0 {
            return Err(Error::data("rows to push", 0, "1 or more"));
        }
        let row = columns as u64 * 4;
        buffer.check("push rows", 0, row.saturating_mul(rows as u64))?;
        let (first, mut pushed) = self.begin(rows)?;
        let mut copies = Vec::new();
        for part in self.parts(*pushed, rows - first) {
            // Rows side by side go together; those that lie in the other order one by one.
            let each = if self.0.order == Order::Newest { 1 } else { part.len() };
            for start in part.clone().step_by(each) {
                let [at, again] = self.places(*pushed + start as u64, each);
                let from = buffer.slice((first + start) as u64 * row, each as u64 * row)?;
                for at in at.into_iter().chain(again) {
                    copies.push([from.clone(), self.0.buffer.slice(self.offset(at), each as u64 * row)?]);
                }
            }
        }
        self.0.gpu.submit(copies.iter().map(|[from, to]| Work::Copy(from, to)))?;
        *pushed += (rows - first) as u64;
        self.0.gpu.alive()
    }

    /// The first of so many rows that is kept, where they are more than all, and how many were pushed before.
    fn begin(&self, rows: usize) -> Result<(usize, MutexGuard<'_, u64>)> {
        if self.0.order == Order::Host {
            let allowed = "rows that the host writes into it";
            return Err(Error::data("rows to push", "a ring over the host's own buffer", allowed));
        }
        Ok((rows.saturating_sub(self.0.capacity), lock(&self.0.pushed)))
    }

    /// Rows of a push in parts whose places lie side by side.
    fn parts(&self, pushed: u64, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let capacity = self.0.capacity;
        let end = rows.min(capacity - (pushed % capacity as u64) as usize);
        [0..end, end..rows].into_iter().filter(|part| !part.is_empty())
    }

    /// Where so many rows from the k-th on begin that lie side by side: once, or twice.
    fn places(&self, k: u64, rows: usize) -> [Option<usize>; 2] {
        let (capacity, at) = (self.0.capacity, (k % self.0.capacity as u64) as usize);
        match self.0.order {
            Order::Newest => [Some(capacity - at - rows), Some(2 * capacity - at - rows)],
            Order::Uniform | Order::Host => [Some(at), None],
        }
    }

    /// Where a row lies, in bytes.
    fn offset(&self, row: usize) -> u64 {
        (row * self.0.columns) as u64 * 4
    }

    /// The rows that are there now, from the oldest on.
    pub(super) fn copy(&self) -> Result<Data> {
        let mut values = vec![0.0; self.rows() * self.0.columns];
        self.read(0, &mut values)?;
        Data::from_rows(self.0.columns, values)
    }

    /// The buffer, and rows of it.
    pub(super) fn buffer(&self) -> (&Buffer, usize) {
        let copies = if self.0.order == Order::Newest { 2 } else { 1 };
        (&self.0.buffer, self.0.capacity * copies)
    }

    /// Whether its rows come in a drawn order.
    pub(super) fn is_shuffled(&self) -> bool {
        self.0.order != Order::Newest
    }

    /// Where a submit begins to read now, and how many rows lie there.
    pub(super) fn window(&self) -> (usize, usize) {
        let (pushed, capacity) = (*lock(&self.0.pushed), self.0.capacity);
        let rows = pushed.min(capacity as u64) as usize;
        let newest = |pushed: u64| capacity - 1 - ((pushed - 1) % capacity as u64) as usize;
        (if self.is_shuffled() || rows == 0 { 0 } else { newest(pushed) }, rows)
    }
}

/// The rows that are there, from the oldest on; they are read back from the GPU.
impl Source for Ring {
    fn rows(&self) -> usize {
        self.window().1
    }

    fn columns(&self) -> usize {
        self.0.columns
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        let columns = self.0.columns;
        let pushed = lock(&self.0.pushed);
        let (rows, count) = ((*pushed).min(self.0.capacity as u64) as usize, out.len() / columns);
        if !out.len().is_multiple_of(columns) || first_row.saturating_add(count) > rows {
            let found = format!("{} values from row {first_row} on", out.len());
            return Err(Error::data(self.name(), found, format!("whole rows of {columns} values, of {rows} rows")));
        }
        let oldest = *pushed - rows as u64 + first_row as u64;
        for part in self.parts(oldest, count) {
            let [at, _] = self.places(oldest + part.start as u64, part.len());
            let values = self.0.gpu.read(&self.0.buffer, at.unwrap_or(0) * columns, part.len() * columns)?;
            let out = &mut out[part.start * columns..part.end * columns];
            match self.0.order {
                Order::Newest => {
                    let newest_first = values.chunks(columns).rev();
                    out.chunks_mut(columns).zip(newest_first).for_each(|(out, row)| out.copy_from_slice(row));
                }
                Order::Uniform | Order::Host => out.copy_from_slice(&values),
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "pushed rows"
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// Bytes of so many rows.
fn bytes(columns: usize, rows: usize) -> Result<u64> {
    for (field, value) in [("columns", columns), ("rows", rows)] {
        if value == 0 {
            return Err(Error::spec(field, 0, "1 or more"));
        }
    }
    let values = (columns as u64).saturating_mul(rows as u64);
    Ok(values.saturating_mul(4).checked_next_multiple_of(16).unwrap_or(u64::MAX))
}
