//! Sums keep their digits however long they are, in a fixed order: against sums in f64 of the very same values.

use crate::common::{gpu, values};
use strait::graph::{Graph, Over, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::plan::{AdapterKind, Target};
use strait::internals::state::State;
use strait::{Activation, Loss, Session, Spec, Training, data};

/// What a sum in f32 may be off by, relative to the sum of absolute values.
const ALLOWED: f64 = 5e-7;

/// The sum over `over` of a batch [rows, blocks, columns] on the GPU.
fn sum(kind: AdapterKind, over: Over, [rows, blocks, columns]: [usize; 3], batch: &[f32]) -> Vec<f32> {
    let gpu = gpu();
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, blocks * columns);
    let x = g.view(x, Shape::batched(&[blocks, columns])).unwrap();
    let s = g.sum(over, x);
    g.sink(Sink::Output(0), s);
    let evaluator = Evaluator::with_target(&gpu, &g, Target { kind, ..Target::of(&gpu, rows) }).unwrap();
    evaluator.input(0, batch).unwrap();
    let run = || {
        evaluator.run(State::once(rows, 0)).unwrap();
        evaluator.sink(Sink::Output(0), rows).unwrap()
    };
    let found = run();
    assert_eq!(found, run(), "the order is fixed");
    found
}

/// The sums in f64, and those of absolute values.
fn exact(over: Over, [_, blocks, columns]: [usize; 3], batch: &[f32], length: usize) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); length];
    for (at, &v) in batch.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        let place = match over {
            Over::Columns => row,
            Over::Rows => column,
            Over::Batch => row % blocks * columns + column,
            Over::Blocks | Over::Inner => row / blocks * columns + column,
            other => panic!("no place for {other:?}"),
        };
        sums[place].0 += f64::from(v);
        sums[place].1 += f64::from(v.abs());
    }
    sums
}

fn check(over: Over, shape: [usize; 3], what: &str, batch: &[f32]) {
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        let found = sum(kind, over, shape, batch);
        for (i, (found, (sum, size))) in found.iter().zip(exact(over, shape, batch, found.len())).enumerate() {
            let error = (f64::from(*found) - sum).abs() / size;
            assert!(error < ALLOWED, "{kind:?} {over:?} {shape:?} {what}, result {i}: off by {error:e}");
        }
    }
}

/// Values that are all alike are rounded the same way again and again, which is what loses most.
#[test]
fn long_sums_of_values_near_a_tenth() {
    for (over, shape) in [
        (Over::Rows, [1000, 1, 1]),
        (Over::Rows, [60_000, 1, 1]),
        (Over::Rows, [60_000, 1, 6]),
        (Over::Rows, [50_000, 1, 130]),
        (Over::Rows, [1024, 3, 33]),
        (Over::Batch, [5000, 2, 40]),
        (Over::Blocks, [2, 3000, 7]),
        (Over::Inner, [3, 1500, 9]),
        (Over::Columns, [3, 1, 60_000]),
        (Over::Columns, [40, 1, 5001]),
        (Over::Columns, [40, 1, 784]),
    ] {
        let count = shape.iter().product();
        check(over, shape, "near a tenth", &values(5, count, (0.0999, 0.1001)));
        check(over, shape, "a tenth", &vec![0.1; count]);
        check(over, shape, "of both signs", &values(6, count, (-1.0, 1.0)));
    }
}

/// Mesa's llvmpipe leaves loops after 65,535 rounds without a word: a million rows and rows of 65,536 columns are not cut.
#[test]
fn sums_longer_than_a_thread_may_go_round() {
    for (over, shape) in [
        (Over::Rows, [1_000_000, 1, 1]),
        (Over::Rows, [1_000_000, 1, 5]),
        (Over::Batch, [1_000_000, 1, 2]),
        (Over::Columns, [3, 1, 65_536]),
        (Over::Columns, [2, 1, 1_000_000]),
    ] {
        let count = shape.iter().product();
        check(over, shape, "near a tenth", &values(5, count, (0.0999, 0.1001)));
    }
}

/// Nor are products whose inner dimension is as long, whichever way their factors lie: beyond what one loop may take, sums are
/// left in parts.
#[test]
fn products_longer_than_a_thread_may_go_round() {
    let gpu = gpu();
    let (rows, columns) = (3, 5);
    let product = |inner: usize, ta: bool, tb: bool, batched: bool| {
        let dims = |t: bool, a: usize, b: usize| Shape::fixed(&if t { [b, a] } else { [a, b] });
        let tensor = |name: &str, shape| Tensor { name: name.into(), shape };
        let factors = [tensor("a", dims(ta, rows, inner)), tensor("b", dims(tb, inner, columns))];
        let mut g = Graph::new(factors.to_vec(), vec![]);
        let left = if batched { g.input(0, inner) } else { g.param(0).unwrap() };
        let right = g.param(1).unwrap();
        let c = g.matmul(left, right, ta, tb).unwrap();
        g.sink(Sink::Output(0), c);
        g
    };
    for inner in [120_000, 300_003] {
        let (a, b) = (values(1, rows * inner, (0.0, 1.0)), values(2, inner * columns, (0.0, 1.0)));
        let at = |v: &[f32], t: bool, [i, j]: [usize; 2], [height, width]: [usize; 2]| {
            f64::from(if t { v[j * height + i] } else { v[i * width + j] })
        };
        let flags = [(false, false), (false, true), (true, false), (true, true)];
        // The left factor as a batch too, of fewer rows than planned.
        let cases =
            flags.map(|(ta, tb)| (ta, tb, false)).into_iter().chain([(false, false, true), (false, true, true)]);
        for (ta, tb, batched) in cases {
            for kind in [AdapterKind::Software, AdapterKind::Hardware] {
                let target = Target { kind, ..Target::of(&gpu, rows + 2) };
                let evaluator = Evaluator::with_target(&gpu, &product(inner, ta, tb, batched), target).unwrap();
                evaluator.params(&[a.clone(), b.clone()]).unwrap();
                if batched {
                    evaluator.input(0, &a).unwrap();
                }
                evaluator.run(State::once(rows, 0)).unwrap();
                let found = evaluator.sink(Sink::Output(0), rows).unwrap();
                assert_eq!(found.len(), rows * columns);
                for (place, found) in found.iter().enumerate() {
                    let (i, j) = (place / columns, place % columns);
                    let each =
                        (0..inner).map(|k| at(&a, ta, [i, k], [rows, inner]) * at(&b, tb, [k, j], [inner, columns]));
                    let sum: f64 = each.sum();
                    // Products add up in single precision, one after the other.
                    let error = (f64::from(*found) / sum - 1.0).abs();
                    assert!(error < 1e-4, "{kind:?} ta {ta}, tb {tb}, result {place}: {found} against {sum}");
                }
            }
        }
    }
}

/// Small values beside a large one are not lost one by one.
#[test]
fn what_is_small_beside_the_sum_counts() {
    for (over, shape) in [(Over::Rows, [30_001, 1, 1]), (Over::Columns, [1, 1, 30_001])] {
        let mut batch = vec![0.5; 30_001];
        batch[0] = 1e8;
        check(over, shape, "a large one first", &batch);
    }
}

/// The mean over a data set is that of its rows: a learned sigma's likelihood of 1,024 rows, by hand.
#[test]
fn the_mean_objective_keeps_its_digits() {
    let spec = Spec::symmetric(&[3, 2], Activation::Identity).loss(Loss::Gaussian { sigma: 0.7, learned: true });
    let mut session = Session::new(&gpu(), &spec, Training { batch: 1024, ..Training::default() }).unwrap();
    // Nothing is reconstructed, so that a row's loss is that of its squares: all parameters but log sigma are 0.
    let mut params: Vec<Vec<f32>> = session.parameters().unwrap().iter().map(|p| vec![0.0; p.len()]).collect();
    let at = session.tensors().iter().position(|t| t.name == "decoder.log_sigma").unwrap();
    let log_sigma = -0.25f32;
    params[at].fill(log_sigma);
    session.set_parameters(&params).unwrap();
    for count in [1024, 5000] {
        let rows = values(8, 3 * count, (0.5, 0.6));
        let squares: f64 = rows.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / count as f64;
        let (s, half_log_tau) = (f64::from(log_sigma), 0.5 * std::f64::consts::TAU.ln());
        let parts = [0.5 * squares * (-2.0 * s).exp(), 3.0 * s, 3.0 * half_log_tau];
        let found = session.evaluate(data::Data::from_rows(3, rows).unwrap()).unwrap().loss;
        let error = (found - parts.iter().sum::<f64>()).abs() / parts.iter().map(|p| p.abs()).sum::<f64>();
        assert!(error < ALLOWED, "{count} rows: {found}, off by {error:e}");
    }
}
