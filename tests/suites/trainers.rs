//! Trainers of several phases and players: snapshots, checkpoints and lost devices in the middle of them, runs as futures,
//! by reports and by frames, and runs that are cancelled. All end as a run that nobody disturbed, to the bit.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::common::{gpu, host_device, own_gpu, until_pending, values};
use crate::phases::{begun, code, data, of_codes, outer_and_inner, refused, run};
use crate::training::Broken;
use strait::Draw;
use strait::graph::{Set, Shape, Sink, Tensor, TensorSet};
use strait::train::{Phase, Run, Step, Trainer, Update};
use strait::{Activation, Data, Error, Gpu, Result, Session, Snapshot, Source, Spec, Stop, Taken, Training, wgpu};

fn bits(trainer: &Trainer) -> Vec<u32> {
    trainer.parameters().unwrap().concat().into_iter().map(f32::to_bits).collect()
}

/// A run that nobody disturbed.
fn whole() -> Vec<u32> {
    let mut trainer = begun(&gpu(), run(true, false));
    while trainer.phase().is_some() {
        trainer.fit(data()).unwrap();
    }
    bits(&trainer)
}

/// Takes a snapshot after every few steps and goes on with it, as another trainer on another handle of the device: in
/// the middle of turns, of phases and between two of them.
#[test]
fn a_snapshot_goes_on_from_anywhere() {
    let (gpu, whole) = (gpu(), whole());
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = begun(&gpu, run(true, false));
    let mut places = Vec::new();
    for count in (1..6).cycle() {
        if trainer.load(data()).is_err() {
            break;
        }
        trainer.step(count).unwrap();
        let snapshot = trainer.snapshot().unwrap();
        while trainer.progress().unwrap().is_some() {}
        places.push((trainer.phase().map(|phase| phase.name.clone()), snapshot.step()));
        trainer = if count % 2 == 0 {
            let path = folder.path().join("trainer");
            trainer.checkpoint(&path).unwrap();
            assert!(std::fs::read(&path).unwrap().len() == snapshot.bytes());
            Trainer::resume(&gpu, run(true, false), &path).unwrap()
        } else {
            Trainer::restore(&gpu, run(true, false), &snapshot).unwrap()
        };
        // Nothing was lost on the way, and it knows where it is.
        assert_eq!(trainer.phase().map(|phase| phase.name.clone()), places[places.len() - 1].0);
    }
    assert!(trainer.phase().is_none());
    assert!(places.len() > 20, "{places:?}");
    assert!(bits(&trainer) == whole);
}

/// Reports of whole runs are of whole turns: each tells of all players. They may be read one by one, and broken off.
#[test]
fn reports_are_of_whole_turns() {
    let whole = whole();
    let shared = host_device(wgpu::Features::TIMESTAMP_QUERY).or_else(|| host_device(wgpu::Features::empty()));
    for gpu in [Some(gpu()), shared.map(|(device, queue)| Gpu::adopt(device, queue))].into_iter().flatten() {
        let mut trainer = begun(&gpu, run(true, false));
        let mut seen = 0;
        while let Some(phase) = trainer.phase() {
            let (steps, turn) = (phase.steps.len(), phase.steps.iter().map(|step| step.repeat).sum::<u64>());
            let names: Vec<String> = phase.steps.iter().map(|step| format!("{}.", step.name)).collect();
            for progress in trainer.fit_iter(data()).unwrap().take(2) {
                let progress = progress.unwrap();
                assert_eq!(progress.step % turn, 0);
                let of = |name: &&String| progress.terms.iter().any(|(term, _)| term.starts_with(*name));
                assert_eq!(names.iter().filter(of).count(), steps, "{:?}", progress.terms);
                let sum: f64 = progress.terms.iter().map(|(_, value)| value).sum();
                assert!((progress.loss - sum).abs() <= 1e-12 * sum.abs());
                seen += 1;
            }
        }
        assert!(seen > 3);
        assert!(bits(&trainer) == whole);
    }
}

/// By frames, in parts of steps that are submitted dispatch by dispatch, and in many at a time.
#[test]
fn frames_give_the_same_run() {
    let whole = whole();
    for budget in [Duration::from_nanos(1), Duration::from_micros(300), Duration::from_secs(1)] {
        let mut trainer = begun(&gpu(), run(true, false));
        let (mut parts, mut steps) = (0, 0);
        while trainer.phase().is_some() {
            trainer.load(data()).unwrap();
            loop {
                while trainer.progress().unwrap().is_some() {}
                match trainer.step_for(budget).unwrap() {
                    Taken::Steps(count) => steps += count,
                    Taken::Part => parts += 1,
                    Taken::Busy => std::thread::sleep(Duration::from_micros(100)),
                    Taken::Over => break,
                    other => panic!("{other:?}"),
                }
            }
            trainer.gpu().wait().unwrap();
            while trainer.progress().unwrap().is_some() {}
        }
        // 3 epochs of 3 turns of a step, and 5 epochs of 4 turns of 4.
        assert_eq!(steps, 9 + 80);
        assert!(parts >= if gpu().has_timestamps() { 2 } else { 0 }, "{parts}");
        assert!(bits(&trainer) == whole, "{budget:?}");
    }
}

/// Rows that cannot be loaded leave those that are there, in the middle of a phase and of a turn, and after a phase: the run
/// ends as if nobody had tried.
#[test]
fn a_load_that_fails_changes_nothing() {
    let mut trainer = begun(&gpu(), run(true, false));
    while trainer.phase().is_some() {
        trainer.load(data()).unwrap();
        for steps in (1..4).cycle() {
            let taken = trainer.step(steps).unwrap();
            trainer.gpu().wait().unwrap();
            while trainer.progress().unwrap().is_some() {}
            let broken: Arc<dyn Source> = Arc::new(Broken { data: data(), at: 1 });
            let (phase, at) = (trainer.phase().map(|phase| phase.name.clone()), trainer.steps());
            assert!(trainer.load(broken).is_err());
            assert_eq!((trainer.phase().map(|phase| phase.name.clone()), trainer.steps()), (phase, at));
            if taken == Taken::Over {
                break;
            }
        }
    }
    assert!(bits(&trainer) == whole());
}

/// A step of which a part was submitted begins anew where tensors are replaced that it reads, trained or frozen: it is one step
/// of theirs alone, after however many parts.
#[test]
fn a_step_that_was_begun_begins_anew_with_other_tensors() {
    let tensor = |name: &str, dims: &[usize]| Tensor { name: name.into(), shape: Shape::fixed(dims) };
    let run = || -> Result<Run> {
        let tied = TensorSet::new("tied", vec![tensor("weight", &[5, 3])]);
        let mut run = Run::new(vec![tied], vec![tensor("frozen", &[5, 3])])?;
        let mut g = run.graph();
        let (x, w, c) = (g.gather(5, true), g.param(0)?, g.constant(0)?);
        // Both are read by several dispatches, forward and backward.
        let encoder = g.map([w, c], |[w, c]| w * c)?;
        let code = g.matmul(x, encoder, false, false)?;
        let code = g.map([code], |[code]| code.tanh())?;
        let back = g.matmul(code, encoder, false, true)?;
        let error = g.map([back, x], |[back, x]| (back - x).square())?;
        let objective = g.batch_mean(error)?;
        g.term("objective", objective);
        let gradient = g.gradient(objective, &[w])?[0];
        g.sink(Sink::Gradient(0), gradient);
        let step = Step::new("step", g, [Update::adam([Set(0)], 0.1)]);
        run.phases = vec![Phase { batch: 8, ..Phase::new("phase", [step]) }];
        Ok(run)
    };
    let [start, before, after] = [51, 52, 53].map(|seed| vec![values(seed, 15, (-1.0, 1.0))]);
    let rows = Data::from_rows(5, values(54, 8 * 5, (-1.0, 1.0))).unwrap();
    type Change = fn(&mut Trainer, &[Vec<f32>]) -> Result<()>;
    for change in [Trainer::set_constants as Change, Trainer::set_parameters] {
        // One step, with tensors that are replaced after so many parts; how many it had then.
        let step = |at: usize| {
            let mut trainer = Trainer::new(&gpu(), run().unwrap()).unwrap();
            trainer.set_parameters(&start).unwrap();
            trainer.set_constants(&before).unwrap();
            trainer.load(&rows).unwrap();
            let mut parts = 0;
            let mut changed = false;
            loop {
                if parts == at && !changed {
                    change(&mut trainer, &after).unwrap();
                    changed = true;
                }
                match trainer.step_for(Duration::from_nanos(1)).unwrap() {
                    Taken::Part => parts += 1,
                    Taken::Busy => {}
                    Taken::Steps(1) => break,
                    other => panic!("{other:?}"),
                }
                trainer.gpu().wait().unwrap();
            }
            trainer.gpu().wait().unwrap();
            while trainer.progress().unwrap().is_some() {}
            (bits(&trainer), changed)
        };
        let (expected, _) = step(0);
        let (never, _) = step(usize::MAX);
        assert!(expected != never);
        let mut tried = 0;
        for at in 1.. {
            let (found, changed) = step(at);
            if !changed {
                break;
            }
            assert!(found == expected, "after {at} parts");
            tried += 1;
        }
        assert!(tried > if gpu().has_timestamps() { 2 } else { -1 }, "{tried}");
    }
}

/// Futures that are dropped anywhere, and runs that are cancelled, go on where they are taken up.
#[test]
fn dropped_and_cancelled_runs_go_on() {
    let whole = whole();
    let mut trainer = begun(&gpu(), run(true, false));
    for polls in (1..50).cycle() {
        if trainer.phase().is_none() {
            break;
        }
        if polls % 5 == 3 {
            // It waits for what is under way, which may be the end.
            if trainer.load(data()).is_err() {
                break;
            }
            trainer.cancel_handle().cancel();
            assert_eq!(trainer.step(1).unwrap(), Taken::Cancelled);
            // Loading clears it, and a report breaks it off.
            let fit = trainer.fit_with(data(), |_| ControlFlow::Break(())).unwrap();
            assert!(matches!(fit.stop, Stop::Cancelled | Stop::Done), "{:?}", fit.stop);
        }
        if trainer.phase().is_none() {
            break;
        }
        until_pending(trainer.fit_async(data(), |_| ControlFlow::Continue(())), polls);
    }
    assert!(bits(&trainer) == whole);
}

/// Each phase has snapshots of its own, however long the one before was.
#[test]
fn every_phase_has_snapshots() {
    let mut run = run(true, false);
    run.phases[0].epochs = 60;
    let mut trainer = begun(&gpu(), run);
    trainer.snapshot_every(Some(20));
    trainer.fit(data()).unwrap();
    assert!(trainer.last_snapshot().is_some_and(|snapshot| snapshot.step() > 100));
    trainer.fit(data()).unwrap();
    assert!(trainer.last_snapshot().is_some_and(|snapshot| (20..=80).contains(&snapshot.step())));
}

/// Polls a future to its end on this thread: what it comes to, and how long each poll kept the thread.
fn polled<T>(future: impl Future<Output = T>) -> (T, Vec<Duration>) {
    let (mut future, mut polls) = (pin!(future), Vec::new());
    let watched = poll_fn(|context| {
        let begun = Instant::now();
        let polled = future.as_mut().poll(context);
        polls.push(begun.elapsed());
        polled
    });
    (until_pending(watched, usize::MAX).unwrap(), polls)
}

/// Snapshots on the way of a run that is awaited are read back on another thread: hardly a poll takes half as long as one of
/// them does here.
#[test]
fn snapshots_do_not_keep_an_executor() {
    const REPORTS: usize = 9;
    let spec = Spec::symmetric(&[1000, 1000], Activation::Elu);
    let rows = Data::from_rows(1000, values(95, 12 * 1000, (-1.0, 1.0))).unwrap();
    let training = Training { batch: 2, epochs: 1 << 20, ..Training::default() };
    let mut session = Session::new(&gpu(), &spec, training).unwrap();
    session.load(&rows).unwrap();
    session.step(1).unwrap();
    session.snapshot().unwrap();
    let begun = Instant::now();
    session.snapshot().unwrap();
    let blocking = begun.elapsed();
    session.snapshot_every(Some(1));
    let mut reports = 0;
    let fit = session.fit_async(&rows, |_| {
        reports += 1;
        if reports < REPORTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let (fit, polls) = polled(fit);
    fit.unwrap();
    assert!(reports >= REPORTS && session.last_snapshot().unwrap().step() == session.steps());
    let long = polls.iter().filter(|&&poll| poll > blocking / 2).count();
    assert!(long <= REPORTS / 3, "{long} of {} polls took more than half of {blocking:?}: {polls:?}", polls.len());
}

/// Rows that note which threads read them.
struct Noting {
    rows: Data,
    threads: Mutex<Vec<ThreadId>>,
}

impl Source for Noting {
    fn rows(&self) -> usize {
        self.rows.rows()
    }
    fn columns(&self) -> usize {
        self.rows.columns()
    }
    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        self.threads.lock().unwrap().push(thread::current().id());
        self.rows.read(first_row, out)
    }
    fn name(&self) -> &str {
        "noting"
    }
}

/// Rows are computed on the caller's thread where it blocks, and on another where it awaits them, in chunks or not: so the
/// executor's thread does not wait for the GPU. Either way with the same bits.
#[test]
fn cached_codes_do_not_keep_an_executor() {
    for budget in [1 << 20, 4 * 3 * 4] {
        let ended = |awaited: bool| {
            let (mut run, params) = outer_and_inner();
            run.data_budget = budget;
            let mut codes = run.graph();
            let rows = code(&mut codes, false);
            codes.sink(Sink::Output(0), rows);
            let mut g = run.graph();
            let x = g.gather(3, false);
            let inner = Phase::new("inner", [of_codes(g, x, 1)]);
            run.phases = vec![Phase { batch: 4, epochs: 3, cached: Some(codes), ..inner }];
            let mut trainer = Trainer::new(&gpu(), run).unwrap();
            trainer.set_parameters(&params).unwrap();
            let source = Arc::new(Noting { rows: data(), threads: Mutex::default() });
            if awaited {
                let fit = trainer.fit_async(source.clone() as Arc<dyn Source>, |_| ControlFlow::Continue(()));
                until_pending(fit, usize::MAX).unwrap().unwrap();
            } else {
                trainer.fit(source.clone() as Arc<dyn Source>).unwrap();
            }
            let threads = source.threads.lock().unwrap().clone();
            let here = threads.iter().filter(|&&thread| thread == thread::current().id()).count();
            assert_eq!((here, threads.is_empty()), (if awaited { 0 } else { threads.len() }, false));
            trainer.parameters().unwrap()
        };
        assert!(ended(false) == ended(true), "budget {budget}");
    }
}

/// The device is lost at some time, again and again: a new trainer goes on with the last snapshot.
#[test]
fn a_run_outlives_its_devices() {
    let whole = whole();
    let draw = Draw { seed: 6, stream: 93, step: 0 };
    let (mut kept, mut lost): (Option<Snapshot>, usize) = (None, 0);
    let mut ended = None;
    for trial in 0..40 {
        let gpu = own_gpu();
        let mut trainer = match &kept {
            None => begun(&gpu, run(true, false)),
            Some(snapshot) => Trainer::restore(&gpu, run(true, false), snapshot).unwrap(),
        };
        trainer.snapshot_every(Some(3));
        let fits: Vec<Result<()>> = std::thread::scope(|scope| {
            let device = gpu.device().clone();
            let delay = Duration::from_micros((draw.uniform(trial, 0) * 60_000.0) as u64);
            if trial < 10 {
                scope.spawn(move || {
                    std::thread::sleep(delay);
                    device.destroy();
                });
            }
            let mut fits = Vec::new();
            while trainer.phase().is_some() && fits.last().is_none_or(Result::is_ok) {
                fits.push(trainer.fit(data()).map(drop));
            }
            fits
        });
        if let Some(snapshot) = trainer.last_snapshot() {
            kept = Some(snapshot.clone());
        }
        match fits.into_iter().find_map(Result::err) {
            Some(Error::DeviceLost { .. }) => lost += 1,
            Some(other) => panic!("{other}"),
            // Its parameters may be those of a device that was destroyed after the run.
            None if trial >= 10 => {
                ended = Some(bits(&trainer));
                break;
            }
            None => {}
        }
    }
    assert!(lost > 0, "no device was lost in the middle of a run");
    assert!(ended.is_some_and(|ended| ended == whole));
}

/// What is not of this run is refused, and by name.
#[test]
fn snapshots_of_something_else_are_refused() {
    let gpu = gpu();
    let mut trainer = begun(&gpu, run(true, false));
    trainer.load(data()).unwrap();
    trainer.step(2).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    let refused = |run: Run| match Trainer::restore(&gpu, run, &snapshot) {
        Err(Error::Checkpoint { place, found, .. }) => [place, found],
        other => panic!("{other:?}"),
    };
    let mut renamed = run(true, false);
    renamed.phases[1].name = "others".into();
    assert_eq!(refused(renamed), ["strait.trainer", "phases [\"alone\", \"players\"]"]);
    let mut fewer = run(true, false);
    fewer.phases.pop();
    assert_eq!(refused(fewer)[0], "strait.trainer");
    // Another optimizer has other moments.
    let mut plain = run(true, false);
    plain.phases[0].steps[0].updates[0].optimizer = strait::Optimizer::ADAM;
    assert_eq!(refused(plain), ["optimizer.second:encoder/w", "nothing"]);
    // Another rate is the caller's to choose.
    let mut slower = run(true, false);
    slower.phases[0].steps[0].updates[0].learning_rate *= 0.5;
    Trainer::restore(&gpu, slower, &snapshot).unwrap();
    // Sessions and trainers tell their snapshots apart.
    assert!(matches!(Session::restore(&gpu, &snapshot), Err(Error::Checkpoint { place, .. }) if place == "spec"));
    let spec = Spec::symmetric(&[3, 2], Activation::Tanh);
    let session = Session::new(&gpu, &spec, Training::default()).unwrap().snapshot().unwrap();
    match Trainer::restore(&gpu, run(true, false), &session) {
        Err(Error::Checkpoint { place, found, .. }) => assert_eq!([place, found], ["strait.trainer", "nothing"]),
        other => panic!("{other:?}"),
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trainer");
    snapshot.save(&path).unwrap();
    assert!(matches!(Session::resume(&gpu, &path), Err(Error::Checkpoint { place, .. }) if place == "strait.spec"));
    // A file that says what cannot be.
    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    assert!(text.contains("\\\"phase\\\":0"));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(11).position(|part| part == b"\\\"phase\\\":0").unwrap() + 10;
    bytes[at] = b'7';
    std::fs::write(&path, bytes).unwrap();
    match Trainer::resume(&gpu, run(true, false), &path) {
        Err(Error::Checkpoint { found, allowed, .. }) => assert_eq!([found, allowed], ["phase 7", "below 2"]),
        other => panic!("{other:?}"),
    }
}

/// Names that would meet in a file.
#[test]
fn names_twice_are_refused() {
    let tensor = |name: &str| Tensor { name: name.into(), shape: Shape::fixed(&[2]) };
    let with = |sets: Vec<TensorSet>, constants: Vec<Tensor>| {
        let mut run = Run::new(sets, constants).unwrap();
        run.phases = vec![Phase::new("empty", [])];
        refused(run)
    };
    let pair = |name: &str, of: [&str; 2]| TensorSet::new(name, of.map(tensor).to_vec());
    assert_eq!(with(vec![pair("a", ["w", "w"])], vec![])[..2], ["sets[\"a\"]", "\"w\" twice"]);
    assert_eq!(with(vec![pair("a", ["w", "b"]), pair("a", ["w", "b"])], vec![])[..2], ["sets", "\"a\" twice"]);
    for name in ["a/b", "optimizer.first:a"] {
        assert_eq!(with(vec![pair(name, ["w", "b"])], vec![])[..2], ["sets", &format!("{name:?}")]);
    }
    assert_eq!(with(vec![], vec![tensor("c"), tensor("c")])[..2], ["constants", "\"c\" twice"]);
}

/// A snapshot in the middle of a phase of other rows tells which it needs.
#[test]
fn a_restored_phase_needs_its_rows() {
    let gpu = gpu();
    let mut trainer = begun(&gpu, run(true, false));
    trainer.load(data()).unwrap();
    trainer.step(2).unwrap();
    let mut restored = Trainer::restore(&gpu, run(true, false), &trainer.snapshot().unwrap()).unwrap();
    let other = Data::from_rows(5, values(82, 7 * 5, (-1.0, 1.0))).unwrap();
    match restored.load(other) {
        Err(Error::Data { found, allowed, .. }) => {
            assert_eq!((&found[..], &allowed[..]), ("7", "11, with which the phase \"alone\" began"));
        }
        other => panic!("{other:?}"),
    }
}
