//! What a plan computes in several dispatches comes to what it is as a whole: sums of products that are left in parts,
//! against sums in f64 of the very same values.

use crate::common::{gpu, squared_error, values};
use strait::graph::{Graph, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::kernel::{Schedule, Tile};
use strait::internals::plan::{AdapterKind, Limits, Recording, Target};
use strait::internals::state::State;

/// Columns of both factors: neither fills its quads, and the first is wider than the smallest tile.
const LEFT: usize = 37;
const RIGHT: usize = 22;

/// The gradient of a layer's weights: a batch of LEFT columns, transposed, times one of RIGHT, and what follows it.
fn gradient() -> Graph {
    let weight = Tensor { name: "weight".into(), shape: Shape::fixed(&[LEFT, RIGHT]) };
    let mut g = Graph::new(vec![weight], vec![]);
    let (x, y, w) = (g.input(0, LEFT), g.input(1, RIGHT), g.param(0).unwrap());
    let product = g.matmul(x, y, true, false).unwrap();
    let decayed = g.map([product, w], |[p, w]| p + 0.5 * w).unwrap();
    g.sink(Sink::Gradient(0), decayed);
    g.sink(Sink::Output(0), product);
    g
}

/// The parts of the plan's only product.
fn parts(recording: &Recording) -> usize {
    let schedules: Vec<&Schedule> = recording.dispatches.iter().flat_map(|d| &d.schedules).collect();
    let found: Vec<usize> = schedules
        .into_iter()
        .filter_map(|schedule| match schedule {
            Schedule::MatMul { parts, .. } => Some(*parts),
            _ => None,
        })
        .collect();
    assert_eq!(found.len(), 1);
    found[0]
}

fn product(x: &[f32], y: &[f32], rows: usize) -> Vec<f64> {
    let mut sums = vec![0.0; LEFT * RIGHT];
    for row in 0..rows {
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum += f64::from(x[row * LEFT + at / RIGHT]) * f64::from(y[row * RIGHT + at % RIGHT]);
        }
    }
    sums
}

/// Runs the plan with as many rows as it was made for and with fewer: then some parts, or all but the first, have none.
fn check(target: Target) {
    let (gpu, most) = (gpu(), target.rows);
    let what = format!("{:?}, {:?}", target.kind, target.tile);
    let evaluator = Evaluator::with_target(&gpu, &gradient(), target).unwrap();
    let (x, y) = (values(1, most * LEFT, (0.0, 1.0)), values(2, most * RIGHT, (-1.0, 1.0)));
    let weight = values(3, LEFT * RIGHT, (-1.0, 1.0));
    evaluator.params(std::slice::from_ref(&weight)).unwrap();
    evaluator.input(0, &x).unwrap();
    evaluator.input(1, &y).unwrap();
    for rows in [most, most - 1, most / 2 + 3, 257, 16, 1] {
        evaluator.run(State::once(rows, 0)).unwrap();
        let exact = product(&x, &y, rows);
        let expected: Vec<f32> = exact.iter().map(|&v| v as f32).collect();
        let error = squared_error(&evaluator.sink(Sink::Output(0), rows).unwrap(), &expected).sqrt();
        assert!(error < 1e-5, "{what}, {rows} rows: {error:e}");
        let decayed: Vec<f32> = exact.iter().zip(&weight).map(|(v, w)| (v + 0.5 * f64::from(*w)) as f32).collect();
        let error = squared_error(&evaluator.sink(Sink::Gradient(0), rows).unwrap(), &decayed).sqrt();
        assert!(error < 1e-5, "{what}, {rows} rows, decayed: {error:e}");
    }
}

/// On GPUs a long sum for few results is left in parts, by whichever tile.
#[test]
fn gradients_of_large_batches_on_hardware() {
    let limits = Target::of(&gpu(), 1).limits;
    for tile in Tile::ALL.into_iter().filter(|tile| matches!(tile, Tile::Shared { .. })).map(Some).chain([None]) {
        let target = Target {
            kind: AdapterKind::Hardware,
            tile,
            limits: Limits { busy: 128, ..limits },
            ..Target::of(&gpu(), 6000)
        };
        let recording = Recording::new(&gradient(), target.clone()).unwrap();
        assert!(parts(&recording) > 1, "{tile:?}");
        check(target);
    }
}

/// Software adapters end loops that are too long, so that longer sums are left in parts, by whichever tile.
#[test]
fn gradients_of_batches_that_are_too_long_for_a_loop() {
    let usable = |tile: &Tile| Target { kind: AdapterKind::Software, ..Target::of(&gpu(), 1) }.can_use(*tile);
    let tiles = [
        Tile::Registers { rows: 4, quads: 2 },
        Tile::Subgroup { rows: 16, quads: 1 },
        Tile::Subgroup { rows: 24, quads: 2 },
    ];
    for tile in tiles.into_iter().filter(usable).map(Some).chain([None]) {
        let target = Target { kind: AdapterKind::Software, tile, ..Target::of(&gpu(), 260_000) };
        assert_eq!(parts(&Recording::new(&gradient(), target.clone()).unwrap()), 3, "{tile:?}");
        check(target);
    }
}

/// A grid whose last row is not full has workgroups to spare, which write nothing.
#[test]
fn a_grid_of_several_rows() {
    let limits = Target::of(&gpu(), 1).limits;
    for workgroups in [90, 50] {
        let limits = Limits { busy: 128, workgroups, ..limits };
        let hardware = Target { kind: AdapterKind::Hardware, limits, ..Target::of(&gpu(), 6000) };
        let grid = Recording::new(&gradient(), hardware.clone()).unwrap().dispatches[0].workgroups;
        assert!(grid[1] > 1, "{grid:?}");
        check(hardware);
    }
}

/// Where nothing is gained, sums stay whole.
#[test]
fn sums_stay_whole_where_parts_gain_nothing() {
    let whole = |kind, rows| {
        let limits = Limits { busy: 128, ..Limits::DEFAULT };
        let target = Target { kind, limits, ..Target::of(&gpu(), rows) };
        assert_eq!(parts(&Recording::new(&gradient(), target).unwrap()), 1);
    };
    whole(AdapterKind::Hardware, 128);
    whole(AdapterKind::Software, 100_000);
}
