//! Rows that lie on the GPU already and change while training goes on: a ring that the host pushes rows into, or a buffer of
//! the host's own.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

#[cfg(doc)]
use super::{Session, Trainer};
use crate::data::{Data, Source, check_weight};
use crate::error::{Error, Result, finite_rows};
use crate::gpu::{Buffer, Gpu, Work, lock};
use crate::inference::fits_binding;

/// The last rows that were pushed, on the GPU. It is given to [`Session::load`], [`Session::fit`] and their like, and to
/// those of a [`Trainer`], on the same device, where other data is given; rows are pushed before and meanwhile, from any thread. After a
/// loss of the device it is made anew: the rows are gone with it. Each submit of
/// steps trains on the rows that are there at that moment. Cloning gives another handle to the same rows.
///
/// An epoch is as many batches as a full ring has, so that [`crate::Training::epochs`] says how long a run is; what is held out
/// for validation is the caller's to say ([`Session::set_validation`]). The scaling of the input is learned, and what the loss
/// needs is looked at, when the ring is loaded: what comes later is the caller's to see to. A step over such rows is not spread
/// over several frames, since they would change in its middle; nor are those of a turn taken apart, but where a host does so by
/// steps ([`Trainer::step`]). How a run goes depends on when rows are pushed;
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
    /// Whether the last value of a row is its weight.
    weighted: bool,
    pushed: Mutex<Pushed>,
}

/// Rows that were ever pushed. The lock is not held while anything is written, since whoever is called back meanwhile may
/// push, too.
#[derive(Default)]
struct Pushed {
    /// Those that have a place.
    begun: u64,
    /// Those that are on their way, and before which all are,
    done: u64,
    /// and others that are, by their number and how many there are.
    after: BTreeMap<u64, u64>,
}

impl Pushed {
    /// Notes that so many rows from the k-th on are on their way, or that they are not: then others take their places,
    /// unless these have been given to somebody after them.
    fn end(&mut self, k: u64, rows: u64, written: bool) {
        if !written && self.begun == k + rows {
            self.begun = k;
            return;
        }
        self.after.insert(k, rows);
        while let Some(rows) = self.after.remove(&self.done) {
            self.done += rows;
        }
    }
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

    /// A buffer of the host's on the same device, or a part of it, with `rows` rows of `columns` values without
    /// padding: what is rendered or recorded there is trained on, batches drawn uniformly. A part begins at a multiple
    /// of 256 bytes. What the host submits before a submit of steps is seen by them. The buffer has the usages
    /// `STORAGE` and `COPY_SRC`, and ends at a multiple of 16 bytes.
    ///
    /// # Errors
    /// As [`Ring::uniform`]; [`Error::Limit`] where the buffer is smaller than that, [`Error::Spec`] where it begins elsewhere or
    /// lacks a usage.
    pub fn of_buffer(gpu: &Gpu, buffer: Buffer, columns: usize, rows: usize) -> Result<Ring> {
        let needs = bytes(columns, rows)?;
        if buffer.bytes() < needs {
            let what = format!("{rows} rows of {columns} values in the host's own buffer");
            return Err(Error::Limit { what, needs, allowed: buffer.bytes(), limit: "its bytes" });
        }
        fits_binding(gpu, "rows in the host's own buffer", needs)?;
        buffer.check_binding(gpu, "buffer of rows to train on")?;
        buffer.check_source("buffer of rows to train on")?;
        Ok(Ring::of(gpu, buffer, columns, rows, Order::Host, rows as u64))
    }

    fn new(gpu: &Gpu, columns: usize, capacity: usize, order: Order) -> Result<Ring> {
        let copies = if order == Order::Newest { 2 } else { 1 };
        let bytes = bytes(columns, capacity.saturating_mul(copies))?;
        fits_binding(gpu, "a ring of rows", bytes)?;
        Ok(Ring::of(gpu, gpu.buffer("pushed rows", bytes)?, columns, capacity, order, 0))
    }

    fn of(gpu: &Gpu, buffer: Buffer, columns: usize, capacity: usize, order: Order, pushed: u64) -> Ring {
        let pushed = Mutex::new(Pushed { begun: pushed, done: pushed, ..Pushed::default() });
        Ring(Arc::new(Inner { gpu: gpu.clone(), buffer, columns, capacity, order, weighted: false, pushed }))
    }

    /// The same, of whose columns the last one is a row's weight, as [`crate::data::Weighted`] says: said before the ring is
    /// cloned. Weights that are pushed from the host's memory are looked at; those in buffers are the host's to see to.
    ///
    /// ```no_run
    /// # fn show(gpu: &strait::Gpu, reading: &[f32], doubt: f32) -> strait::Result<()> {
    /// use strait::train::Ring;
    ///
    /// let ring = Ring::uniform(gpu, 64 + 1, 4096)?.weighted()?;
    /// ring.push(&[reading, &[1.0 - doubt]].concat())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Spec`] where a row has one value only, or where there are other handles to the ring.
    pub fn weighted(self) -> Result<Ring> {
        if self.0.columns < 2 {
            return Err(Error::spec("columns", self.0.columns, "2 or more where the last one is a weight"));
        }
        match Arc::into_inner(self.0) {
            Some(inner) => Ok(Ring(Arc::new(Inner { weighted: true, ..inner }))),
            None => Err(Error::spec("weighted", "a ring with other handles", "one that was not cloned yet")),
        }
    }

    /// Rows that it holds at most.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Pushes rows, row-major, the newest last; where the ring is full they take the places of the oldest. It reads
    /// nothing back, and waits only where more was written than the device's memory for that holds.
    ///
    /// # Errors
    /// [`Error::Data`] where these are not whole rows, a value is not finite, or a weight is negative: nothing is pushed then.
    /// [`Error::Device`] and [`Error::DeviceLost`].
    pub fn push(&self, rows: &[f32]) -> Result<()> {
        let columns = self.0.columns;
        if rows.is_empty() || !rows.len().is_multiple_of(columns) {
            let allowed = format!("whole rows of {columns} values, at least one");
            return Err(Error::data("rows to push", format!("{} values", rows.len()), allowed));
        }
        finite_rows("rows to push", columns, 0, rows)?;
        if self.0.weighted {
            let mut weights = rows.chunks(columns).map(|row| row[columns - 1]).enumerate();
            weights.try_for_each(|(row, weight)| check_weight("rows to push", row, weight))?;
        }
        // Of more than it holds, the last ones.
        let rows = &rows[rows.len().saturating_sub(self.0.capacity * columns)..];
        let (count, k) = (rows.len() / columns, self.begin(rows.len() / columns)?);
        let written = self.write(k, rows);
        lock(&self.0.pushed).end(k, count as u64, written.is_ok());
        written.and_then(|()| self.0.gpu.alive())
    }

    /// Writes rows, the first of which is the k-th.
    fn write(&self, k: u64, rows: &[f32]) -> Result<()> {
        let columns = self.0.columns;
        for part in self.parts(k, rows.len() / columns) {
            let values = &rows[part.start * columns..part.end * columns];
            let [at, again] = self.places(k + part.start as u64, part.len());
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
        Ok(())
    }

    /// Pushes rows out of a buffer of the host's on the same device, or a part of it, that lie there without padding. They
    /// are copied there, after whatever was submitted before. That they are finite is not known here: a step that meets
    /// one that is not ends the run. Into a ring of the newest rows, whose order is the other way round, each row is copied by two
    /// commands of its own, which take the calling thread some 4 µs (8,192 rows 30 ms, two cores, 2026-11-27).
    ///
    /// # Errors
    /// As [`Ring::push`]; [`Error::Spec`] where the buffer is too small or has not the usage `COPY_SRC`.
    pub fn push_buffer(&self, buffer: &Buffer, rows: usize) -> Result<()> {
        let columns = self.0.columns;
        if rows == 0 {
            return Err(Error::data("rows to push", 0, "1 or more"));
        }
        let row = columns as u64 * 4;
        let what = format!("{rows} rows to push out of the host's own buffer");
        buffer.check_source(&what)?;
        buffer.check(&what, 0, row.saturating_mul(rows as u64))?;
        let first = rows.saturating_sub(self.0.capacity);
        let k = self.begin(rows - first)?;
        let copied = self.copy_in(k, buffer, first..rows);
        lock(&self.0.pushed).end(k, (rows - first) as u64, copied.is_ok());
        copied.and_then(|()| self.0.gpu.alive())
    }

    /// Copies some of a buffer's rows, the first of which is the k-th.
    fn copy_in(&self, k: u64, buffer: &Buffer, rows: Range<usize>) -> Result<()> {
        let row = self.0.columns as u64 * 4;
        let mut copies = Vec::new();
        for part in self.parts(k, rows.len()) {
            // Rows side by side go together; those that lie in the other order one by one.
            let each = if self.0.order == Order::Newest { 1 } else { part.len() };
            for start in part.clone().step_by(each) {
                let [at, again] = self.places(k + start as u64, each);
                let from = buffer.slice((rows.start + start) as u64 * row, each as u64 * row)?;
                for at in at.into_iter().chain(again) {
                    copies.push([from.clone(), self.0.buffer.slice(self.offset(at), each as u64 * row)?]);
                }
            }
        }
        self.0.gpu.submit(copies.iter().map(|[from, to]| Work::Copy(from, to)))
    }

    /// Gives places to so many rows; the number of the first.
    fn begin(&self, rows: usize) -> Result<u64> {
        if self.0.order == Order::Host {
            let allowed = "rows that the host writes into it";
            return Err(Error::data("rows to push", "a ring over the host's own buffer", allowed));
        }
        let mut pushed = lock(&self.0.pushed);
        let k = pushed.begun;
        pushed.begun += rows as u64;
        Ok(k)
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

    /// Fails where it does not lie on the device that is to train on it. One whose device was lost is no loss of that device.
    pub(super) fn check_on(&self, gpu: &Gpu) -> Result<()> {
        let (theirs, Inner { columns, capacity, .. }) = (&self.0.gpu, &*self.0);
        if theirs.has_device_of(gpu) {
            return Ok(());
        }
        let place = match theirs.alive() {
            Ok(()) => "on another device",
            Err(_) => "on a device that was lost",
        };
        let name = &theirs.adapter().name;
        let found = format!("a ring of up to {capacity} rows of {columns} values {place} ({name})");
        let allowed = format!(
            "a ring made with the Gpu of what trains on it ({}); after a loss it is made anew",
            gpu.adapter().name
        );
        Err(Error::data(self.name(), found, allowed))
    }

    /// Whether its rows come in a drawn order.
    pub(super) fn is_shuffled(&self) -> bool {
        self.0.order != Order::Newest
    }

    /// Where a submit begins to read now, and how many rows lie there.
    pub(super) fn window(&self) -> (usize, usize) {
        let (pushed, capacity) = (lock(&self.0.pushed).done, self.0.capacity);
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
        let pushed = lock(&self.0.pushed).done;
        let (rows, count) = (pushed.min(self.0.capacity as u64) as usize, out.len() / columns);
        if !out.len().is_multiple_of(columns) || first_row.saturating_add(count) > rows {
            let found = format!("{} values from row {first_row} on", out.len());
            return Err(Error::data(self.name(), found, format!("whole rows of {columns} values, of {rows} rows")));
        }
        let oldest = pushed - rows as u64 + first_row as u64;
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

    fn is_weighted(&self) -> bool {
        self.0.weighted
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
