//! Learning rates that fall where the validation loss stops falling: against the rule in plain code, over the losses that
//! are reported; runs that are broken off anywhere; files; what is refused.

use std::ops::ControlFlow;

use crate::common::{gpu, until_pending, values};
use crate::phases;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use strait::{Activation, Data, Decay, EarlyStopping, Error, Fit, Optimizer, Schedule, Session, Spec, Stop, Training};

const RATE: f64 = 0.05;

/// Rows to train on, 4 steps an epoch.
fn rows() -> Data {
    Data::from_rows(4, values(311, 24 * 4, (-1.0, 1.0))).unwrap()
}

/// Noise that nothing is learned about.
fn noise() -> Data {
    Data::from_rows(4, values(312, 9 * 4, (-1.0, 1.0))).unwrap()
}

fn training(decay: Decay, epochs: u64) -> Training {
    let early_stopping = Some(EarlyStopping { validation: 0.25, patience: u64::MAX, min_delta: 0.0 });
    let schedule = Schedule { decay, ..Schedule::default() };
    Training { schedule, early_stopping, batch: 6, epochs, learning_rate: RATE, ..Training::default() }
}

fn begun(training: Training) -> Session {
    let spec = Spec::symmetric(&[4, 3], Activation::Tanh).gaussian_corruption(0.3);
    Session::new(&gpu(), &spec, training).unwrap()
}

fn bits(session: &Session) -> Vec<u32> {
    session.parameters().unwrap().concat().into_iter().map(f32::to_bits).collect()
}

/// The rule of `ReduceLROnPlateau`, its patience less one, as PyTorch's documentation has it: the factor after each loss,
/// and how often a loss was better.
fn rule(losses: &[f64], (factor, patience, min_delta, floor): (f64, u64, f64, f64)) -> (Vec<f64>, usize) {
    let (mut now, mut best, mut bad, mut better) = (1.0f64, f64::INFINITY, 0, 0);
    let after = losses.iter().map(|&loss| {
        if loss < best - min_delta {
            (best, bad, better) = (loss, 0, better + 1);
        } else {
            bad += 1;
        }
        if bad > patience - 1 {
            (now, bad) = ((now * factor).max(floor), 0);
        }
        now
    });
    (after.collect(), better)
}

fn losses(fit: &Fit) -> Vec<f64> {
    fit.history.iter().filter_map(|progress| Some(progress.validation.as_ref()?.loss)).collect()
}

/// The learning rates of the epochs' last steps.
fn rates(fit: &Fit) -> Vec<f64> {
    fit.history.iter().filter(|progress| progress.validation.is_some()).map(|progress| progress.learning_rate).collect()
}

/// Reports have the rates that the rule has: where nothing counts as better, where some do, down to a floor, and beside a
/// warm-up. A second run begins with the whole rate.
#[test]
fn reports_have_the_rates_of_the_rule() {
    let cases = [(0.5, 3, 1e9, 0.0), (0.7, 1, 0.0, 0.0), (0.1, 2, 1e-3, 0.0), (0.3, 2, 0.01, 0.05), (0.9, 1, 0.0, 0.5)];
    let mut improved = 0;
    for case in cases {
        let (factor, patience, min_delta, floor) = case;
        for warm_up in [0, 10] {
            let mut training = training(Decay::Plateau { factor, patience, min_delta, floor }, 24);
            training.schedule.warm_up = warm_up;
            let mut session = begun(training);
            session.set_validation(Some(noise().into()));
            for run in 0..2 {
                let fit = session.fit(rows()).unwrap();
                assert_eq!((fit.stop, losses(&fit).len()), (Stop::Done, 24));
                let (after, better) = rule(&losses(&fit), case);
                let before: Vec<f64> = [1.0].into_iter().chain(after.iter().copied()).collect();
                for progress in &fit.history {
                    // Four steps to an epoch; this is the rate of the step before the report.
                    let step = progress.step - 1 - run * 96;
                    let warm = if warm_up == 0 { 1.0 } else { ((step as f64 + 1.0) / 10.0).min(1.0) };
                    let expected = RATE * warm * before[step as usize / 4];
                    let off = (progress.learning_rate / expected - 1.0).abs();
                    assert!(off < 1e-14, "{case:?}, step {step}: {}, not {expected}", progress.learning_rate);
                }
                assert!(after[23] < 0.6, "{case:?}: {after:?}");
                improved += better - 1;
            }
        }
    }
    assert!(improved > 20, "losses were better {improved} times");
}

/// Every step has the rate that is reported: the parameters are those of runs of an epoch each with rates of their own.
#[test]
fn steps_have_the_rate_that_is_reported() {
    let plateau = Decay::Plateau { factor: 0.25, patience: 2, min_delta: 0.02, floor: 0.0 };
    for optimizer in [Optimizer::SGD, Optimizer::ADAM] {
        let mut session = begun(Training { optimizer, ..training(plateau, 15) });
        session.set_validation(Some(noise().into()));
        // Broken off at its last report it keeps the parameters of the last step.
        let stop = |progress: &strait::Progress| match progress.step == progress.total_steps {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let fit = session.fit_with(rows(), stop).unwrap();
        let mut other = begun(Training { optimizer, ..training(Decay::Constant, 15) });
        other.set_validation(Some(noise().into()));
        for learning_rate in rates(&fit) {
            other.set_training(Training { learning_rate, ..*other.training() }).unwrap();
            other.load(rows()).unwrap();
            assert_eq!(other.step(4).unwrap().steps(), 4);
        }
        assert!(rates(&fit)[14] < RATE / 10.0, "{:?}", rates(&fit));
        assert!(bits(&session) == bits(&other), "{optimizer:?}");
    }
}

/// A run that stops early waits by itself: neither patience knows of the other.
#[test]
fn early_stopping_waits_by_itself() {
    let plateau = (0.5, 2, 0.02, 0.0);
    let (factor, patience, min_delta, floor) = plateau;
    let mut training = training(Decay::Plateau { factor, patience, min_delta, floor }, 200);
    training.early_stopping = Some(EarlyStopping { validation: 0.25, patience: 7, min_delta: 0.0 });
    let fit = begun(training).fit(rows()).unwrap();
    assert_eq!(fit.stop, Stop::Early);
    let found = losses(&fit);
    let best = found.iter().copied().fold(f64::INFINITY, f64::min);
    let at = found.iter().position(|&loss| loss == best).unwrap();
    assert_eq!((found.len(), fit.best_validation), (at + 8, Some(best)));
    let (after, better) = rule(&found, plateau);
    assert!(better > 1 && after[found.len() - 2] < 0.25, "{better}, {after:?}");
    for (rate, factor) in rates(&fit)[1..].iter().zip(after) {
        assert!((rate / (RATE * factor) - 1.0).abs() < 1e-14);
    }
}

/// Checkpoints, snapshots and dropped futures anywhere: the same bits at the end, and the same rates.
#[test]
fn a_run_goes_on_from_anywhere() {
    let plateau = Decay::Plateau { factor: 0.5, patience: 2, min_delta: 0.0, floor: 1e-3 };
    // Steps so large that the loss rises as often as it falls.
    let training = Training { learning_rate: 0.4, ..training(plateau, 30) };
    let mut whole = begun(training);
    let expected = whole.fit(rows()).unwrap();
    assert!(rates(&expected)[29] < 0.4 / 3.0, "{:?} {:?}", rates(&expected), losses(&expected));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("middle");
    let mut session = begun(training);
    let (mut places, mut last) = (0, None);
    for reports in (1..4).cycle() {
        let mut seen = 0;
        let fit = session.fit_with(rows(), |_| {
            seen += 1;
            if seen == reports { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let fit = fit.unwrap();
        last = fit.history.last().cloned().or(last);
        if fit.stop == Stop::Done {
            break;
        }
        places += 1;
        session = if reports == 2 {
            Session::restore(&gpu(), &session.snapshot().unwrap()).unwrap()
        } else {
            session.checkpoint(&file).unwrap();
            Session::resume(&gpu(), &file).unwrap()
        };
    }
    assert!(places > 4, "{places}");
    assert!(bits(&session) == bits(&whole), "from files");
    assert_eq!(last.map(|progress| progress.learning_rate), rates(&expected).last().copied());
    let mut dropped = begun(training);
    let mut polls = (1..20).cycle();
    let fit = loop {
        let polls = polls.next().unwrap();
        if let Some(fit) = until_pending(dropped.fit_async(rows(), |_| ControlFlow::Continue(())), polls) {
            break fit.unwrap();
        }
    };
    assert!(fit.steps < whole.steps(), "it was never dropped");
    assert!(bits(&dropped) == bits(&whole), "from dropped futures");
}

/// Other parameters or rows begin the waiting anew, from the rate as it is, and the same rows do not; another decay forgets
/// that, too.
#[test]
fn what_changes_begins_the_waiting_anew() {
    // Nothing counts as better but the first look.
    let never = |patience| Decay::Plateau { factor: 0.5, patience, min_delta: 1e9, floor: 0.0 };
    let epochs = |session: &mut Session, epochs: usize| {
        let mut seen = 0;
        let fit = session.fit_with(rows(), |progress| {
            seen += usize::from(progress.validation.is_some());
            if seen == epochs { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        rates(&fit.unwrap()).into_iter().map(|rate| rate / RATE).collect::<Vec<f64>>()
    };
    let mut session = begun(training(never(2), 100));
    let others = || Data::from_rows(4, values(313, 9 * 4, (-1.0, 1.0))).unwrap();
    session.set_validation(Some(noise().into()));
    assert_eq!(epochs(&mut session, 4), [1.0, 1.0, 1.0, 0.5]);
    // One look was waited for, whose place the first one with these parameters takes.
    let parameters = session.parameters().unwrap();
    session.set_parameters(&parameters).unwrap();
    assert_eq!(epochs(&mut session, 4), [0.5, 0.5, 0.5, 0.25]);
    session.set_validation(Some(others().into()));
    assert_eq!(epochs(&mut session, 4), [0.25, 0.25, 0.25, 0.125]);
    session.set_validation(Some(others().into()));
    session.set_training(training(never(1), 100)).unwrap();
    // Two looks have waited by the end of the first epoch.
    assert_eq!(epochs(&mut session, 3), [0.125, 0.0625, 0.03125]);
    session.set_training(training(Decay::Constant, 100)).unwrap();
    assert_eq!(epochs(&mut session, 2), [1.0, 1.0]);
    session.set_training(training(never(1), 100)).unwrap();
    assert_eq!(epochs(&mut session, 3), [1.0, 1.0, 0.5]);
}

/// Files of runs without one have nothing of it, as those of older versions; lies are refused.
#[test]
fn files_say_how_far_it_has_fallen() {
    let plateau = Decay::Plateau { factor: 0.5, patience: 1, min_delta: 1e9, floor: 0.0 };
    let stop = |progress: &strait::Progress| match progress.epoch >= 3 {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plateau");
    let run_of = |bytes: &[u8]| -> Value {
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        serde_json::from_str(&header.metadata().as_ref().unwrap()["strait.run"]).unwrap()
    };
    let mut constant = begun(training(Decay::Constant, 10));
    constant.fit_with(rows(), stop).unwrap();
    constant.checkpoint(&file).unwrap();
    assert!(run_of(&std::fs::read(&file).unwrap()).get("plateau").is_none());
    // Taken up with a plateau it begins with the whole rate.
    let mut resumed = Session::resume(&gpu(), &file).unwrap();
    resumed.set_training(training(plateau, 10)).unwrap();
    let found = rates(&resumed.fit(rows()).unwrap());
    assert_eq!(found[..3], [RATE, RATE, RATE / 2.0]);

    let mut session = begun(training(plateau, 10));
    session.fit_with(rows(), stop).unwrap();
    session.checkpoint(&file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert!(run_of(&bytes)["plateau"]["factor"].as_f64().unwrap() < 1.0);
    for (key, lie) in [("factor", json!(1.5)), ("factor", json!(-0.5)), ("factor", json!(null)), ("more", json!(1))] {
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut metadata = header.metadata().clone().unwrap();
        let mut run = run_of(&bytes);
        run["plateau"][key] = lie.clone();
        metadata.insert("strait.run".into(), run.to_string());
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        std::fs::write(&file, safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();
        match Session::resume(&gpu(), &file) {
            Err(Error::Checkpoint { place, .. }) => assert_eq!(place, "strait.run"),
            other => panic!("{key}: {lie}: {other:?}"),
        }
    }
}

#[test]
fn plateaus_that_cannot_be_are_refused() {
    let refused = |training: Training| match training.check() {
        Err(Error::Spec { field, .. }) => {
            assert!(Session::new(&gpu(), &Spec::symmetric(&[4, 3], Activation::Tanh), training).is_err());
            field
        }
        other => panic!("{other:?}"),
    };
    let fine = Decay::Plateau { factor: 0.5, patience: 1, min_delta: 0.0, floor: 0.0 };
    training(fine, 5).check().unwrap();
    let with = |factor, patience, min_delta, floor| {
        refused(training(Decay::Plateau { factor, patience, min_delta, floor }, 5))
    };
    for factor in [0.0, 1.0, -0.5, f64::NAN] {
        assert_eq!(with(factor, 1, 0.0, 0.0), "schedule.decay.factor");
    }
    assert_eq!(with(0.5, 0, 0.0, 0.0), "schedule.decay.patience");
    for bad in [-1e-3, f64::NAN, f64::INFINITY] {
        assert_eq!(with(0.5, 1, bad, 0.0), "schedule.decay.min_delta");
        assert_eq!(with(0.5, 1, 0.0, bad), "schedule.decay.floor");
    }
    // Without validation rows: of a session, and of a run, which has none.
    assert_eq!(refused(Training { early_stopping: None, ..training(fine, 5) }), "early_stopping");
    let mut session = begun(training(fine, 5));
    assert!(session.set_training(Training { early_stopping: None, ..training(fine, 5) }).is_err());
    let mut run = phases::run(true, false);
    run.phases[1].steps[1].updates[0].schedule.decay = fine;
    let [field, value, _] = phases::refused(run);
    assert_eq!(field, "phases[\"players\"].steps[\"model\"].updates[0].schedule.decay");
    assert_eq!(value, "a plateau");
    // As text, with what may be left out.
    let text = json!({"kind": "plateau", "factor": 0.5, "patience": 1});
    assert_eq!(serde_json::from_value::<Decay>(text).unwrap(), fine);
}
