//! Nearest neighbours against brute force in f64, in data that f32 finds hard, and what is refused.

use crate::common::gpu;
use strait::Draw;
use strait::analysis::{ManifoldParzen, Neighbours, Patch, Spectrum, saturation};
use strait::{Data, Error};

fn draws(rows: usize, columns: usize, stream: u32, f: impl Fn(f64) -> f64) -> Data {
    let draw = Draw { seed: 1, stream, step: 0 };
    Data::from_rows(columns, (0..rows * columns).map(|i| f(draw.normal(i / columns, i % columns)) as f32).collect())
        .unwrap()
}

/// All distances in f64, sorted.
fn brute(data: &Data, point: &[f32], without: Option<usize>, count: usize) -> (Vec<usize>, Vec<f64>) {
    let distance = |row: &[f32]| row.iter().zip(point).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    let rows = data.values().chunks(data.columns()).enumerate().filter(|(i, _)| Some(*i) != without);
    let mut all: Vec<(f64, usize)> = rows.map(|(i, row)| (distance(row), i)).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.into_iter().take(count).map(|(d, i)| (i, d)).unzip()
}

fn assert_exact(found: &Neighbours, data: &Data, points: &Data, same: bool, what: &str) {
    assert_eq!(found.points(), points.rows(), "{what}");
    for (i, point) in points.values().chunks(points.columns()).enumerate() {
        let (rows, squared) = brute(data, point, same.then_some(i), found.count());
        assert_eq!(found.of(i), rows, "{what}: point {i}");
        assert_eq!(found.squared_distances(i), squared, "{what}: point {i}");
    }
    assert!(found.of(points.rows()).is_empty() && found.squared_distances(points.rows()).is_empty());
}

#[test]
fn neighbours_are_exact() {
    let gpu = gpu();
    let cases = [
        ("plain", draws(700, 7, 0, |v| v)),
        // Distances are 1e-6 of the norms.
        ("far from 0", draws(300, 3, 1, |v| 1e4 + 0.01 * v)),
        // Many are equally far.
        ("on a grid", draws(400, 2, 2, |v| v.round())),
        ("all equal", Data::from_rows(2, vec![0.1; 80]).unwrap()),
        ("large", draws(100, 5, 3, |v| 1e37 * v)),
        ("small", draws(100, 5, 3, |v| 1e-30 * v)),
        // Two groups: seen from their middle, neither is near 0.
        ("two groups", draws(300, 4, 4, |v| v.signum() * 1e3 + 1e-4 * v)),
    ];
    for (what, data) in cases {
        assert_exact(&Neighbours::graph(&gpu, &data, 6).unwrap(), &data, &data, true, what);
    }
    // More rows than a product on the GPU takes, and points that are not among them.
    let data = draws(2500, 3, 5, |v| v);
    let points = draws(300, 3, 6, |v| v);
    assert_exact(&Neighbours::among(&gpu, &data, &points, 3).unwrap(), &data, &points, false, "others");
    let outside = Data::from_rows(3, vec![3e38, 0.0, -3e38, 1e20, 1e20, 1e20]).unwrap();
    let few = draws(50, 3, 7, |v| v);
    assert_exact(&Neighbours::among(&gpu, &few, &outside, 50).unwrap(), &few, &outside, false, "outside");
}

#[test]
fn what_does_not_fit_is_refused() {
    let gpu = gpu();
    let data = draws(10, 3, 0, |v| v);
    let field = |error: Option<Error>, name: &str| match error {
        Some(Error::Spec { field, .. }) => assert_eq!(field, name),
        Some(Error::Data { place, .. }) => assert!(place.contains(name), "{place}"),
        other => panic!("{other:?}"),
    };
    for count in [0, 10] {
        field(Neighbours::graph(&gpu, &data, count).err(), "count");
    }
    field(Neighbours::graph(&gpu, &Data::from_rows(3, vec![1.0; 3]).unwrap(), 1).err(), "count");
    field(Neighbours::among(&gpu, &data, &data, 11).err(), "count");
    let wide = draws(10, 4, 0, |v| v);
    field(Neighbours::among(&gpu, &data, &wide, 1).err(), "columns");
    let neighbours = Neighbours::graph(&gpu, &data, 2).unwrap();
    field(Patch::tile(&data, &data, &neighbours, 3).err(), "dimensions");
    field(Patch::tile(&data, &draws(9, 3, 0, |v| v), &neighbours, 1).err(), "neighbours");
    field(Patch::tile(&draws(5, 3, 0, |v| v), &data, &neighbours, 1).err(), "neighbours");
    for sigma in [0.0, -1.0, f64::NAN] {
        field(ManifoldParzen::fit(&gpu, &data, 2, 1, sigma).err(), "sigma");
    }
    let density = ManifoldParzen::fit(&gpu, &data, 2, 1, 0.1).unwrap();
    field(density.log_density(&[0.0; 4]).err(), "rows");
    field(density.log_density(&[0.0, f32::NAN, 0.0]).err(), "rows");
    assert!(density.log_density(&[]).unwrap().is_empty());
    // Far out the density is too small for f64, its logarithm is not.
    assert!(density.log_density(&[1e30; 3]).unwrap()[0] < -1e60);
}

#[test]
fn shares() {
    let spectrum = Spectrum { values: vec![2.0, 1.0, 0.5, 0.0], tangents: vec![] };
    assert_eq!(spectrum.contracting(), 0.5);
    assert_eq!(saturation(&[0.0, 0.05, 0.5, 0.96, 1.0], 0.05), 0.8);
    assert_eq!(saturation(&[], 0.05), 0.0);
}
