//! Arrays in Fortran order, where the first index changes fastest: where their values belong in a table whose last index
//! does.

/// An array of two dimensions or more, each longer than 1, whose values come in Fortran order.
#[derive(Debug)]
pub(super) struct Fortran {
    rows: usize,
    columns: usize,
    /// Of all dimensions but the first: its length, and how far apart neighbours along it are in the file.
    inner: Vec<(usize, usize)>,
}

impl Fortran {
    /// For an array of these dimensions, whose product fits in a `usize`; `None` where both orders are one, as for an
    /// array of one dimension.
    pub(super) fn new(dimensions: &[u64]) -> Option<Fortran> {
        let sizes = dimensions.iter().map(|&d| d as usize);
        let (rows, count) = (sizes.clone().next()?, sizes.clone().product::<usize>());
        let mut apart = rows;
        let mut inner = Vec::new();
        for size in sizes.clone().skip(1).filter(|&size| size > 1) {
            inner.push((size, apart));
            apart *= size;
        }
        let long = sizes.filter(|&size| size > 1).count();
        (long > 1).then(|| Fortran { rows, columns: count / rows, inner })
    }

    /// The row and the column of the value at `place` in the file.
    pub(super) fn cell(&self, place: usize) -> (usize, usize) {
        let column = self.inner.iter().fold(0, |column, &(size, apart)| column * size + place / apart % size);
        (place % self.rows, column)
    }

    /// The place in the file of the value at `index` of the table.
    fn place(&self, index: usize) -> usize {
        let (mut place, mut column) = (index / self.columns, index % self.columns);
        for &(size, apart) in self.inner.iter().rev() {
            place += column % size * apart;
            column /= size;
        }
        place
    }

    /// Moves the values from the order of the file to that of the table. Beside the values this takes one bit for each:
    /// values that change places form rings, and a bit says whose ring is done.
    pub(super) fn reorder(&self, values: &mut [f32]) -> Result<(), std::collections::TryReserveError> {
        let words = values.len().div_ceil(64);
        let mut done: Vec<u64> = Vec::new();
        done.try_reserve_exact(words)?;
        done.resize(words, 0);
        for start in 0..values.len() {
            if done[start / 64] >> (start % 64) & 1 == 1 {
                continue;
            }
            let first = values[start];
            let mut to = start;
            loop {
                done[to / 64] |= 1 << (to % 64);
                let from = self.place(to);
                if from == start {
                    values[to] = first;
                    break;
                }
                values[to] = values[from];
                to = from;
            }
        }
        Ok(())
    }
}
