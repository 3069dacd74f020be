//! Exact nearest neighbours: the graph that non-parametric manifold learning starts from ("Deep Learning", section
//! 14.6). Inner products are computed on the GPU, and what f32 cannot tell apart is decided on the host in f64.

use crate::data::Data;
use crate::error::{Error, Result};
use crate::evaluator::Evaluator;
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape, Sink, Tensor};
use crate::state::State;

/// Values of a factor of a product on the GPU, at most.
const VALUES: usize = 1 << 22;

/// Points and neighbours of a product, at most.
const ROWS: (usize, usize) = (256, 2048);

/// The nearest neighbours of some points in a data set, by Euclidean distance, exactly: where two are equally far, the
/// one with the smaller number comes first.
///
/// ```no_run
/// # use strait::{Gpu, analysis::Neighbours, data};
/// # fn show(gpu: &Gpu) -> strait::Result<()> {
/// let (digits, others) = data::digits()?.split_at(1500)?;
/// let graph = Neighbours::graph(gpu, &digits, 10)?; // of each digit among the others
/// let nearest = Neighbours::among(gpu, &digits, &others, 1)?; // of digits that are not in the set
/// println!("{} is nearest to digit 0, {} to digit 1500", graph.of(0)[0], nearest.of(0)[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    count: usize,
    indices: Vec<usize>,
    squared: Vec<f64>,
}

impl Neighbours {
    /// The `count` nearest other rows of each row of `data`, nearest first. It takes rows² inner products.
    ///
    /// # Errors
    /// [`Error::Spec`] where `count` is 0 or there are not so many other rows; [`Error::Device`].
    pub fn graph(gpu: &Gpu, data: &Data, count: usize) -> Result<Neighbours> {
        check_count(count, data.rows() - 1)?;
        search(gpu, data, data, count, true)
    }

    /// The `count` rows of `data` that are nearest to each of `points`, nearest first.
    ///
    /// # Errors
    /// [`Error::Spec`] where `count` is 0 or more than the rows; [`Error::Data`] where the columns differ;
    /// [`Error::Device`].
    pub fn among(gpu: &Gpu, data: &Data, points: &Data, count: usize) -> Result<Neighbours> {
        check_count(count, data.rows())?;
        if points.columns() != data.columns() {
            let place = format!("{}: columns", points.name());
            return Err(Error::data(place, points.columns(), format!("{}, as in {}", data.columns(), data.name())));
        }
        search(gpu, data, points, count, false)
    }

    /// How many neighbours each point has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many points there are.
    pub fn points(&self) -> usize {
        self.indices.len() / self.count
    }

    /// The row numbers of a point's neighbours, nearest first; none where there is no such point.
    pub fn of(&self, point: usize) -> &[usize] {
        self.indices.chunks(self.count).nth(point).unwrap_or_default()
    }

    /// The squared distances that belong to [`Neighbours::of`].
    #[doc(hidden)]
    pub fn squared_distances(&self, point: usize) -> &[f64] {
        self.squared.chunks(self.count).nth(point).unwrap_or_default()
    }
}

fn check_count(count: usize, most: usize) -> Result<()> {
    match count {
        1.. if count <= most => Ok(()),
        _ => Err(Error::spec("count", count, format!("1 to the {most} rows to choose from"))),
    }
}

/// Σ (a − b)², in f64.
fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// Rows that may be among the nearest of a point.
#[derive(Clone, Debug, Default)]
struct Candidates {
    /// Their numbers and the least that their squared distances can be.
    rows: Vec<(f64, usize)>,
    /// The smallest of the most that the squared distances can be, ascending.
    most: Vec<f64>,
}

impl Candidates {
    /// What no neighbour's squared distance can exceed.
    fn bound(&self, count: usize) -> f64 {
        if self.most.len() < count { f64::INFINITY } else { self.most[count - 1] }
    }

    /// Takes a row whose squared distance is known but for `error`.
    fn see(&mut self, row: usize, distance: f64, error: f64, count: usize) {
        if distance - error > self.bound(count) {
            return;
        }
        self.rows.push((distance - error, row));
        let at = self.most.partition_point(|&m| m <= distance + error);
        self.most.insert(at, distance + error);
        self.most.truncate(count);
        if self.rows.len() > 4 * count + 256 && self.rows.len().is_power_of_two() {
            self.prune(count);
        }
    }

    fn prune(&mut self, count: usize) {
        let bound = self.bound(count);
        self.rows.retain(|(least, _)| *least <= bound);
    }
}

/// Rows near 0, as f32 holds them: distances between rows that are all far from 0 would drown in their norms. Products
/// of large values leave the range of f32, so a power of two, which changes no digit, brings the largest near 1.
struct Centred {
    mean: Vec<f64>,
    scale: f64,
}

impl Centred {
    fn new(data: &Data) -> Centred {
        let columns = data.columns();
        let mut mean = vec![0.0; columns];
        for row in data.values().chunks(columns) {
            mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v) / data.rows() as f64);
        }
        let off = |(i, &v): (usize, &f32)| (f64::from(v) - mean[i % columns]).abs();
        let largest = data.values().iter().enumerate().map(off).fold(0.0, f64::max);
        let scale = if largest > 0.0 { (-largest.log2().floor()).exp2() } else { 1.0 };
        Centred { mean, scale }
    }

    /// Rows with their norms; not finite for points too far outside the data for f32.
    fn of(&self, rows: &[f32]) -> (Vec<f32>, Vec<f64>) {
        let columns = self.mean.len();
        let each = |(i, &v): (usize, &f32)| ((f64::from(v) - self.mean[i % columns]) * self.scale) as f32;
        let values: Vec<f32> = rows.iter().enumerate().map(each).collect();
        let norm = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let norms = values.chunks(columns).map(norm).collect();
        (values, norms)
    }
}

/// The nearest rows of `data` to each of `points`; `same` where both are one set and no row is its own neighbour.
fn search(gpu: &Gpu, data: &Data, points: &Data, count: usize, same: bool) -> Result<Neighbours> {
    let columns = data.columns();
    let fitting = |rows: usize, most: usize| rows.min(most).min((VALUES / columns).max(1));
    let (batch, part) = (fitting(points.rows(), ROWS.0), fitting(data.rows(), ROWS.1));
    let mut g = Graph::new(vec![], vec![Tensor { name: "rows".into(), shape: Shape::fixed(&[part, columns]) }]);
    let (x, rows) = (g.input(0, columns), g.constant(0)?);
    let products = g.matmul(x, rows, false, true)?;
    g.sink(Sink::Output(0), products);
    let evaluator = Evaluator::new(gpu, &g, batch)?;

    let centred = Centred::new(data);
    let mut candidates = vec![Candidates::default(); points.rows()];
    for (first, rows) in (0..).step_by(part).zip(data.values().chunks(part * columns)) {
        let (mut rows, norms) = centred.of(rows);
        rows.resize(part * columns, 0.0);
        evaluator.constants(&[rows])?;
        for (start, batch_rows) in (0..).step_by(batch).zip(points.values().chunks(batch * columns)) {
            let (x, lengths) = centred.of(batch_rows);
            evaluator.input(0, &x)?;
            evaluator.run(State::once(lengths.len(), 0))?;
            let products = evaluator.sink(Sink::Output(0), lengths.len())?;
            for (i, (length, products)) in lengths.iter().zip(products.chunks(part)).enumerate() {
                let found = &mut candidates[start + i];
                for (j, (norm, &product)) in norms.iter().zip(products).enumerate() {
                    if same && start + i == first + j {
                        continue;
                    }
                    let distance = length * length + norm * norm - 2.0 * f64::from(product);
                    // n roundings of a sum and those of its terms, in units of 2^-24, twice over; and what adapters may
                    // flush to 0.
                    let error = (columns + 8) as f64 * ((length + norm).powi(2) * 2f64.powi(-23) + 1e-36);
                    // What is no number, of points too far out for f32, is left to the host.
                    let known = distance.is_finite() && error.is_finite();
                    let (distance, error) = if known { (distance, error) } else { (0.0, f64::INFINITY) };
                    found.see(first + j, distance, error, count);
                }
            }
        }
    }

    let mut found = Neighbours { count, indices: Vec::new(), squared: Vec::new() };
    for (mut candidates, point) in candidates.into_iter().zip(points.values().chunks(columns)) {
        candidates.prune(count);
        let exact = |(_, row): &(f64, usize)| (data.row(*row).map_or(f64::NAN, |r| squared_distance(point, r)), *row);
        let mut rows: Vec<(f64, usize)> = candidates.rows.iter().map(exact).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found.indices.extend(rows.iter().take(count).map(|(_, row)| row));
        found.squared.extend(rows.iter().take(count).map(|(distance, _)| distance));
    }
    Ok(found)
}
