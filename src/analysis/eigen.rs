//! The leading eigenvectors of a dense symmetric matrix, in f64, for when few of many are wanted.
//!
//! Householder reflections make the matrix tridiagonal, QR steps give all eigenvalues of that, and inverse iteration the
//! eigenvectors that are wanted (Golub and Van Loan, "Matrix Computations", 8.3.1, 8.3.3 and 8.2.2): 4/3 n³ operations
//! where all eigenvectors by rotations take about 9 n³.

use nalgebra::{DMatrix, SymmetricEigen};

/// Eigenvectors whose values lie nearer to each other than this share of the largest are made orthogonal to each other:
/// apart from that inverse iteration need not tell them apart.
const NEAR: f64 = 1e-3;

/// What the matrix may make of an eigenvector beside its multiple, as a share of the largest eigenvalue.
const RESIDUAL: f64 = 1e-11;

/// The `count` largest eigenvalues of a symmetric matrix of `size` rows, and their eigenvectors of length 1, the largest
/// first. `matrix` is row-major; only what lies on and below its diagonal is read, and it is overwritten.
pub fn leading(matrix: &mut [f64], size: usize, count: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let largest = matrix.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
    if largest > 0.0 {
        // So that no square leaves the range of f64.
        matrix.iter_mut().for_each(|v| *v /= largest);
    }
    let Tridiagonal { diagonal, below, lengths } = tridiagonal(matrix, size);
    let mut values = eigenvalues(&diagonal, &below);
    values.sort_by(|a, b| b.total_cmp(a));
    values.truncate(count);
    let mut vectors = iterate(&diagonal, &below, &values).unwrap_or_else(|| dense(&diagonal, &below, count));
    for vector in &mut vectors {
        for i in 1..size {
            if lengths[i] > 0.0 {
                let reflector = &matrix[i * size..][..i];
                let along = dot(reflector, &vector[..i]) / lengths[i];
                vector[..i].iter_mut().zip(reflector).for_each(|(v, u)| *v -= along * u);
            }
        }
    }
    values.iter_mut().for_each(|v| *v *= largest);
    (values, vectors)
}

/// A tridiagonal matrix and how it came about.
struct Tridiagonal {
    /// Its diagonal.
    diagonal: Vec<f64>,
    /// What lies below: entry `i` is in row `i` and column `i - 1`; entry 0 is 0.
    below: Vec<f64>,
    /// Half the squared length of each reflector u, which lies in its row of the matrix: I − u u'/length. 0 where there
    /// is none.
    lengths: Vec<f64>,
}

/// Reduces a matrix row by row, the last first. The change that a reflection makes to the rows above is put off until
/// the next reflector multiplies them, so that each is read once for both.
fn tridiagonal(matrix: &mut [f64], size: usize) -> Tridiagonal {
    let zeros = || vec![0.0; size];
    let (mut diagonal, mut below, mut lengths) = (zeros(), zeros(), zeros());
    // What is put off: A − u q' − q u'.
    let (mut u, mut q) = (zeros(), zeros());
    for i in (0..size).rev() {
        let (above, row) = matrix.split_at_mut(i * size);
        let row = &mut row[..=i];
        subtract(row, (u[i], &u), (q[i], &q));
        diagonal[i] = row[i];
        let Some(last) = i.checked_sub(1) else { break };
        let reflector = &mut row[..i];
        below[i] = reflector[last];
        let rest = dot(&reflector[..last], &reflector[..last]);
        if rest > 0.0 {
            let length = (rest + reflector[last].powi(2)).sqrt();
            below[i] = if reflector[last] > 0.0 { -length } else { length };
            // No difference of near numbers: both have one sign.
            reflector[last] -= below[i];
            lengths[i] = (rest + reflector[last].powi(2)) / 2.0;
        }
        // p = A reflector, with what was put off done on the way.
        let mut p = vec![0.0; i];
        for j in 0..i {
            let row = &mut above[j * size..][..=j];
            subtract(row, (u[j], &u), (q[j], &q));
            if rest > 0.0 {
                let factor = reflector[j];
                p[j] += dot(&row[..j], &reflector[..j]) + row[j] * factor;
                p[..j].iter_mut().zip(row).for_each(|(p, a)| *p += *a * factor);
            }
        }
        u.truncate(i);
        q.truncate(i);
        if rest > 0.0 {
            u.copy_from_slice(reflector);
            p.iter_mut().for_each(|p| *p /= lengths[i]);
            let along = dot(&u, &p) / (2.0 * lengths[i]);
            q.iter_mut().zip(p.iter().zip(&u)).for_each(|(q, (p, u))| *q = p - along * u);
        } else {
            u.fill(0.0);
            q.fill(0.0);
        }
    }
    Tridiagonal { diagonal, below, lengths }
}

/// row −= a q + b u
fn subtract(row: &mut [f64], (a, u): (f64, &[f64]), (b, q): (f64, &[f64])) {
    row.iter_mut().zip(u.iter().zip(q)).for_each(|(v, (u, q))| *v -= a * q + b * u);
}

/// An inner product, in sums that a processor can take side by side.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    const SUMS: usize = 8;
    let mut sums = [0.0; SUMS];
    let (mut a, mut b) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for i in 0..SUMS {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// All eigenvalues of a tridiagonal matrix, in no order, by QR steps with Wilkinson's shift.
fn eigenvalues(diagonal: &[f64], below: &[f64]) -> Vec<f64> {
    let (mut d, mut e) = (diagonal.to_vec(), below.to_vec());
    let mut end = d.len();
    // Three steps settle a value; the bound is for numbers that nobody foresaw.
    let mut left = 60 * d.len();
    while end > 1 && left > 0 {
        let small = |i: usize, e: &[f64], d: &[f64]| e[i].abs() <= f64::EPSILON * (d[i - 1].abs() + d[i].abs());
        // The last block that hangs together: from `first` to `end`.
        let first = (1..end).rev().find(|&i| small(i, &e, &d) || e[i] == 0.0).unwrap_or(0);
        if first + 1 == end {
            end -= 1;
            continue;
        }
        left -= 1;
        let last = end - 1;
        let half = (d[last - 1] - d[last]) / 2.0;
        let root = half.hypot(e[last]);
        let shift = d[last] - e[last].powi(2) / (half + if half >= 0.0 { root } else { -root });
        let (mut x, mut z) = (d[first] - shift, e[first + 1]);
        for k in first..last {
            let r = x.hypot(z);
            let (c, s) = if r > 0.0 { (x / r, z / r) } else { (1.0, 0.0) };
            if k > first {
                e[k] = r;
            }
            let (a, b, ab) = (d[k], d[k + 1], e[k + 1]);
            d[k] = c * c * a + 2.0 * c * s * ab + s * s * b;
            d[k + 1] = s * s * a - 2.0 * c * s * ab + c * c * b;
            e[k + 1] = c * s * (b - a) + (c * c - s * s) * ab;
            x = e[k + 1];
            if k + 1 < last {
                z = s * e[k + 2];
                e[k + 2] *= c;
            }
        }
    }
    d
}

/// Eigenvectors of a tridiagonal matrix by inverse iteration; nothing where one of them does not come to be one.
fn iterate(diagonal: &[f64], below: &[f64], values: &[f64]) -> Option<Vec<Vec<f64>>> {
    let size = diagonal.len();
    let norm = values.iter().chain(diagonal).chain(below).fold(0.0f64, |norm, v| norm.max(v.abs()));
    if norm == 0.0 {
        let unit = |i| (0..size).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        return Some((0..values.len()).map(unit).collect());
    }
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(values.len());
    // Where the run of near values begins, and the shift of the one before.
    let (mut near, mut before) = (0, f64::INFINITY);
    for (at, &value) in values.iter().enumerate() {
        if at > 0 && values[at - 1] - value > NEAR * norm {
            near = at;
        }
        // Equal values need shifts of their own.
        let shift = value.min(before - 4.0 * f64::EPSILON * norm);
        before = shift;
        let solver = Shifted::new(diagonal, below, shift, norm);
        // Numbers without a pattern, the same every time.
        let scatter = |i: usize| ((i + 1) as f64 * 0.618_033_988_749_895 * (at + 1) as f64).fract() - 0.5;
        let mut vector: Vec<f64> = (0..size).map(scatter).collect();
        let mut good = false;
        for _ in 0..6 {
            solver.solve(&mut vector);
            // Twice: what the first time rounds away is gone after the second.
            for _ in 0..2 {
                normalise(&mut vector)?;
                for other in &vectors[near..] {
                    let along = dot(other, &vector);
                    vector.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
                }
            }
            normalise(&mut vector)?;
            let enough = residual(diagonal, below, value, &vector) <= RESIDUAL * norm;
            // Once more when it is good, which costs little and makes it better.
            if good && enough {
                break;
            }
            good = enough;
        }
        if !good {
            return None;
        }
        vectors.push(vector);
    }
    Some(vectors)
}

/// Brings a vector to length 1; nothing where it has none.
pub fn normalise(vector: &mut [f64]) -> Option<()> {
    let largest = vector.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
    if !(largest > 0.0 && largest.is_finite()) {
        return None;
    }
    vector.iter_mut().for_each(|v| *v /= largest);
    let length = dot(vector, vector).sqrt();
    vector.iter_mut().for_each(|v| *v /= length);
    Some(())
}

/// The largest entry of T v − value v.
fn residual(diagonal: &[f64], below: &[f64], value: f64, vector: &[f64]) -> f64 {
    let at = |i: usize| vector.get(i).copied().unwrap_or(0.0);
    let entry = |i: usize| {
        let left = if i > 0 { below[i] * at(i - 1) } else { 0.0 };
        let right = below.get(i + 1).map_or(0.0, |b| b * at(i + 1));
        (left + (diagonal[i] - value) * at(i) + right).abs()
    };
    (0..vector.len()).map(entry).fold(0.0, f64::max)
}

/// T − shift as triangular factors, with rows exchanged where the one below has the larger entry.
struct Shifted {
    /// The upper factor's diagonal and the two entries right of it.
    upper: Vec<[f64; 3]>,
    /// What of a row was taken from the next one, and whether the two were exchanged before.
    lower: Vec<(f64, bool)>,
}

impl Shifted {
    fn new(diagonal: &[f64], below: &[f64], shift: f64, norm: f64) -> Shifted {
        let size = diagonal.len();
        let entry = |i: usize| below.get(i).copied().unwrap_or(0.0);
        let (mut upper, mut lower) = (Vec::with_capacity(size), Vec::with_capacity(size));
        let mut row = [diagonal[0] - shift, entry(1), 0.0];
        for i in 1..size {
            let mut next = [below[i], diagonal[i] - shift, entry(i + 1)];
            let exchanged = next[0].abs() > row[0].abs();
            if exchanged {
                std::mem::swap(&mut row, &mut next);
            }
            let factor = if row[0] == 0.0 { 0.0 } else { next[0] / row[0] };
            lower.push((factor, exchanged));
            upper.push(row);
            row = [next[1] - factor * row[1], next[2] - factor * row[2], 0.0];
        }
        upper.push(row);
        // The shift is an eigenvalue, so a pivot may vanish; what it is divided by only sets the length of the result.
        for row in &mut upper {
            if row[0].abs() < f64::EPSILON * norm {
                row[0] = f64::EPSILON * norm;
            }
        }
        Shifted { upper, lower }
    }

    /// Solves (T − shift) x = b in place.
    fn solve(&self, b: &mut [f64]) {
        for (i, &(factor, exchanged)) in self.lower.iter().enumerate() {
            if exchanged {
                b.swap(i, i + 1);
            }
            b[i + 1] -= factor * b[i];
        }
        for i in (0..b.len()).rev() {
            let right = |by: usize| b.get(i + by).map_or(0.0, |x| x * self.upper[i][by]);
            b[i] = (b[i] - right(1) - right(2)) / self.upper[i][0];
        }
    }
}

/// The same eigenvectors by rotations of the whole matrix, which takes longer and always comes to an end.
fn dense(diagonal: &[f64], below: &[f64], count: usize) -> Vec<Vec<f64>> {
    let size = diagonal.len();
    let matrix = DMatrix::from_fn(size, size, |row, column| match row.abs_diff(column) {
        0 => diagonal[row],
        1 => below[row.max(column)],
        _ => 0.0,
    });
    let SymmetricEigen { eigenvalues, eigenvectors } = matrix.symmetric_eigen();
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    order.iter().take(count).map(|&i| eigenvectors.column(i).iter().copied().collect()).collect()
}
