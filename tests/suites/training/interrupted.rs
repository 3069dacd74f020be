//! Runs that are broken off at any point: dropped futures, other data, files in between. What comes of them is what the
//! whole run comes to.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::common::until_pending;
use strait::{EarlyStopping, Error, Fit, Progress, Stop};

const EARLY: EarlyStopping = EarlyStopping { validation: 0.2, patience: 3, min_delta: 0.0 };

/// Too fast for its own good, so that the best parameters are not the last ones. 24 rows in batches of 6 an epoch.
fn fast() -> Training {
    Training { batch: 6, epochs: 40, learning_rate: 0.3, early_stopping: Some(EARLY), ..Training::default() }
}

/// Polls a run until it has been pending so many times, then drops it; its end where that comes first.
fn dropped(session: &mut Session, data: &Data, pending: usize) -> Option<Fit> {
    until_pending(session.fit_async(data, |_| ControlFlow::Continue(())), pending).map(Result::unwrap)
}

#[test]
fn a_future_dropped_at_any_point_loses_no_look_at_the_validation_rows() {
    let data = rows(30);
    let mut whole = session(&gpu(), &tiny(), fast());
    let fit = whole.fit(&data).unwrap();
    assert_eq!(fit.stop, Stop::Early);
    let mut broken_off = 0;
    // Loading, a report and a look are pending some times each.
    for pending in 0..40 {
        let mut found = session(&gpu(), &tiny(), fast());
        let rest = dropped(&mut found, &data, pending).unwrap_or_else(|| {
            broken_off += 1;
            found.fit(&data).unwrap()
        });
        assert_eq!(rest.best_validation, fit.best_validation, "dropped when pending for the {pending}th time");
        assert_eq!((found.steps(), bits(&found)), (fit.steps, bits(&whole)), "{pending}");
    }
    assert!(broken_off > 3, "{broken_off} runs were broken off");
}

#[test]
fn a_future_dropped_again_and_again_ends_where_the_whole_run_ends() {
    let data = rows(30);
    let mut whole = session(&gpu(), &tiny(), fast());
    let fit = whole.fit(&data).unwrap();
    let mut found = session(&gpu(), &tiny(), fast());
    // Each gets further than the one before, whatever it has to make good first.
    let rest = (0..200).find_map(|pending| dropped(&mut found, &data, pending)).expect("it ends");
    assert_eq!((rest.stop, rest.best_validation), (fit.stop, fit.best_validation));
    assert_eq!((found.steps(), bits(&found)), (fit.steps, bits(&whole)));
}

#[test]
fn a_look_that_is_due_goes_through_a_checkpoint() {
    let data = rows(30);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("due");
    let mut whole = session(&gpu(), &tiny(), fast());
    let fit = whole.fit(&data).unwrap();
    for pending in (0..40).step_by(2) {
        let mut found = session(&gpu(), &tiny(), fast());
        dropped(&mut found, &data, pending);
        found.checkpoint(&path).unwrap();
        let mut resumed = Session::resume(&gpu(), &path).unwrap();
        let rest = resumed.fit(&data).unwrap();
        assert_eq!(rest.best_validation, fit.best_validation, "{pending}");
        assert_eq!((resumed.steps(), bits(&resumed)), (fit.steps, bits(&whole)), "{pending}");
    }
}

#[test]
fn stepping_by_hand_past_an_epoch_leaves_its_look() {
    let data = rows(30);
    let mut found = session(&gpu(), &tiny(), fast());
    // Dropped before the second report: on the way to a report, or to the first look.
    let reports = AtomicUsize::new(0);
    for pending in 1.. {
        let report = |_: &Progress| {
            reports.fetch_add(1, Relaxed);
            ControlFlow::Continue(())
        };
        assert!(until_pending(found.fit_async(&data, report), pending).is_none());
        if reports.load(Relaxed) > 0 {
            break;
        }
    }
    take(&mut found, 1, 1);
    let before = found.steps();
    let fit = found.fit(&data).unwrap();
    let looks = fit.history.iter().filter(|p| p.validation.is_some()).map(|p| p.step);
    // 4 steps to an epoch: only those that end behind the step by hand.
    assert!(looks.clone().count() > 0 && looks.clone().all(|step| step > before && step % 4 == 0), "{before}");
}

/// A run of 20 steps an epoch, 84 of 100 taken.
fn begun() -> Session {
    let training = Training { batch: 1, epochs: 5, optimizer: MOMENTUM, ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    session.load(rows(20)).unwrap();
    take(&mut session, 84, 30);
    session
}

#[test]
fn a_run_goes_on_with_as_many_rows_only() {
    let mut same = begun();
    let fit = same.fit(rows(20)).unwrap();
    assert_eq!((fit.steps, fit.stop, same.steps()), (16, Stop::Done, 100));
    // Half of the rows, one less, one more, twice as many: all five epochs of them, and said so.
    for count in [1, 10, 16, 17, 19, 21, 40] {
        let mut other = begun();
        let fit = other.fit(rows(count)).unwrap();
        let steps = 5 * count as u64;
        assert_eq!((fit.steps, fit.stop, other.steps()), (steps, Stop::Done, 84 + steps), "{count} rows");
        let last = fit.history.last().unwrap();
        assert_eq!((last.step, last.total_steps), (84 + steps, 84 + steps), "{count} rows");
    }
    // By hand, too.
    let mut by_hand = begun();
    by_hand.load(rows(10)).unwrap();
    take(&mut by_hand, 50, 7);
    assert_eq!(by_hand.step(1).unwrap().steps(), 0);
}

#[test]
fn a_resumed_run_knows_how_many_rows_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("begun");
    begun().checkpoint(&path).unwrap();
    let mut resumed = Session::resume(&gpu(), &path).unwrap();
    assert_eq!(resumed.fit(rows(10)).unwrap().steps, 50);
    let mut resumed = Session::resume(&gpu(), &path).unwrap();
    assert_eq!(resumed.fit(rows(20)).unwrap().steps, 16);
    // Finished when it was written: with other rows it is another run, with the same ones it stays finished.
    resumed.checkpoint(&path).unwrap();
    let mut finished = Session::resume(&gpu(), &path).unwrap();
    assert_eq!(finished.fit(rows(20)).unwrap().steps, 0);
    let mut finished = Session::resume(&gpu(), &path).unwrap();
    assert_eq!(finished.fit(rows(40)).unwrap().steps, 200);
}

#[test]
fn a_load_that_fails_leaves_the_run_as_it_was() {
    let mut found = begun();
    let refused = found.load(Data::from_rows(2, vec![0.5; 20]).unwrap());
    assert!(matches!(refused, Err(Error::Data { .. })), "{refused:?}");
    assert_eq!(found.fit(rows(20)).unwrap().steps, 16);
}
