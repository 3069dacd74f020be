//! Validation rows of the caller's own, and rows that are held out: runs that are broken off and restored, with the same
//! rows, with others and without them; rows that are refused when they are loaded.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{MOMENTUM, bits, rows, session, tiny};
use crate::common::{gpu, values};
use strait::model::Supervised;
use strait::{Data, Decay, EarlyStopping, Error, Result, Schedule, Session, Source, Spec, Stop, Training};

fn training() -> Training {
    let early_stopping = Some(EarlyStopping { validation: 0.2, patience: 4, min_delta: 0.0 });
    let decay = Decay::Plateau { factor: 0.5, patience: 2, min_delta: 0.0, floor: 0.0 };
    let schedule = Schedule { decay, ..Schedule::default() };
    Training { batch: 6, epochs: 500, learning_rate: 0.3, early_stopping, schedule, ..Training::default() }
}

/// Rows to train on, 4 steps an epoch, and rows to look at.
fn split() -> (Data, Data) {
    rows(30).split_at(24).unwrap()
}

/// A session that looks at rows.
fn begun(held: &Data) -> Session {
    let mut session = session(&gpu(), &tiny(), training());
    session.set_validation(Some(held.into()));
    session
}

/// Trains until so many steps are reported.
fn until(session: &mut Session, train: &Data, steps: u64) {
    let stop = |step| if step >= steps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    session.fit_with(train, |progress| stop(progress.step)).unwrap();
}

/// What is found where something was refused, its place, and what is allowed.
fn refused<T: std::fmt::Debug>(result: Result<T>) -> [String; 3] {
    match result {
        Err(Error::Data { place, found, allowed, .. }) => [place, found, allowed],
        other => panic!("{other:?}"),
    }
}

/// From a snapshot or a file anywhere, given the same rows again, to the same end: what early stopping and the plateau have
/// seen is not lost. In the same process, too.
#[test]
fn a_run_goes_on_with_the_same_rows() {
    let (train, held) = split();
    let mut whole = begun(&held);
    let expected = whole.fit(&train).unwrap();
    assert_eq!(expected.stop, Stop::Early);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run");
    let best = |fit: &strait::Fit| fit.best_validation.unwrap().to_bits();
    // What is under way when it is broken off ends with the epoch.
    let end = expected.steps;
    for cut in [2, 4, end / 2, end - 12, end - 8, end - 5] {
        let mut session = begun(&held);
        until(&mut session, &train, cut);
        let taken = session.steps();
        assert!(taken < expected.steps, "{cut}: it ended");
        session.checkpoint(&file).unwrap();
        let restored = Session::restore(&gpu(), &session.snapshot().unwrap()).unwrap();
        for mut session in [restored, Session::resume(&gpu(), &file).unwrap(), session] {
            // Another handle, as a new process has.
            session.set_validation(Some(Arc::new(held.clone())));
            let fit = session.fit(&train).unwrap();
            assert_eq!(
                (fit.stop, taken + fit.steps, best(&fit)),
                (Stop::Early, expected.steps, best(&expected)),
                "{cut}"
            );
            assert!(bits(&session) == bits(&whole), "{cut}");
        }
    }
}

/// Without them it takes no data, again and again, and says what is missing. Others are looked at from there on, as they are
/// in a session that was never written.
#[test]
fn a_run_asks_for_the_rows_that_it_looked_at() {
    let (train, held) = split();
    let other = Data::from_rows(3, values(77, 6 * 3, (-1.0, 1.0))).unwrap();
    let mut session = begun(&held);
    until(&mut session, &train, 14);
    let (snapshot, taken) = (session.snapshot().unwrap(), session.steps());
    let mut restored = Session::restore(&gpu(), &snapshot).unwrap();
    for _ in 0..2 {
        let [place, found, allowed] = refused(restored.load(&train));
        assert_eq!([place.as_str(), found.as_str()], ["validation rows", "none"]);
        assert!(
            allowed.starts_with("the 6 rows of its own that the run looks at") && allowed.contains("set_validation")
        );
        assert_eq!(refused(restored.fit(&train))[0], "validation rows");
    }
    // It is written as it was read.
    let mut restored = Session::restore(&gpu(), &restored.snapshot().unwrap()).unwrap();
    assert_eq!((restored.steps(), refused(restored.load(&train))[1].as_str()), (taken, "none"));
    // One value less is other rows.
    for rows in [other.clone(), { held.split_at(5).unwrap().0 }] {
        session = Session::restore(&gpu(), &snapshot).unwrap();
        session.set_validation(Some((&rows).into()));
        let fit = session.fit(&train).unwrap();
        let mut expected = Session::restore(&gpu(), &snapshot).unwrap();
        // Whoever sets parameters has seen nothing yet, either.
        expected.set_validation(Some((&rows).into()));
        expected.set_parameters(&expected.parameters().unwrap()).unwrap();
        assert_eq!(fit.best_validation, expected.fit(&train).unwrap().best_validation);
        assert!(bits(&session) == bits(&expected));
    }
    // Rows that are held out from here on, of more than it has trained on, begin another run.
    restored.set_validation(None);
    restored.load(rows(30)).unwrap();
    // A run that looks at none needs none; it is another one.
    let mut restored = Session::restore(&gpu(), &snapshot).unwrap();
    let blind = Training { early_stopping: None, schedule: Schedule::default(), epochs: 6, ..training() };
    restored.set_training(blind).unwrap();
    assert_eq!(restored.fit(&train).unwrap().steps, 24);
    // Nor does one that holds them out of its rows, whose looks go on.
    let mut session = session_of_held();
    until(&mut session, &rows(30), 9);
    let mut restored = Session::restore(&gpu(), &session.snapshot().unwrap()).unwrap();
    restored.set_validation(None);
    assert_eq!(restored.fit(rows(30)).unwrap().best_validation, session.fit(rows(30)).unwrap().best_validation);
    assert!(bits(&restored) == bits(&session));
}

/// One that holds rows out.
fn session_of_held() -> Session {
    session(&gpu(), &tiny(), training())
}

/// Values that are no numbers wherever they are read, which `Data` would not take.
pub struct Broken {
    pub data: Data,
    pub at: usize,
}

impl Source for Broken {
    fn rows(&self) -> usize {
        self.data.rows()
    }

    fn columns(&self) -> usize {
        self.data.columns()
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        self.data.read(first_row, out)?;
        if let Some(value) = self.at.checked_sub(first_row * self.columns()).and_then(|at| out.get_mut(at)) {
            *value = f32::NAN;
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "broken"
    }
}

/// A row that cannot be looked at is refused when it is loaded, by row and column: one of the caller's own, and one that is held
/// out of the rows to train on, whether or not the scaling of the input is known.
#[test]
fn rows_that_cannot_be_looked_at_are_refused_at_once() {
    let (train, held) = split();
    let mut own = begun(&held);
    own.set_validation(Some(Arc::new(Broken { data: held.clone(), at: 4 * 3 + 2 })));
    let mut out = session_of_held();
    for _ in 0..2 {
        let [place, found, _] = refused(own.load(&train));
        assert_eq!([place.as_str(), found.as_str()], ["broken: row 4, column 2", "NaN"]);
        let source: Arc<dyn Source> = Arc::new(Broken { data: rows(30), at: 27 * 3 + 1 });
        // Of the six that are held out.
        let [place, found, _] = refused(out.load(source));
        assert_eq!([place.as_str(), found.as_str()], ["broken: row 3, column 1", "NaN"]);
        // From now on with rows that are there.
        out.load(rows(30)).unwrap();
    }
    assert_eq!(out.step(1).unwrap().steps(), 1);
    // Labels are looked at in the same go.
    let spec = Spec { supervised: Some(Supervised { classes: 2, weight: 1.0 }), ..tiny() };
    let labelled = |data: &Data| {
        let labels = (0..data.rows() as u32).map(|row| row % 2).collect();
        data.clone().with_labels(labels).unwrap().labelled(2).unwrap()
    };
    let mut classes = session(&gpu(), &spec, Training { optimizer: MOMENTUM, ..training() });
    let mut bad = labelled(&held).values().to_vec();
    bad[2 * 5 + 3] = 1.0;
    bad[2 * 5 + 4] = 1.0;
    classes.set_validation(Some(Data::from_rows(5, bad).unwrap().into()));
    let [place, ..] = refused(classes.load(labelled(&train)));
    assert!(place.ends_with("label columns of row 2"), "{place}");
}
