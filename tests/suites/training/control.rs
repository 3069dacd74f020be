//! Control over a run: reports, early stopping, cancelling, stepping by hand, learning rates beyond the table's length.

use std::ops::ControlFlow;

use super::*;
use strait::{Decay, EarlyStopping, Error, Objective, Progress, Schedule, Stop};

/// The objective on the validation rows, epoch by epoch.
fn validations_of(history: &[Progress]) -> Vec<f64> {
    history.iter().filter_map(|p| p.validation.as_ref()).map(|found| found.loss).collect()
}

#[test]
fn early_stopping_brings_the_best_parameters_back() {
    let data = rows(30);
    let early = EarlyStopping { validation: 0.2, patience: 3, min_delta: 0.0 };
    // Too fast for its own good.
    let training =
        Training { batch: 6, epochs: 500, learning_rate: 0.3, early_stopping: Some(early), ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    let fit = session.fit(&data).unwrap();
    let validations = validations_of(&fit.history);
    let best = validations.iter().copied().fold(f64::MAX, f64::min);
    let at = validations.iter().position(|&v| v == best).unwrap();
    assert_eq!((fit.stop, fit.best_validation), (Stop::Early, Some(best)));
    assert_eq!(validations.len(), at + 1 + 3, "patience: {validations:?}");
    assert_eq!(fit.steps, 4 * validations.len() as u64, "24 rows in batches of 6 an epoch");
    let held_out = data.clone().split_at(24).unwrap().1;
    let at_best = fit.history.iter().filter_map(|p| p.validation.as_ref()).nth(at);
    assert_eq!(Some(&session.evaluate(&held_out).unwrap()), at_best, "every term, too");
    assert!(best < *validations.last().unwrap());
    // Resumed it is over and stands still.
    let folder = tempfile::tempdir().unwrap();
    session.checkpoint(folder.path().join("over")).unwrap();
    let mut resumed = Session::resume(&gpu(), folder.path().join("over")).unwrap();
    let again = resumed.fit(&data).unwrap();
    assert_eq!((again.stop, again.steps, again.best_validation), (Stop::Early, 0, Some(best)));
    assert_eq!(bits(&resumed), bits(&session));
    // What follows is another run, with patience of its own.
    let another = session.fit(&data).unwrap();
    assert_eq!(another.stop, Stop::Early);
    assert!(another.steps >= 4 * 3, "{}", another.steps);
    assert_eq!(another.best_validation, validations_of(&another.history).into_iter().reduce(f64::min));
}

#[test]
fn a_run_behind_a_finished_one_takes_as_many_epochs_again() {
    let once = Training { batch: 4, epochs: 3, ..Training::default() };
    let mut whole = session(&gpu(), &tiny().gaussian_corruption(0.1), Training { epochs: 6, ..once });
    whole.fit(rows(23)).unwrap();
    let mut twice = session(&gpu(), &tiny().gaussian_corruption(0.1), once);
    for total in [18, 36] {
        let fit = twice.fit(rows(23)).unwrap();
        assert_eq!((fit.steps, fit.stop, twice.steps()), (18, Stop::Done, total));
        assert_eq!(fit.history.last().unwrap().total_steps, total);
    }
    assert_eq!(bits(&twice), bits(&whole), "a constant learning rate knows no runs");
    // Other data, with another number of steps to an epoch: still whole epochs of it.
    let mut losses = vec![];
    let fit = twice.fit_with(rows(9), |p| {
        losses.push((p.step, p.epoch));
        ControlFlow::Continue(())
    });
    assert_eq!((fit.unwrap().steps, twice.steps()), (9, 45));
    assert_eq!(losses.last().unwrap().1 - 36 / 3, 3, "{losses:?}");
    // Stepping by hand comes to an end too, and loading begins another run.
    let mut by_hand = session(&gpu(), &tiny().gaussian_corruption(0.1), once);
    for total in [18, 36] {
        by_hand.load(rows(23)).unwrap();
        take(&mut by_hand, 18, 7);
        assert_eq!((by_hand.step(1).unwrap().steps(), by_hand.steps()), (0, total));
    }
    assert_eq!(bits(&by_hand), bits(&whole));
}

#[test]
fn a_run_behind_another_is_resumed_where_it_was() {
    let schedule = Schedule { warm_up: 5, decay: Decay::Cosine { steps: None } };
    let training = Training { batch: 4, epochs: 3, schedule, ..Training::default() };
    let mut whole = session(&gpu(), &tiny(), training);
    for _ in 0..2 {
        let fit = whole.fit(rows(23)).unwrap();
        assert!((fit.history[0].learning_rate - 0.2e-3).abs() < 1e-12, "it warms up anew: {:?}", fit.history[0]);
    }
    let mut begun = session(&gpu(), &tiny(), training);
    begun.fit(rows(23)).unwrap();
    begun.load(rows(23)).unwrap();
    take(&mut begun, 8, 3);
    let folder = tempfile::tempdir().unwrap();
    begun.checkpoint(folder.path().join("begun")).unwrap();
    let mut resumed = Session::resume(&gpu(), folder.path().join("begun")).unwrap();
    assert_eq!(resumed.fit(rows(23)).unwrap().steps, 10);
    assert_eq!(bits(&resumed), bits(&whole));
    // Finished when it was written, it stays so until it is trained once more.
    whole.checkpoint(folder.path().join("whole")).unwrap();
    let mut finished = Session::resume(&gpu(), folder.path().join("whole")).unwrap();
    assert_eq!((finished.fit(rows(23)).unwrap().steps, bits(&finished) == bits(&whole)), (0, true));
    assert_eq!(finished.fit(rows(23)).unwrap().steps, 18);
}

#[test]
fn the_best_of_other_parameters_is_forgotten() {
    let early = EarlyStopping { validation: 0.2, patience: 9, min_delta: 0.0 };
    let training =
        Training { batch: 6, epochs: 4, learning_rate: 1e-30, early_stopping: Some(early), ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    let seen = session.fit_with(rows(30), |p| match p.validation {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    });
    let good = seen.unwrap().best_validation.unwrap();
    let worse: Vec<Vec<f32>> = session.parameters().unwrap().iter().map(|p| vec![9.0; p.len()]).collect();
    session.set_parameters(&worse).unwrap();
    let fit = session.fit(rows(30)).unwrap();
    assert!(fit.best_validation.unwrap() > good, "{fit:?}");
    assert_eq!(session.parameters().unwrap(), worse, "and do not come back");
}

#[test]
fn an_iterator_is_a_fit_and_dropping_it_breaks_off() {
    let early = EarlyStopping { validation: 0.2, patience: 3, min_delta: 0.0 };
    let training =
        Training { batch: 6, epochs: 500, learning_rate: 0.3, early_stopping: Some(early), ..Training::default() };
    let mut whole = session(&gpu(), &tiny(), training);
    let fit = whole.fit(rows(30)).unwrap();
    let mut iterated = session(&gpu(), &tiny(), training);
    let mut reports = iterated.fit_iter(rows(30)).unwrap();
    let validations: Vec<Objective> = reports.by_ref().filter_map(|p| p.unwrap().validation).collect();
    assert!(reports.next().is_none(), "it stays at its end");
    drop(reports);
    assert_eq!(validations, fit.history.into_iter().filter_map(|p| p.validation).collect::<Vec<_>>());
    assert_eq!(bits(&iterated), bits(&whole), "the best parameters are back");

    let mut broken = session(&gpu(), &tiny(), training);
    // Again and again, two reports at a time, until none is left.
    while broken.fit_iter(rows(30)).unwrap().take(2).map(Result::unwrap).count() == 2 {}
    assert_eq!((broken.steps(), bits(&broken)), (fit.steps, bits(&whole)));

    let mut bad = session(&gpu(), &tiny(), Training { learning_rate: 1e17, optimizer: Optimizer::SGD, ..training });
    let mut reports = bad.fit_iter(rows(30)).unwrap();
    let last = reports.by_ref().last().unwrap();
    assert!(matches!(last, Err(Error::Diverged { .. })), "{last:?}");
    assert!(reports.next().is_none());
}

#[test]
fn a_broken_off_run_ends_its_history_with_its_last_report() {
    let training = Training { batch: 6, epochs: 1, ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    let mut reports = vec![];
    let fit = session.fit_with(rows(600), |p| {
        reports.push(p.step);
        if p.step > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let fit = fit.unwrap();
    assert_eq!(fit.stop, Stop::Cancelled);
    assert_eq!(fit.history.iter().map(|p| p.step).collect::<Vec<_>>(), [1, *reports.last().unwrap()]);
}

/// Compiling takes a good part of a second: a host that steps between two frames is not to wait for it.
#[test]
fn stepping_by_hand_compiles_nothing() {
    let gpu = crate::common::own_gpu();
    let made = || gpu.device().get_internal_counters().hal.compute_pipelines.read();
    let training = Training { batch: 100, epochs: 10_000, ..Training::default() };
    let mut session = session(&gpu, &Spec::symmetric(&[70, 130, 20], Activation::Tanh), training);
    let data = Data::from_rows(70, values(3, 100 * 70, (-1.0, 1.0))).unwrap();
    session.load(&data).unwrap();
    let before = made();
    take(&mut session, 3, 1);
    assert_eq!(made(), before);
    let mut reports = 0;
    let counting = |_: &Progress| {
        reports += 1;
        if reports > 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    session.fit_with(&data, counting).unwrap();
    assert_eq!(made() > before, gpu.adapter().software, "a long run is worth faster kernels");
}

#[test]
fn early_stopping_waits_for_more_than_its_margin() {
    let early = EarlyStopping { validation: 0.2, patience: 2, min_delta: 1e6 };
    let training = Training { batch: 6, epochs: 50, early_stopping: Some(early), ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    let fit = session.fit(rows(30)).unwrap();
    let validations = validations_of(&fit.history);
    assert_eq!((fit.stop, validations.len(), fit.best_validation), (Stop::Early, 3, Some(validations[0])));
}

#[test]
fn a_callback_sees_every_step_and_can_break_off() {
    let training = Training { batch: 6, epochs: 40, ..Training::default() };
    let mut whole = session(&gpu(), &tiny(), training);
    let fit = whole.fit(rows(30)).unwrap();
    assert_eq!((fit.stop, fit.steps), (Stop::Done, 200));
    let mut broken = session(&gpu(), &tiny(), training);
    let mut reports: Vec<Progress> = Vec::new();
    let fit = broken
        .fit_with(rows(30), |p| {
            reports.push(p.clone());
            if p.step >= 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(fit.stop, Stop::Cancelled);
    assert_eq!(fit.steps, broken.steps());
    assert_eq!(reports.last().unwrap().step, broken.steps(), "what was under way is reported too");
    assert!((20..200).contains(&fit.steps), "{}", fit.steps);
    assert!(reports.windows(2).all(|w| w[0].step < w[1].step && w[0].elapsed <= w[1].elapsed));
    for report in &reports {
        assert_eq!((report.total_steps, report.epoch), (200, report.step / 5));
        assert_eq!(report.learning_rate, 1e-3);
        assert_eq!(report.terms, [("reconstruction".to_string(), report.loss)]);
        assert!(report.rows_per_second > 0.0);
    }
    // Taken up again it ends where the whole run ended.
    let rest = broken.fit(rows(30)).unwrap();
    assert_eq!((rest.stop, rest.steps + fit.steps), (Stop::Done, 200));
    assert_eq!(bits(&broken), bits(&whole));
}

#[test]
fn terms_are_reported_apart_and_add_up() {
    let training = Training { batch: 6, epochs: 2, ..Training::default() };
    let mut session = session(&gpu(), &tiny().weight_decay(0.5), training);
    let squares: f64 = session
        .tensors()
        .iter()
        .zip(session.parameters().unwrap())
        .filter(|(t, _)| t.name.ends_with("weight"))
        .flat_map(|(_, values)| values)
        .map(|v| f64::from(v).powi(2))
        .sum();
    let fit = session.fit(rows(6)).unwrap();
    let first = &fit.history[0];
    let names: Vec<&str> = first.terms.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((first.step, names), (1, vec!["reconstruction", "weight_decay"]));
    assert!((first.terms[1].1 / (0.25 * squares) - 1.0).abs() < 1e-6, "{:?}", first.terms);
    assert_eq!(first.loss, first.terms[0].1 + first.terms[1].1);
}

#[test]
fn stepping_by_hand_never_waits_and_ends_where_fit_ends() {
    let training = Training { batch: 4, epochs: 4, optimizer: MOMENTUM, ..Training::default() };
    let mut whole = session(&gpu(), &tiny(), training);
    whole.fit(rows(23)).unwrap();
    let mut by_hand = session(&gpu(), &tiny(), training);
    assert!(matches!(by_hand.step(1), Err(Error::Data { .. })), "nothing was loaded");
    assert!(by_hand.progress().unwrap().is_none());
    by_hand.load(rows(23)).unwrap();
    assert_eq!(by_hand.step(0).unwrap().steps(), 0);
    assert_eq!([by_hand.step(2).unwrap().steps(), by_hand.step(3).unwrap().steps()], [2, 3]);
    assert_eq!(by_hand.step(1).unwrap().steps(), 0, "two submits are in flight");
    let (first, second) = (report(&mut by_hand), report(&mut by_hand));
    assert_eq!((first.step, second.step, first.total_steps), (2, 5, 24));
    assert!(by_hand.progress().unwrap().is_none());
    take(&mut by_hand, 19, 7);
    assert_eq!(by_hand.step(1000).unwrap().steps(), 0, "the run is over");
    assert_eq!(bits(&by_hand), bits(&whole));
}

/// With one weight that costs w² on the data 1, plain descent is w -= 2 · rate · w, more or less: here the closed form
/// in f64 with each step's own rate, past the 1,024 rows of the table.
#[test]
fn every_step_has_its_own_learning_rate_past_the_end_of_the_table() {
    const STEPS: u64 = 1100;
    let schedule = Schedule { warm_up: 3, decay: Decay::Step { every: 100, factor: 0.8 } };
    let training = Training {
        optimizer: Optimizer::SGD,
        learning_rate: 2e-3,
        schedule,
        batch: 1,
        epochs: STEPS,
        ..Training::default()
    };
    let spec = Spec::symmetric(&[1, 1], Activation::Identity);
    let mut session = session(&gpu(), &spec, training);
    // A code of 0 and a decoder of 0: only the last bias b learns, from (b − 1)².
    session.set_parameters(&vec![vec![0.0]; 4]).unwrap();
    let fit = session.fit(Data::from_rows(1, vec![1.0]).unwrap()).unwrap();
    let (mut b, mut rates) = (0.0f64, vec![]);
    for step in 0..STEPS {
        let rate = 2e-3 * 0.8f64.powi((step / 100) as i32) * ((step + 1) as f64 / 3.0).min(1.0);
        rates.push(rate);
        b -= rate * 2.0 * (b - 1.0);
    }
    let params = session.parameters().unwrap();
    assert_eq!(params[..3], vec![vec![0.0]; 3]);
    assert!((f64::from(params[3][0]) / b - 1.0).abs() < 1e-5, "{} {b}", params[3][0]);
    for report in &fit.history {
        assert!((report.learning_rate / rates[report.step as usize - 1] - 1.0).abs() < 1e-12, "{report:?}");
    }
}

#[test]
fn a_run_of_no_epochs_changes_nothing() {
    let mut session = session(&gpu(), &tiny(), Training { epochs: 0, ..Training::default() });
    let before = bits(&session);
    let fit = session.fit(rows(5)).unwrap();
    assert_eq!((fit.steps, fit.stop, fit.history.len()), (0, Stop::Done, 0));
    assert_eq!(bits(&session), before);
}

#[test]
fn endless_epochs_are_no_overflow() {
    let mut session = session(&gpu(), &tiny(), Training { epochs: u64::MAX, batch: 2, ..Training::default() });
    let fit = session.fit_with(rows(5), |_| ControlFlow::Break(())).unwrap();
    assert_eq!(fit.stop, Stop::Cancelled);
}

#[test]
fn profiled_steps_are_steps_like_any_other() {
    let gpu = gpu();
    let training = Training { epochs: 4, batch: 8, ..Training::default() };
    let mut plain = session(&gpu, &tiny(), training);
    plain.load(rows(40)).unwrap();
    take(&mut plain, 6, 1);
    let mut profiled = session(&gpu, &tiny(), training);
    assert!(matches!(profiled.profile(1), Err(Error::Data { .. })));
    profiled.load(rows(40)).unwrap();
    // Whatever is under way comes first.
    take(&mut profiled, 2, 1);
    let profile = profiled.profile(4).unwrap();
    assert_eq!((profile.steps, profiled.steps()), (4, 6));
    assert_eq!(Some(profile.dispatches.len()), profiled.dispatches_per_step());
    assert!(profile.dispatches.iter().all(|d| d.seconds.is_finite() && d.seconds > 0.0), "{profile}");
    assert_eq!(bits(&plain), bits(&profiled));
    // The run has 20 steps: no more are taken, and then there are none.
    assert_eq!(profiled.profile(100).unwrap().steps, 14);
    assert!(matches!(profiled.profile(1), Err(Error::Data { .. })));
}

#[test]
fn numbers_as_large_as_they_get_are_no_overflow() {
    let few = Training { epochs: 4, batch: 8, ..Training::default() };
    let mut found = session(&gpu(), &tiny(), few);
    found.load(rows(40)).unwrap();
    assert_eq!(found.profile(u64::MAX).unwrap().steps, 20);
    let mut endless = session(&gpu(), &tiny(), Training { epochs: u64::MAX, ..few });
    endless.load(rows(40)).unwrap();
    match endless.profile(u64::MAX) {
        Err(Error::Data { place, found, .. }) => {
            assert_eq!((place, found), ("steps to profile".into(), u64::MAX.to_string()))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(endless.profile(2).unwrap().steps, 2);
    assert!(endless.step(u64::MAX).unwrap().steps() > 0);
    // The warm-up is over, the decay at its end, and Adam's corrections are 1.
    let schedule = Schedule { warm_up: 7, decay: Decay::Cosine { steps: Some(9) } };
    assert_eq!(schedule.factor(u64::MAX, u64::MAX), 0.0);
    assert_eq!(Optimizer::ADAM.scalars(u64::MAX, 0.5), [0.5, 0.5, 1.0]);
}
