//! Checkpoints in memory: the same as files, and what a run goes on from when its device is lost.

use std::time::Duration;

use crate::common::{gpu, own_gpu, report, values};
use strait::Draw;
use strait::graph::{Graph, NodeId, Over};
use strait::model::{Decoded, RowLoss};
use strait::{
    Activation, Data, EarlyStopping, Error, Gpu, Loss, Optimizer, Result, Scaling, Session, Snapshot, Spec, Stop,
    Training,
};

fn spec() -> Spec {
    let spec = Spec::symmetric(&[4, 5, 2], Activation::Tanh).gaussian_corruption(0.1);
    Spec { scaling: Scaling::Standardise, ..spec }
}

fn rows() -> Data {
    Data::from_rows(4, values(91, 23 * 4, (-1.0, 2.0))).unwrap()
}

fn training() -> Training {
    let early_stopping = Some(EarlyStopping { validation: 0.2, patience: 1000, min_delta: 0.0 });
    Training { batch: 4, epochs: 40, optimizer: Optimizer::ADAM, early_stopping, ..Training::default() }
}

fn begun(gpu: &Gpu) -> Session {
    Session::new(gpu, &spec(), training()).unwrap()
}

/// Parameters as bits.
fn bits(session: &Session) -> Vec<u32> {
    session.parameters().unwrap().concat().into_iter().map(f32::to_bits).collect()
}

/// Takes steps, and reads their reports.
fn take(session: &mut Session, steps: u64) {
    for _ in 0..steps {
        session.step(1).unwrap();
        report(session);
    }
}

#[test]
fn a_snapshot_is_a_checkpoint_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let [file, saved] = ["file", "saved"].map(|name| folder.path().join(name));
    let mut whole = begun(&gpu());
    whole.fit(rows()).unwrap();
    let mut session = begun(&gpu());
    session.load(rows()).unwrap();
    take(&mut session, 7);
    let snapshot = session.snapshot().unwrap();
    session.checkpoint(&file).unwrap();
    snapshot.save(&saved).unwrap();
    assert!(std::fs::read(&file).unwrap() == std::fs::read(&saved).unwrap());
    assert_eq!((snapshot.step(), snapshot.bytes()), (7, std::fs::read(&file).unwrap().len()));
    // What the session does later does not change it.
    take(&mut session, 5);
    for mut session in [Session::restore(&gpu(), &snapshot).unwrap(), Session::resume(&gpu(), &saved).unwrap(), session]
    {
        session.fit(rows()).unwrap();
        assert_eq!(bits(&session), bits(&whole));
    }
    // Where it cannot be written nothing is.
    assert!(matches!(snapshot.save(folder.path()), Err(Error::Io { .. })));
}

/// The squared error, some times over.
struct Scaled;

impl RowLoss for Scaled {
    fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId, numbers: &[f64]) -> Result<NodeId> {
        let square = g.map([decoded.output, target], |[r, x]| numbers[0] * (r - x).square())?;
        Ok(g.sum(Over::Columns, square))
    }
}

/// A model whose spec has a meaning of the caller's own brings it along.
#[test]
fn meanings_come_along() {
    let own = Loss::own("scaled", [2.0], Scaled);
    let spec = Spec::symmetric(&[4, 2], Activation::Tanh).loss(own);
    let mut session = Session::new(&gpu(), &spec, Training { epochs: 2, ..Training::default() }).unwrap();
    session.fit(rows()).unwrap();
    let restored = Session::restore(&gpu(), &session.snapshot().unwrap()).unwrap();
    assert!(restored.score(rows().values()).unwrap() == session.score(rows().values()).unwrap());
}

/// They are taken by a run where they are asked for, as often as was said, and none else.
#[test]
fn a_run_takes_them_every_so_many_steps() {
    let mut never = begun(&gpu());
    never.fit(rows()).unwrap();
    assert!(never.last_snapshot().is_none());
    let mut session = begun(&gpu());
    session.snapshot_every(Some(30));
    let mut seen: Vec<u64> = Vec::new();
    for progress in session.fit_iter(rows()).unwrap() {
        progress.unwrap();
    }
    seen.extend(session.last_snapshot().map(Snapshot::step));
    let total = session.steps();
    assert!(seen.iter().all(|&step| step > 0 && step <= total && total - step < 60), "{seen:?} of {total}");
    assert_eq!(bits(&session), bits(&never), "it changes nothing");
}

/// The device is lost at some time of a run, again and again: from its last snapshot it goes on, on a new device, and ends as
/// the run that nobody disturbed.
#[test]
fn a_run_outlives_its_devices() {
    let mut whole = begun(&gpu());
    whole.fit(rows()).unwrap();
    let draw = Draw { seed: 5, stream: 92, step: 0 };
    let (mut kept, mut lost): (Option<Snapshot>, usize) = (None, 0);
    for trial in 0.. {
        assert!(trial < 60, "{lost} devices were lost");
        let gpu = own_gpu();
        let mut session = match &kept {
            None => begun(&gpu),
            Some(snapshot) => Session::restore(&gpu, snapshot).unwrap(),
        };
        session.snapshot_every(Some(2));
        let fit = std::thread::scope(|scope| {
            let device = gpu.device().clone();
            // The last ones live as long as they like.
            let delay = Duration::from_micros((draw.uniform(trial, 0) * 40_000.0) as u64);
            if trial < 12 {
                scope.spawn(move || {
                    std::thread::sleep(delay);
                    device.destroy();
                });
            }
            session.fit(rows())
        });
        if let Some(snapshot) = session.last_snapshot() {
            assert!(kept.as_ref().is_none_or(|before| before.step() <= snapshot.step()));
            kept = Some(snapshot.clone());
        }
        match fit {
            Ok(fit) => {
                assert_eq!(fit.stop, Stop::Done);
                // Its parameters may be those of a device that was destroyed after the run.
                if trial >= 12 {
                    assert_eq!(bits(&session), bits(&whole));
                    break;
                }
            }
            Err(Error::DeviceLost { .. }) => lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(lost > 0, "no device was lost in the middle of a run");
    assert!(kept.is_some_and(|snapshot| snapshot.step() > 0));
}
