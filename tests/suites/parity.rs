//! Parity: every kernel variant against the f32 interpreter, over awkward shapes.

use std::collections::BTreeMap;

use crate::common::{both, gpu, squared_error, values};
use crate::what_this_device_lacks::{Need, has};
use strait::Error;
use strait::graph::{Distribution, Expr, Graph, Over, Reduction, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::gpu::{Program, Work};
use strait::internals::graph::Function;
use strait::internals::kernel::Tile;
use strait::internals::plan::{AdapterKind, Limits, Recording, Role, Target};
use strait::internals::random::permute;
use strait::internals::state::State;
use strait::reference::Environment;

fn close(found: &[f32], expected: &[f32], what: &str) {
    let error = squared_error(found, expected);
    let first = found.len().min(8);
    let (some, of) = (&found[..first], &expected[..first]);
    assert!(error <= 1e-12, "{what}: normalised squared error {error:e}\n{some:?} ...\n{of:?} ...");
}

/// Every product within 1e-5 of the sum of the factors' absolute values, besides the squared error; and the same bits
/// from every tile but the shared ones, since a run may change from one to another.
#[test]
fn matmul_every_tile_flag_and_shape() {
    let gpu = gpu();
    // The last but one's right factor is so large that its rows are asked for ahead, the last one's left factor so large that
    // its rows of tiles are taken some at a time.
    let shapes = [
        (1, 1, 1),
        (3, 5, 7),
        (4, 16, 8),
        (8, 17, 9),
        (9, 33, 63),
        (65, 31, 67),
        (64, 64, 64),
        (130, 20, 131),
        (37, 299, 901),
        (150, 900, 70),
    ];
    let mut bits: BTreeMap<_, Vec<f32>> = BTreeMap::new();
    // Cooperative matrices are for half precision, and for devices that were asked for them (tests/cooperative).
    let name = "parity::matmul_every_tile_flag_and_shape";
    let subgroups = has(&format!("{name}, tiles of subgroups"), Need::Subgroups);
    let int64 = has(&format!("{name}, words of 64 bits"), Need::Int64);
    let usable = |tile: &Tile| match tile {
        Tile::Subgroup { .. } => subgroups,
        Tile::Cooperative { .. } => false,
        _ => true,
    };
    for tile in Tile::ALL.into_iter().filter(usable) {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            for (m, k, n) in shapes {
                let what = format!("{tile} {ta} {tb} {m}x{k}x{n}");
                let a = if ta { [k, m] } else { [m, k] };
                let b = if tb { [n, k] } else { [k, n] };
                let tensor = |name: &str, dims| Tensor { name: name.into(), shape: Shape::fixed(dims) };
                let mut g = Graph::new(vec![tensor("a", &a), tensor("b", &b)], vec![]);
                let (pa, pb) = (g.param(0).unwrap(), g.param(1).unwrap());
                let c = g.matmul(pa, pb, ta, tb).unwrap();
                g.sink(Sink::Output(0), c);
                let params = vec![values(1, m * k, (-1.0, 1.0)), values(2, k * n, (-1.0, 1.0))];
                let env = Environment { rows: 1, params: params.clone(), ..Environment::default() };
                // Tiles of single threads are for devices without features, where quads lie in memory as they are.
                let alone = matches!(tile, Tile::Registers { .. });
                let limits = Limits { int64: int64 && !alone, ..gpu.limits() };
                // What follows a product is written out for every sum, but not where kernels shall compile soon.
                let quick = k % 2 == 0;
                let target = Target { tile: Some(tile), limits, quick, ..Target::of(&gpu, 1) };
                let (_, found, expected) = both(&gpu, &g, target, &env).remove(0);
                close(&found, &expected, &what);
                if !matches!(tile, Tile::Shared { .. }) {
                    assert_eq!(*bits.entry((ta, tb, m, k, n)).or_insert(found.clone()), found, "{what}: other bits");
                }
                for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
                    let (r, c) = (i / n, i % n);
                    let at = |v: &[f32], dims: [usize; 2], t: bool, r: usize, c: usize| {
                        f64::from(if t { v[c * dims[1] + r] } else { v[r * dims[1] + c] })
                    };
                    let sum: f64 =
                        (0..k).map(|l| (at(&params[0], a, ta, r, l) * at(&params[1], b, tb, l, c)).abs()).sum();
                    assert!(f64::from((f - e).abs()) <= 1e-5 * sum, "{what} at {r},{c}: {f} against {e}");
                }
            }
        }
    }
}

/// A batch of fewer rows than planned, where tiles go down several rows of tiles and there are several columns of them.
#[test]
fn products_of_batches_smaller_than_planned() {
    let gpu = gpu();
    for (tb, planned, rows) in [(false, 300, 299), (false, 300, 150), (false, 300, 1), (true, 300, 37)] {
        let dims = if tb { [203, 900] } else { [900, 203] };
        let mut g = Graph::new(vec![Tensor { name: "w".into(), shape: Shape::fixed(&dims) }], vec![]);
        let (x, w) = (g.input(0, 900), g.param(0).unwrap());
        let y = g.matmul(x, w, false, tb).unwrap();
        g.sink(Sink::Output(0), y);
        let env = Environment {
            rows,
            inputs: vec![values(1, rows * 900, (-1.0, 1.0))],
            params: vec![values(2, 900 * 203, (-1.0, 1.0))],
            ..Environment::default()
        };
        let (_, found, expected) = both(&gpu, &g, Target::of(&gpu, planned), &env).remove(0);
        close(&found, &expected, &format!("{rows} of {planned} rows"));
    }
}

#[test]
fn functions() {
    let gpu = gpu();
    for f in Function::ALL {
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 5);
        let y = g.map([x], |[x]| x.apply(f)).unwrap();
        g.sink(Sink::Output(0), y);
        let mut input = values(3, 50, f.domain());
        let tiny: &[f32] = if f == Function::Log { &[] } else { &[1e-7, 1e-5, 1e-3] };
        input[..tiny.len()].copy_from_slice(tiny);
        let env = Environment { rows: 10, inputs: vec![input], ..Environment::default() };
        let (_, found, expected) = both(&gpu, &g, Target::of(&gpu, 10), &env).remove(0);
        close(&found, &expected, f.name());
        for (f_, e) in found.iter().zip(&expected) {
            assert!((f_ - e).abs() <= 3e-6 * e.abs().max(1e-6), "{}: {f_} against {e}", f.name());
        }
    }
}

#[test]
fn reductions_over_awkward_shapes() {
    let gpu = gpu();
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        for (rows, blocks, columns) in
            [(1, 1, 1), (7, 1, 5), (3, 2, 9), (67, 3, 33), (2, 5, 130), (3, 6, 7), (70_000, 1, 1), (5, 1, 5000)]
        {
            for op in [Reduction::Sum, Reduction::Max] {
                for over in Over::ALL {
                    let mut g = Graph::new(vec![], vec![]);
                    let x = g.input(0, blocks * columns);
                    let between = [blocks / 2, 2, columns];
                    let three = over == Over::Inner && blocks % 2 == 0;
                    let dims = if three { &between[..] } else { &[blocks, columns] };
                    let x = g.view(x, Shape::batched(dims)).unwrap();
                    let y = g.map([x], |[x]| x.exp() - 1.5).unwrap();
                    let r = g.reduce(op, over, y);
                    let out = g.map([r], |[r]| 0.5 * r + 1.0).unwrap();
                    g.sink(Sink::Output(0), out);
                    let env = Environment {
                        rows,
                        inputs: vec![values(4, rows * blocks * columns, (-1.0, 1.0))],
                        ..Environment::default()
                    };
                    let target = Target { kind, ..Target::of(&gpu, rows) };
                    let (_, found, _) = both(&gpu, &g, target, &env).remove(0);
                    // Long sums in f32 lose digits in the interpreter's order too: judge by f64.
                    let wide = Environment {
                        rows,
                        inputs: vec![env.inputs[0].iter().map(|&v| f64::from(v)).collect()],
                        ..Environment::default()
                    };
                    let expected = &strait::internals::reference::evaluate(&g, &wide).unwrap()[&out];
                    let scale: f64 = expected.iter().map(|e| e.abs()).fold(1.0, f64::max);
                    for (f, e) in found.iter().zip(expected) {
                        let error = (f64::from(*f) - e).abs() / scale;
                        assert!(error < 2e-6, "{kind:?} {op:?} {over:?} {rows}x{blocks}x{columns}: {f} {e}");
                    }
                }
            }
        }
    }
}

#[test]
fn broadcasting_and_views() {
    let gpu = gpu();
    let tensor = |name: &str, dims: &[usize]| Tensor { name: name.into(), shape: Shape::fixed(dims) };
    let mut g = Graph::new(
        vec![tensor("row", &[6]), tensor("grid", &[3, 6]), tensor("side", &[3, 1]), tensor("one", &[])],
        vec![],
    );
    let p: Vec<_> = (0..4).map(|i| g.param(i).unwrap()).collect();
    let x = g.input(0, 18);
    let v = g.view(x, Shape::batched(&[3, 6])).unwrap();
    let per_row = g.sum(Over::Columns, x);
    let per_row = g.view(per_row, Shape::batched(&[1, 1])).unwrap();
    let sum = g.map([v, p[0], p[1], p[2], p[3]], |[v, a, b, c, d]| v * a + b * c - d).unwrap();
    let all = g.map([sum, per_row], |[s, r]| s * r).unwrap();
    g.sink(Sink::Output(0), all);
    let flat = g.view(all, Shape::batched(&[9, 2])).unwrap();
    let flat = g.map([flat], |[f]| f.square()).unwrap();
    g.sink(Sink::Output(1), flat);
    let params = [6, 18, 3, 1].iter().enumerate().map(|(i, &n)| values(10 + i as u32, n, (-1.0, 1.0))).collect();
    let env = Environment { rows: 5, inputs: vec![values(5, 90, (-1.0, 1.0))], params, ..Environment::default() };
    for optimise in [true, false] {
        for (sink, found, expected) in both(&gpu, &g, Target { optimise, ..Target::of(&gpu, 8) }, &env) {
            close(&found, &expected, &format!("{sink:?}"));
        }
    }
}

/// Columns of every place in a quad to every other one, with what lies beside them; the bits are those of the input.
#[test]
fn moved_columns() {
    let gpu = gpu();
    for (rows, from, width) in [(3, 9, 5), (2, 8, 8), (5, 1, 4), (4, 6, 13)] {
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 2 * from);
        let x = g.view(x, Shape::batched(&[2, from])).unwrap();
        // What lies in the columns of the padding on the way is not zero.
        let y = g.map([x], |[x]| x + 2.0).unwrap();
        g.sink(Sink::Output(100), y);
        for (i, offset) in (-9..=9).enumerate() {
            let moved = g.columns(y, offset, width).unwrap();
            g.sink(Sink::Output(i), moved);
            let sum = g.sum(Over::Columns, moved);
            g.sink(Sink::Output(50 + i), sum);
        }
        let env = Environment { rows, inputs: vec![values(6, rows * 2 * from, (-1.0, 1.0))], ..Environment::default() };
        for optimise in [true, false] {
            for (sink, found, expected) in both(&gpu, &g, Target { optimise, ..Target::of(&gpu, 7) }, &env) {
                match sink {
                    Sink::Output(50..100) => close(&found, &expected, &format!("{sink:?} of {from} to {width}")),
                    _ => assert_eq!(found, expected, "{sink:?} of {from} to {width}"),
                }
            }
        }
    }
}

#[test]
fn random_draws_and_permuted_rows() {
    let gpu = gpu();
    let mut g = Graph::new(vec![], vec![]);
    let x = g.gather(5, true);
    let u = g.map_to(Expr::random(Distribution::Uniform, 3), &[], Shape::batched(&[5])).unwrap();
    let n = g.map_to(Expr::random(Distribution::Normal, 4), &[], Shape::batched(&[5])).unwrap();
    for (i, node) in [x, u, n].into_iter().enumerate() {
        g.sink(Sink::Output(i), node);
    }
    let data: Vec<f32> = (0..105).map(|v| v as f32).collect();
    let env = Environment {
        rows: 8,
        data,
        first_row: 6,
        epoch: 3,
        seed: 0x1234_5678_9abc,
        step: 41,
        ..Environment::default()
    };
    let target = Target { data_rows: 21, ..Target::of(&gpu, 9) };
    for (sink, found, expected) in both(&gpu, &g, target, &env) {
        if sink == Sink::Output(2) {
            assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 2e-5), "{found:?}\n{expected:?}");
        } else {
            assert_eq!(found, expected, "{sink:?}: the bits are the same");
        }
    }
}

/// The permutation's twin on the GPU leaves what lies outside where it is, as that of the host does; with no resident
/// row at all the walk would have no end.
#[test]
fn rows_outside_the_permutation_stay() {
    let gpu = gpu();
    let mut g = Graph::new(vec![], vec![]);
    let x = g.gather(1, true);
    g.sink(Sink::Output(0), x);
    let recording = Recording::new(&g, Target { data_rows: 21, ..Target::of(&gpu, 9) }).unwrap();
    let state = gpu.buffer("state", 64).unwrap();
    let program = Program::new(&gpu, &recording, &state, &BTreeMap::new()).unwrap();
    let data: Vec<f32> = (0..21).map(|v| v as f32).collect();
    gpu.write(program.buffer(Role::Data).unwrap(), 0, bytemuck::cast_slice(&data)).unwrap();
    for count in [5, 1, 0] {
        let now = State { count, first_row: 3, epoch: 2, ..State::once(9, 77) };
        gpu.write(&state, 0, bytemuck::bytes_of(&now)).unwrap();
        gpu.submit([Work::Run(&program)]).unwrap();
        let found = gpu.read(program.buffer(Role::Output(0)).unwrap(), 0, 9).unwrap();
        let expected: Vec<f32> = (3..12).map(|row| permute(row, count, 77, 2) as f32).collect();
        assert_eq!(found, expected, "{count} resident rows");
    }
}

/// Sums over more rows than a thread of a software adapter can take in its loops are right, or refused.
#[test]
fn sums_of_many_rows_are_right_or_refused() {
    let gpu = gpu();
    for rows in [65_000, 70_000] {
        // 33 quads: one thread would add up each, were there fewer rows.
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 130);
        let sum = g.sum(Over::Rows, x);
        g.sink(Sink::Output(0), sum);
        let ones = vec![1.0; rows * 130];
        let evaluator = Evaluator::new(&gpu, &g, rows).unwrap();
        evaluator.input(0, &ones).unwrap();
        evaluator.run(State::once(rows, 0)).unwrap();
        assert_eq!(evaluator.sink(Sink::Output(0), rows).unwrap(), vec![rows as f32; 130]);

        let mut g = Graph::new(vec![], vec![]);
        let (a, b) = (g.input(0, 5), g.input(1, 6));
        let product = g.matmul(a, b, true, false).unwrap();
        g.sink(Sink::Output(0), product);
        match Evaluator::new(&gpu, &g, rows) {
            Ok(evaluator) => {
                evaluator.input(0, &ones[..rows * 5]).unwrap();
                evaluator.input(1, &ones[..rows * 6]).unwrap();
                evaluator.run(State::once(rows, 0)).unwrap();
                assert_eq!(evaluator.sink(Sink::Output(0), rows).unwrap(), vec![rows as f32; 30]);
            }
            Err(Error::Limit { needs, allowed, .. }) => assert!(needs == rows as u64 && needs > allowed),
            other => panic!("{other:?}"),
        }
    }
}
