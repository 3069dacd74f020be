//! Options that change between two runs or in the middle of one, and the history of a run as a table.

use std::sync::Arc;

use super::{Broken, MOMENTUM, bits, rows, session, take, tiny};
use crate::common::gpu;
use strait::data::Shuffled;
use strait::{
    Data, Decay, EarlyStopping, Error, Fit, Objective, Optimizer, Progress, Ramp, Schedule, Session, Source, Stop,
    Training, UpdateRamps,
};

fn training() -> Training {
    Training { batch: 4, epochs: 5, optimizer: MOMENTUM, learning_rate: 0.1, ..Training::default() }
}

/// Half the learning rate from the twelfth step on, by hand and by a schedule; in a process of its own, too.
#[test]
fn a_run_goes_on_with_another_learning_rate() {
    let decay = Decay::Step { every: 12, factor: 0.5 };
    let scheduled = Training { schedule: Schedule { decay, ..Schedule::default() }, ..training() };
    let mut whole = session(&gpu(), &tiny(), scheduled);
    whole.load(rows(23)).unwrap();
    take(&mut whole, 20, 5);
    let mut changed = session(&gpu(), &tiny(), training());
    changed.load(rows(23)).unwrap();
    take(&mut changed, 12, 5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("middle");
    changed.checkpoint(&path).unwrap();
    for mut session in [changed, Session::resume(&gpu(), &path).unwrap()] {
        let slower = Training { learning_rate: 0.05, epochs: 4, ..*session.training() };
        session.set_training(slower).unwrap();
        assert_eq!(*session.training(), slower);
        assert!(matches!(session.step(1), Err(Error::Data { .. })), "data is loaded again");
        session.load(rows(23)).unwrap();
        take(&mut session, 8, 3);
        assert_eq!(bits(&session), bits(&whole));
        assert_eq!(session.fit(rows(23)).unwrap().steps, 4, "four epochs of six steps in all");
    }
}

/// Along a line from .051 to .001 by numbers from hand; and on the GPU as by rates that are given step by step.
#[test]
fn a_learning_rate_falls_along_a_line() {
    let line = |to: f64, steps: Option<u64>| Schedule { warm_up: 0, decay: Decay::Linear { to, steps } };
    let rate = |step: u64, total: u64| 0.051 * line(0.001 / 0.051, Some(20_000)).factor(step, total);
    for (step, expected) in [(0, 0.051), (5_000, 0.0385), (10_000, 0.026), (20_000, 0.001), (u64::MAX, 0.001)] {
        assert!((rate(step, 9) - expected).abs() < 1e-15, "{step}: {}", rate(step, 9));
    }
    // Over the whole run where no step is told; under a warm-up of 4.
    assert_eq!([0, 2, 4, 9].map(|step| line(0.0, None).factor(step, 4)), [1.0, 0.5, 0.0, 0.0]);
    assert_eq!(Schedule { warm_up: 4, ..line(0.5, None) }.factor(1, 4), 0.5 * 0.875);

    let falling = Training { learning_rate: 0.125, schedule: line(0.5, Some(2)), ..training() };
    let mut found = session(&gpu(), &tiny(), falling);
    found.load(rows(23)).unwrap();
    take(&mut found, 4, 5);
    let mut expected = session(&gpu(), &tiny(), training());
    for learning_rate in [0.125, 0.09375, 0.0625, 0.0625] {
        expected.set_training(Training { learning_rate, ..training() }).unwrap();
        expected.load(rows(23)).unwrap();
        take(&mut expected, 1, 1);
    }
    assert_eq!(bits(&found), bits(&expected));
}

/// More epochs after a run has ended go on with it, where nothing of its order changed; a batch of another size begins
/// another run.
#[test]
fn a_run_becomes_longer_or_another() {
    let mut whole = session(&gpu(), &tiny(), Training { epochs: 7, ..training() });
    whole.fit(rows(23)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("end");
    let mut short = session(&gpu(), &tiny(), training());
    short.fit(rows(23)).unwrap();
    short.checkpoint(&path).unwrap();
    let mut longer = Session::resume(&gpu(), &path).unwrap();
    longer.set_training(Training { epochs: 7, ..*longer.training() }).unwrap();
    assert_eq!(longer.fit(rows(23)).unwrap().steps, 12);
    assert_eq!(bits(&longer), bits(&whole));
    let mut other = Session::resume(&gpu(), &path).unwrap();
    other.set_training(Training { batch: 8, epochs: 2, ..*other.training() }).unwrap();
    assert_eq!(other.fit(rows(23)).unwrap().steps, 6, "three steps an epoch, from its beginning");
    // Momentum that was not there is in the file from then on.
    let mut plain = session(&gpu(), &tiny(), Training { optimizer: Optimizer::SGD, ..training() });
    plain.fit(rows(23)).unwrap();
    plain.set_training(training()).unwrap();
    plain.checkpoint(&path).unwrap();
    assert_eq!(*Session::resume(&gpu(), &path).unwrap().training(), training());
}

/// Ramps may come and go, which changes the table that kernels read.
#[test]
fn ramps_come_and_go() {
    let clipped = |ramps| Training { clip_norm: Some(0.2), ramps, ..training() };
    let ramps = UpdateRamps {
        clip_norm: Some(Ramp::linear(0.01, 0.5)),
        momentum: Some(Ramp::linear(0.1, 1.0)),
        ..Default::default()
    };
    let mut expected = session(&gpu(), &tiny(), clipped(ramps));
    expected.fit(rows(23)).unwrap();
    let mut found = session(&gpu(), &tiny(), clipped(UpdateRamps::default()));
    found.set_training(clipped(ramps)).unwrap();
    found.fit(rows(23)).unwrap();
    assert_eq!(bits(&found), bits(&expected));
}

#[test]
fn options_that_cannot_be_leave_those_before() {
    let mut session = session(&gpu(), &tiny(), training());
    session.load(rows(23)).unwrap();
    take(&mut session, 3, 2);
    for (options, place) in [
        (Training { optimizer: Optimizer::ADAM, ..training() }, "optimizer"),
        (Training { learning_rate: 0.0, ..training() }, "learning_rate"),
        (Training { batch: 0, ..training() }, "batch"),
    ] {
        match session.set_training(options) {
            Err(Error::Spec { field, .. }) => assert_eq!(field, place),
            other => panic!("{other:?}"),
        }
        assert_eq!(*session.training(), training());
    }
    take(&mut session, 2, 2);
    assert_eq!(session.steps(), 5, "the run goes on");
}

/// With fewer or more rows on the GPU at a time their order is another, and so is the run; with as many it goes on, and a file
/// knows how many there were.
#[test]
fn a_budget_that_changes_the_order_begins_another_run() {
    // 8 of 40 rows, in two batches.
    let eight = 8 * 3 * 4;
    let streamed = Training { epochs: 2, data_budget: eight, ..training() };
    let mut begun = session(&gpu(), &tiny(), streamed);
    begun.load(rows(40)).unwrap();
    take(&mut begun, 5, 2);
    let snapshot = begun.snapshot().unwrap();
    for (data_budget, left) in [(eight, 15), (eight + 3 * 4, 15), (2 * eight, 20), (1 << 30, 20)] {
        let mut session = Session::restore(&gpu(), &snapshot).unwrap();
        session.set_training(Training { data_budget, ..streamed }).unwrap();
        assert_eq!(session.fit(rows(40)).unwrap().steps, left, "{data_budget}");
    }
    begun.set_training(Training { data_budget: 1 << 30, ..streamed }).unwrap();
    assert_eq!(begun.fit(rows(40)).unwrap().steps, 20);
}

/// Where rows cannot be loaded, a run goes on with those that it had as if nobody had tried; so does a step by hand.
#[test]
fn a_load_that_fails_changes_nothing() {
    let early_stopping = Some(EarlyStopping { validation: 0.2, patience: 9, min_delta: 0.0 });
    for options in [training(), Training { early_stopping, average: Some(0.9), ..training() }] {
        let mut whole = session(&gpu(), &tiny(), options);
        whole.load(rows(23)).unwrap();
        take(&mut whole, 9, 2);
        let mut found = session(&gpu(), &tiny(), options);
        found.load(rows(23)).unwrap();
        for _ in 0..3 {
            take(&mut found, 3, 2);
            for broken in [Broken { data: rows(23), at: 2 }, Broken { data: rows(40), at: 3 * 3 }] {
                let broken: Arc<dyn Source> = Arc::new(broken);
                assert!(
                    matches!(found.load(broken), Err(Error::Data { place, .. }) if place.starts_with("broken: row "))
                );
            }
        }
        assert_eq!(bits(&found), bits(&whole));
        assert_eq!(found.snapshot().unwrap().bytes(), whole.snapshot().unwrap().bytes());
        assert_eq!(found.fit(rows(23)).unwrap().best_validation, whole.fit(rows(23)).unwrap().best_validation);
        assert_eq!(bits(&found), bits(&whole));
    }
}

#[test]
fn the_history_is_a_table() {
    let progress = |step: u64, terms: &[(&str, f64)], validation: Option<f64>| Progress {
        step,
        total_steps: 9,
        epoch: step / 4,
        loss: 0.5,
        terms: terms.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
        validation: validation.map(|loss| Objective { loss, terms: vec![] }),
        learning_rate: 1e-3,
        rows_per_second: 100.0,
        elapsed: std::time::Duration::from_millis(1500),
    };
    let history = vec![
        progress(1, &[("a", 0.25), ("of \"b\", c", -1.0)], None),
        progress(9, &[("a", 1e-9)], Some(2.0)),
        // No page of zeros.
        progress(10, &[("a", -1e-38)], Some(1.5e300)),
    ];
    let (first_step, elapsed) = Default::default();
    let fit = Fit { history, steps: 9, stop: Stop::Done, best_validation: None, first_step, elapsed };
    let expected = "step,epoch,loss,\"a\",\"of \"\"b\"\", c\",validation,learning_rate,rows_per_second,seconds\n\
                    1,0,0.5,0.25,-1,,0.001,100,1.5\n\
                    9,2,0.5,1e-9,,2,0.001,100,1.5\n\
                    10,2,0.5,-1e-38,,1.5e300,0.001,100,1.5\n";
    assert_eq!(fit.csv(), expected);
    let early = EarlyStopping { validation: 0.3, patience: 9, min_delta: 0.0 };
    let mut session = session(&gpu(), &tiny(), Training { early_stopping: Some(early), ..training() });
    let fit = session.fit(rows(23)).unwrap();
    let (header, lines) = (fit.csv().lines().next().unwrap().to_string(), fit.csv().lines().count());
    assert!(header.starts_with("step,epoch,loss,\"reconstruction\",validation"), "{header}");
    assert_eq!(lines, fit.history.len() + 1);
}

/// Validation rows of one's own do what the same rows do that are held out; all others are trained on.
#[test]
fn validation_rows_of_ones_own() {
    let early = EarlyStopping { validation: 0.2, patience: 3, min_delta: 0.0 };
    let fast = Training { batch: 6, epochs: 500, learning_rate: 0.3, early_stopping: Some(early), ..training() };
    let (train, held) = rows(30).split_at(24).unwrap();
    let mut expected = session(&gpu(), &tiny(), fast);
    let wanted = expected.fit(rows(30)).unwrap();
    let mut found = session(&gpu(), &tiny(), fast);
    found.set_validation(Some((&held).into()));
    let fit = found.fit(&train).unwrap();
    assert_eq!((fit.stop, fit.steps, fit.best_validation), (Stop::Early, wanted.steps, wanted.best_validation));
    assert_eq!(bits(&found), bits(&expected));
    // Rows of another width are refused, and nothing is loaded.
    found.set_validation(Some(Data::from_rows(2, vec![0.0; 4]).unwrap().into()));
    assert!(matches!(found.fit(&train), Err(Error::Data { .. })));
    // Without them some are held out again.
    found.set_validation(None);
    assert_eq!(found.fit(rows(30)).unwrap().history[0].total_steps % 4, 0, "24 rows an epoch");
}

/// Every row comes once, in an order that only the seed says; read together or one by one.
#[test]
fn rows_in_another_order() {
    let count = 97;
    let plain = Data::from_rows(2, (0..2 * count).map(|i| i as f32).collect()).unwrap();
    let read = |source: &dyn Source, first: usize, rows: usize| {
        let mut out = vec![0.0; rows * 2];
        source.read(first, &mut out).map(|()| out)
    };
    let [shuffled, again, other] = [3, 3, 4].map(|seed| Shuffled::new(&plain, seed).unwrap());
    let whole = read(&shuffled, 0, count).unwrap();
    assert!(whole == read(&again, 0, count).unwrap() && whole != read(&other, 0, count).unwrap());
    let mut firsts: Vec<usize> = whole.chunks(2).map(|row| row[0] as usize / 2).collect();
    assert!(whole.chunks(2).all(|row| row[1] == row[0] + 1.0), "rows stay whole");
    let kept = firsts.iter().enumerate().filter(|(at, row)| at == *row).count();
    assert!(kept < 10, "{kept} of {count} where they were");
    let last = &firsts[count - 20..];
    assert!(last.iter().any(|&row| row < 30) && last.iter().any(|&row| row > 60), "from everywhere: {last:?}");
    firsts.sort_unstable();
    assert!(firsts == (0..count).collect::<Vec<_>>());
    for (first, rows) in [(0, 1), (13, 5), (count - 1, 1), (count, 0)] {
        assert!(read(&shuffled, first, rows).unwrap() == whole[first * 2..(first + rows) * 2]);
    }
    assert!(matches!(read(&shuffled, count - 1, 2), Err(Error::Data { .. })));
    assert_eq!((shuffled.rows(), shuffled.columns(), shuffled.name()), (count, 2, plain.name()));
}
