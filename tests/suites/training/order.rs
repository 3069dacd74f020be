//! Which rows each step takes. The model reconstructs 0 and does not move, so that a step's loss is the mean square of
//! its rows, which tells which they were.

use super::*;
use strait::Loss;
use strait::internals::random::permute;

const ROWS: usize = 23;

/// Budgets that make all rows resident, and chunks of 8.
const BUDGETS: [(u64, usize); 2] = [(1 << 20, ROWS), (8 * 4 + 3, 8)];

/// A model that reconstructs 0 and does not move.
fn still(training: Training) -> Session {
    let training = Training { learning_rate: 1e-30, optimizer: Optimizer::SGD, ..training };
    let spec = Spec::symmetric(&[1, 1], Activation::Identity).loss(Loss::SquaredError);
    let mut session = session(&gpu(), &spec, training);
    session.set_parameters(&vec![vec![0.0]; 4]).unwrap();
    session
}

/// The loss of every step over the rows 1, 2, 3 ...
fn losses(rows: usize, training: Training) -> Vec<f64> {
    let mut session = still(training);
    session.load(Data::from_rows(1, (1..=rows).map(|v| v as f32).collect()).unwrap()).unwrap();
    let mut losses = Vec::new();
    while session.step(1).unwrap().steps() > 0 {
        losses.push(report(&mut session).loss);
    }
    losses
}

fn square(row: usize) -> f64 {
    ((row + 1) * (row + 1)) as f64
}

#[test]
fn every_epoch_takes_every_row_once() {
    for (data_budget, _) in BUDGETS {
        for shuffle in [false, true] {
            let training = Training { batch: 1, epochs: 3, shuffle, data_budget, seed: 4, ..Training::default() };
            let found = losses(ROWS, training);
            let epochs: Vec<&[f64]> = found.chunks(ROWS).collect();
            let in_order: Vec<f64> = (0..ROWS).map(square).collect();
            assert_eq!(epochs.len(), 3);
            for epoch in &epochs {
                let mut sorted = epoch.to_vec();
                sorted.sort_by(f64::total_cmp);
                assert_eq!(sorted, in_order, "shuffle {shuffle}, budget {data_budget}");
                assert_eq!(*epoch == in_order, !shuffle);
            }
            assert_eq!(epochs[0] == epochs[1] || epochs[1] == epochs[2], !shuffle);
        }
    }
}

/// The rows of each step as src/train/feed.rs documents them.
fn documented(training: &Training, chunk_rows: usize) -> Vec<Vec<usize>> {
    let chunks = ROWS.div_ceil(chunk_rows);
    let mut steps = Vec::new();
    for epoch in 0..training.epochs as u32 {
        for i in 0..chunks as u32 {
            let chunk = permute(i, chunks as u32, training.seed, epoch) as usize;
            let first = chunk * chunk_rows;
            let count = chunk_rows.min(ROWS - first);
            let pass = epoch * chunks as u32 + i;
            let order: Vec<usize> =
                (0..count).map(|r| first + permute(r as u32, count as u32, training.seed, pass) as usize).collect();
            let batches = order.chunks(training.batch).filter(|b| !training.drop_last || b.len() == training.batch);
            steps.extend(batches.map(<[usize]>::to_vec));
        }
    }
    steps
}

#[test]
fn the_order_is_the_documented_one() {
    for (data_budget, chunk_rows) in BUDGETS {
        for drop_last in [false, true] {
            let training =
                Training { batch: 4, epochs: 3, drop_last, data_budget, seed: 1 << 33 | 5, ..Training::default() };
            let expected = documented(&training, chunk_rows);
            assert_eq!(expected.len(), if drop_last { 5 * 3 } else { 6 * 3 });
            let found = losses(ROWS, training);
            assert_eq!(found.len(), expected.len());
            for (step, (found, rows)) in found.iter().zip(&expected).enumerate() {
                let mean = rows.iter().map(|&r| square(r)).sum::<f64>() / rows.len() as f64;
                assert!((found / mean - 1.0).abs() < 1e-6, "step {step}: {found}, rows {rows:?} have {mean}");
            }
        }
    }
}

/// A last chunk smaller than a batch has no step where the last batch is dropped, wherever the shuffle puts it.
#[test]
fn a_chunk_without_a_step_is_passed_over() {
    for seed in 0..6 {
        let training = Training { batch: 4, epochs: 3, drop_last: true, data_budget: 32, seed, ..Training::default() };
        let found = losses(18, training);
        assert_eq!(found.len(), 4 * 3, "seed {seed}");
        for epoch in found.chunks(4) {
            let sum = 4.0 * epoch.iter().sum::<f64>();
            let all = (0..16).map(square).sum::<f64>();
            assert!((sum / all - 1.0).abs() < 1e-6, "seed {seed}: {sum}, all 16 rows have {all}");
        }
    }
}

/// Going from chunk to chunk and looking up where a step lies are two ways to the same place.
#[test]
fn loading_again_between_steps_changes_no_order() {
    for (data_budget, drop_last) in [(32, false), (32, true), (16, false), (1 << 20, true)] {
        for (shuffle, epochs_before) in [(true, 0), (true, 1), (false, 0)] {
            let training = Training { batch: 4, epochs: 2, shuffle, drop_last, data_budget, ..Training::default() };
            let all = Data::from_rows(1, (1..=18).map(|v| v as f32).collect()).unwrap();
            let run = |again: bool| {
                let mut session = still(training);
                for _ in 0..epochs_before {
                    session.fit(&all).unwrap();
                }
                session.load(&all).unwrap();
                let mut losses = Vec::new();
                while session.step(1).unwrap().steps() > 0 {
                    losses.push(report(&mut session).loss);
                    if again && losses.len() < 8 {
                        session.load(&all).unwrap();
                    }
                }
                losses
            };
            let found = run(true);
            assert_eq!(found.len(), if drop_last { 8 } else { 10 });
            assert_eq!(found, run(false), "budget {data_budget}, drop_last {drop_last}, shuffle {shuffle}");
        }
    }
}

#[test]
fn streamed_rows_train_to_the_same_bits_as_resident_ones() {
    let train = |data_budget| {
        let training =
            Training { batch: 4, epochs: 5, shuffle: false, data_budget, optimizer: MOMENTUM, ..Training::default() };
        let mut session = session(&gpu(), &tiny().gaussian_corruption(0.1), training);
        let fit = session.fit(rows(ROWS)).unwrap();
        assert_eq!(fit.steps, 6 * 5);
        bits(&session)
    };
    assert_eq!(train(1 << 20), train(8 * 12));
}

#[test]
fn what_cannot_be_streamed_is_refused() {
    let training = Training { batch: 4, data_budget: 3 * 12, ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    let refused = session.fit(rows(ROWS)).unwrap_err();
    assert!(
        matches!(refused, strait::Error::Limit { needs: 48, allowed: 36, limit: "data_budget", .. }),
        "{refused:?}"
    );
}
