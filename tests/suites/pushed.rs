//! Rows that are pushed while training goes on, and those in the host's own buffer: what lies where, what steps see of it, a
//! model that follows a distribution, and refusals.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{gpu, host_buffer, own_gpu, report, values};
use crate::phases;
use strait::data::Source;
use strait::gpu::Buffer;
use strait::graph::{Over, Set, Shape, Sink, Tensor, TensorSet};
use strait::train::{Phase, Ring, Run, Step, Trainer, Update};
use strait::{
    Activation, Data, EarlyStopping, Error, Gpu, Progress, Scaling, Session, Spec, Stop, Taken, Training, wgpu,
};

const COLUMNS: usize = 3;

/// Rows that differ from all others: the k-th is k, k + .25, k + .5.
fn rows(from: usize, count: usize) -> Vec<f32> {
    (from..from + count).flat_map(|k| [0.0, 0.25, 0.5].map(|part| k as f32 + part)).collect()
}

fn read(ring: &Ring) -> Vec<f32> {
    let mut found = vec![0.0; ring.rows() * COLUMNS];
    ring.read(0, &mut found).unwrap();
    found
}

type Make = fn(&Gpu, usize, usize) -> strait::Result<Ring>;

const KINDS: [Make; 2] = [Ring::uniform, Ring::newest];

/// However many rows come at a time, from the host or from a buffer, the last ones are there, in order.
#[test]
fn the_last_rows_are_there() {
    let gpu = gpu();
    for make in KINDS {
        for capacity in [1, 2, 5, 8] {
            let ring = make(&gpu, COLUMNS, capacity).unwrap();
            assert_eq!((ring.rows(), ring.capacity()), (0, capacity));
            let mut pushed = 0;
            for (i, count) in [1, 3, 1, 2, 8, 5, 4, 21, 1, 7, 16, 3].into_iter().enumerate() {
                let new = rows(pushed, count);
                if i % 3 == 2 {
                    ring.push_buffer(&Buffer::adopt(host_buffer(&gpu, &new)), count).unwrap();
                } else {
                    ring.push(&new).unwrap();
                }
                pushed += count;
                let kept = pushed.min(capacity);
                assert_eq!(read(&ring), rows(pushed - kept, kept), "{count} to {pushed} in {ring:?}");
                let mut last = [0.0; COLUMNS];
                ring.read(kept - 1, &mut last).unwrap();
                assert_eq!(last[..], rows(pushed - 1, 1));
            }
        }
    }
}

/// A run that looks at the mean of the first column of a batch, and changes nothing.
fn looking(shuffled: bool, batch: usize) -> Run {
    let tensor = Tensor { name: "w".into(), shape: Shape::scalar() };
    let mut run = Run::new(vec![TensorSet::new("none", vec![tensor])], vec![]).unwrap();
    let mut g = run.graph();
    let x = g.gather(COLUMNS, shuffled);
    let first = g.columns(x, 0, 1).unwrap();
    let cost = g.sum(Over::Columns, first);
    let mean = g.batch_mean(cost).unwrap();
    g.term("mean", mean);
    let zero = g.fill(0.0, Shape::scalar());
    g.sink(Sink::Gradient(0), zero);
    let step = Step::new("look", g, [Update::adam([Set::FIRST], 1e-3)]);
    run.phases = vec![Phase { batch, epochs: 1 << 40, ..Phase::new("all", [step]) }];
    run
}

/// Takes some steps in one submit: the mean over all rows that they saw.
fn seen(trainer: &mut Trainer, steps: u64) -> f64 {
    assert_eq!(trainer.step(steps).unwrap(), Taken::Steps(steps));
    phases::report(trainer).unwrap().terms[0].1
}

fn mean(range: std::ops::Range<usize>) -> f64 {
    range.clone().map(|k| k as f64).sum::<f64>() / range.len() as f64
}

/// The newest rows first, and as many steps as find rows; drawn, each row once a pass.
#[test]
fn steps_see_what_is_there() {
    let gpu = gpu();
    let (capacity, batch) = (24, 4);
    let ring = Ring::newest(&gpu, COLUMNS, capacity).unwrap();
    ring.push(&rows(0, 1)).unwrap();
    let mut trainer = Trainer::new(&gpu, looking(false, batch)).unwrap();
    trainer.load(&ring).unwrap();
    let mut pushed = 1;
    assert_eq!(seen(&mut trainer, 1), 0.0, "a batch of the one row that there is");
    for count in [3, 9, 6, 5, 30, 7, 24, 1] {
        ring.push(&rows(pushed, count)).unwrap();
        pushed += count;
        let steps = pushed.min(capacity) / batch;
        for steps in [1, steps as u64] {
            let found = seen(&mut trainer, steps);
            assert!((found - mean(pushed - steps as usize * batch..pushed)).abs() < 1e-4, "{count}: {found}");
        }
    }
    // More than there are rows for are not taken at once.
    assert_eq!(trainer.step(100).unwrap(), Taken::Steps((capacity / batch) as u64));

    let ring = Ring::uniform(&gpu, COLUMNS, capacity).unwrap();
    ring.push(&rows(0, 2)).unwrap();
    let mut trainer = Trainer::new(&gpu, looking(true, batch)).unwrap();
    trainer.load(&ring).unwrap();
    let (mut pushed, mut firsts) = (2, Vec::new());
    assert_eq!(seen(&mut trainer, 3), 0.5);
    for count in [2, 8, 12, 4, 20, 48] {
        ring.push(&rows(pushed, count)).unwrap();
        pushed += count;
        let kept = pushed.min(capacity);
        let found = seen(&mut trainer, (kept / batch) as u64);
        assert!((found - mean(pushed - kept..pushed)).abs() < 1e-4, "{count}: {found}");
        firsts.push(seen(&mut trainer, 1) - mean(pushed - kept..pushed));
    }
    // Every submit has an order of its own.
    for _ in 0..6 {
        firsts.push(seen(&mut trainer, 1) - mean(pushed - capacity..pushed));
    }
    firsts.sort_by(f64::total_cmp);
    firsts.dedup();
    assert!(firsts.len() > 6, "{firsts:?}");
}

/// Reports count the rows that steps saw: those that are there, where they are fewer than a batch.
#[test]
fn reports_count_the_rows_that_are_there() {
    const PAUSE: Duration = Duration::from_millis(200);
    let gpu = gpu();
    for (make, shuffled) in [(KINDS[0], true), (KINDS[1], false)] {
        let ring = make(&gpu, COLUMNS, 64).unwrap();
        ring.push(&rows(0, 2)).unwrap();
        let mut trainer = Trainer::new(&gpu, looking(shuffled, 32)).unwrap();
        trainer.load(&ring).unwrap();
        seen(&mut trainer, 1);
        for there in [2, 8, 32, 64] {
            if there > 2 {
                ring.push(&rows(0, there - ring.rows())).unwrap();
            }
            assert_eq!(ring.rows(), there);
            // The time of a report is that since the one before, less what its submit took.
            let begun = Instant::now();
            thread::sleep(PAUSE);
            assert_eq!(trainer.step(1).unwrap(), Taken::Steps(1));
            let found = phases::report(&mut trainer).unwrap().rows_per_second;
            let (count, longest) = (there.min(32) as f64, begun.elapsed().as_secs_f64());
            let most = count / PAUSE.as_secs_f64();
            // What lies between the report before and the beginning is short.
            assert!(found <= most && found >= 0.5 * count / longest, "{there} of {ring:?}: {found}, at most {most}");
        }
    }
}

/// What a submit sees is what is there when it is made: not when one of no steps was asked for, nor when a half of a step was
/// given up.
#[test]
fn steps_see_what_is_there_when_they_are_submitted() {
    let gpu = gpu();
    let ring = Ring::newest(&gpu, COLUMNS, 24).unwrap();
    ring.push(&rows(0, 1)).unwrap();
    let mut trainer = Trainer::new(&gpu, looking(false, 4)).unwrap();
    trainer.load(&ring).unwrap();
    assert_eq!(trainer.step(0).unwrap(), Taken::Steps(0));
    let cancel = trainer.cancel_handle();
    cancel.cancel();
    assert_eq!(trainer.step(3).unwrap(), Taken::Cancelled);
    trainer.load(&ring).unwrap();
    ring.push(&rows(1, 20)).unwrap();
    assert!((seen(&mut trainer, 1) - mean(17..21)).abs() < 1e-5);
}

/// All steps of a turn see the same batch, also where a submit ends in its middle.
#[test]
fn a_turn_sees_one_batch() {
    let gpu = gpu();
    let ring = Ring::uniform(&gpu, COLUMNS, 8).unwrap();
    ring.push(&rows(0, 8)).unwrap();
    let mut run = looking(true, 2);
    let step = run.phases[0].steps[0].clone();
    let steps = ["a", "b", "c"].map(|name| Step { name: name.into(), updates: vec![], ..step.clone() });
    run.phases[0].steps = steps.to_vec();
    let mut trainer = Trainer::new(&gpu, run).unwrap();
    trainer.load(&ring).unwrap();
    let mut means: Vec<f64> = Vec::new();
    for count in [1, 1, 1, 2, 1, 4, 2, 5, 1, 1, 2, 6, 3] {
        trainer.step(count).unwrap();
        trainer.gpu().wait().unwrap();
        let progress = trainer.progress().unwrap().unwrap();
        if count == 1 {
            means.push(progress.terms[0].1);
        }
        // Terms of one turn are the same; of several their means are, where each was taken as often.
        if count % 3 == 0 {
            assert_eq!(progress.terms[0].1, progress.terms[1].1);
            assert_eq!(progress.terms[1].1, progress.terms[2].1);
        }
    }
    assert_eq!((means[0], means[1]), (means[1], means[2]), "the first turn, step by step");
}

/// A callback of the host's may push, whoever polls.
#[test]
fn a_callback_may_push() {
    let gpu = own_gpu();
    let ring = Ring::uniform(&gpu, COLUMNS, 8).unwrap();
    ring.push(&rows(0, 2)).unwrap();
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false };
    let mapped = gpu.device().create_buffer(&descriptor);
    let pushing = ring.clone();
    mapped.map_async(wgpu::MapMode::Read, .., move |_| pushing.push(&rows(2, 1)).unwrap());
    while ring.rows() < 3 {
        assert_eq!(read(&ring)[..6], rows(0, 2));
    }
    ring.push(&rows(3, 1)).unwrap();
    assert_eq!(read(&ring), rows(0, 4));
}

/// What the host writes into its own buffer is what the next steps see.
#[test]
fn the_hosts_own_buffer_is_trained_on() {
    let gpu = gpu();
    let raw = host_buffer(&gpu, &rows(0, 8));
    let ring = Ring::of_buffer(&gpu, Buffer::adopt(raw.clone()), COLUMNS, 8).unwrap();
    assert_eq!(read(&ring), rows(0, 8));
    let mut trainer = Trainer::new(&gpu, looking(true, 4)).unwrap();
    trainer.load(&ring).unwrap();
    assert!((seen(&mut trainer, 2) - mean(0..8)).abs() < 1e-5);
    for from in [100, 200] {
        gpu.queue().write_buffer(&raw, 0, bytemuck::cast_slice(&rows(from, 8)));
        assert!((seen(&mut trainer, 2) - mean(from..from + 8)).abs() < 1e-4);
    }
    // Nothing is pushed into it, and it is as large as it must be.
    assert!(matches!(ring.push(&rows(0, 1)), Err(Error::Data { place, .. }) if place == "rows to push"));
    match Ring::of_buffer(&gpu, Buffer::adopt(raw), COLUMNS, 9) {
        Err(Error::Limit { what, needs, allowed, .. }) => {
            assert_eq!((&what[..], needs, allowed), ("9 rows of 3 values in the host's own buffer", 112, 96));
        }
        other => panic!("{other:?}"),
    }
}

/// A ring lies on one device, and no other trains on it. That its device was lost is not told as a loss of the one that trains.
#[test]
fn a_ring_of_another_device_is_refused() {
    let (here, there) = (own_gpu(), own_gpu());
    let far = Ring::uniform(&there, COLUMNS, 16).unwrap();
    far.push(&rows(0, 8)).unwrap();
    let near = Ring::uniform(&here, COLUMNS, 16).unwrap();
    near.push(&rows(0, 8)).unwrap();
    let early = EarlyStopping { validation: 0.2, patience: 3, min_delta: 0.0 };
    let training = Training { batch: 4, epochs: 2, early_stopping: Some(early), ..Training::default() };
    let spec = Spec::symmetric(&[COLUMNS, 2], Activation::Tanh);
    let mut session = Session::new(&here, &spec, training).unwrap();
    session.set_validation(Some(Data::from_rows(COLUMNS, rows(0, 4)).unwrap().into()));
    let mut trainer = Trainer::new(&here, looking(true, 4)).unwrap();
    let name = &here.adapter().name;
    let refuse = |refused: Result<(), Error>, place: &str| match refused {
        Err(Error::Data { place: of, found, allowed, .. }) => {
            assert_eq!(of, "pushed rows");
            assert_eq!(found, format!("a ring of up to 16 rows of 3 values on {place} ({name})"));
            assert!(allowed.contains(name) && allowed.contains("made anew"), "{allowed}");
        }
        other => panic!("{other:?}"),
    };
    refuse(session.load(&far), "another device");
    refuse(session.fit(&far).map(drop), "another device");
    refuse(pollster::block_on(session.load_async(&far, |_| {})), "another device");
    refuse(trainer.load(&far), "another device");
    // Rows that are only looked at go through the host's memory.
    let (of_far, of_near) = (session.evaluate(&far).unwrap(), session.evaluate(&near).unwrap());
    assert_eq!(of_far, of_near);
    there.device().destroy();
    refuse(session.load(&far), "a device that was lost");
    refuse(trainer.fit(&far).map(drop), "a device that was lost");
    let gone = |found: Error| {
        assert!(
            matches!(&found, Error::Data { found, .. } if found.contains("another device, which was lost")),
            "{found}"
        );
    };
    gone(session.evaluate(&far).unwrap_err());
    session.set_validation(Some((&far).into()));
    gone(session.fit(&near).unwrap_err());
    // A new one is trained on, and a loss of its device is one.
    session.set_validation(Some(Data::from_rows(COLUMNS, rows(0, 4)).unwrap().into()));
    assert_eq!(session.fit(&near).unwrap().steps, 8, "rows to look at were refused before a step");
    here.device().destroy();
    assert!(matches!(session.load(&near), Err(Error::DeviceLost { .. })));
    assert!(matches!(session.evaluate(&near), Err(Error::DeviceLost { .. })));
}

/// The same pushes between the same steps give the same bits, resumed in the middle, too.
#[test]
fn the_same_pushes_give_the_same_bits() {
    let gpu = gpu();
    let spec = Spec::symmetric(&[COLUMNS, 2], Activation::Tanh).scaling(Scaling::Standardise);
    let training = Training { batch: 4, epochs: 1000, ..Training::default() };
    let run = |interrupted: bool| {
        let ring = Ring::uniform(&gpu, COLUMNS, 16).unwrap();
        ring.push(&values(61, 10 * COLUMNS, (-1.0, 1.0))).unwrap();
        let mut session = Session::new(&gpu, &spec, training).unwrap();
        session.load(&ring).unwrap();
        for i in 0..12 {
            session.step(3).unwrap();
            report(&mut session);
            ring.push(&values(62 + i, 3 * COLUMNS, (-1.0, 1.0))).unwrap();
            if interrupted && i == 6 {
                session = Session::restore(&gpu, &session.snapshot().unwrap()).unwrap();
                session.load(&ring).unwrap();
            }
        }
        session.parameters().unwrap()
    };
    let whole = run(false);
    assert!(whole == run(false));
    assert!(whole == run(true));
}

/// Rows come from another thread while a run goes on, and the run is cancelled at its end.
#[test]
fn another_thread_pushes() {
    let gpu = own_gpu();
    let ring = Ring::newest(&gpu, COLUMNS, 64).unwrap();
    ring.push(&values(63, 8 * COLUMNS, (-1.0, 1.0))).unwrap();
    let spec = Spec::symmetric(&[COLUMNS, 2], Activation::Tanh);
    let training = Training { batch: 8, epochs: 1 << 40, ..Training::default() };
    let mut session = Session::new(&gpu, &spec, training).unwrap();
    let cancel = session.cancel_handle();
    let trains = AtomicBool::new(false);
    let fit = std::thread::scope(|scope| {
        let (pushing, trains) = (ring.clone(), &trains);
        scope.spawn(move || {
            for i in (0..).take_while(|i| *i < 100 || !trains.load(Relaxed)) {
                pushing.push(&values(64 + i, (1 + i as usize % 9) * COLUMNS, (-1.0, 1.0))).unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
            cancel.cancel();
        });
        let report = |_: &Progress| {
            trains.store(true, Relaxed);
            ControlFlow::Continue(())
        };
        session.fit_with(&ring, report).unwrap()
    });
    assert_eq!(fit.stop, Stop::Cancelled);
    assert!(fit.steps > 0 && ring.rows() == 64);
    assert!(session.parameters().unwrap().iter().flatten().all(|v| v.is_finite()));
}

/// Points on a line that turns, with a little noise.
fn on_a_line(stream: u32, count: usize, angle: f64) -> Vec<f32> {
    let (along, noise) = (values(stream, count, (-1.0, 1.0)), values(stream + 1, 3 * count, (-0.02, 0.02)));
    let (sin, cos) = angle.sin_cos();
    let point = |(t, noise): (&f32, &[f32])| {
        let t = f64::from(*t);
        [cos * t, sin * t, 0.5 * t].into_iter().zip(noise).map(|(x, n)| x as f32 + n).collect::<Vec<f32>>()
    };
    along.iter().zip(noise.chunks(3)).flat_map(point).collect()
}

fn mse(session: &Session, rows: &[f32]) -> f64 {
    let found = session.reconstruct(rows).unwrap();
    found.iter().zip(rows).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / rows.len() as f64
}

/// A distribution turns away, and the model follows it: a copy that stays as it was does not.
#[test]
fn a_model_follows_a_drift() {
    let gpu = gpu();
    let ring = Ring::uniform(&gpu, COLUMNS, 256).unwrap();
    ring.push(&on_a_line(300, 256, 0.0)).unwrap();
    let spec = Spec::symmetric(&[COLUMNS, 1], Activation::Identity);
    let training = Training { batch: 32, epochs: 1 << 40, learning_rate: 0.01, ..Training::default() };
    let mut session = Session::new(&gpu, &spec, training).unwrap();
    session.load(&ring).unwrap();
    let train = |session: &mut Session, steps: u64| {
        for _ in 0..steps / 8 {
            session.step(8).unwrap();
            report(session);
        }
    };
    train(&mut session, 800);
    let before = mse(&session, &on_a_line(302, 200, 0.0));
    let snapshot = session.snapshot().unwrap();
    let still = Session::restore(&gpu, &snapshot).unwrap();
    let mut during: f64 = 0.0;
    for turn in 1..=40 {
        let angle = f64::from(turn) / 40.0 * 1.2;
        ring.push(&on_a_line(304 + 2 * turn as u32, 32, angle)).unwrap();
        during = during.max(mse(&session, &on_a_line(302, 200, angle)));
        train(&mut session, 40);
    }
    // Until nothing is left of what it was on the way.
    ring.push(&on_a_line(400, 256, 1.2)).unwrap();
    train(&mut session, 800);
    let (after, left) = (mse(&session, &on_a_line(302, 200, 1.2)), mse(&still, &on_a_line(302, 200, 1.2)));
    assert!(before < 2e-3 && after < 2.0 * before + 1e-3, "{before} before, {after} after");
    assert!(left > 20.0 * after && during < left, "{left} of the copy, {during} on the way, {after} after");
}

#[test]
fn what_cannot_be_pushed_is_refused() {
    let gpu = gpu();
    let ring = Ring::uniform(&gpu, COLUMNS, 4).unwrap();
    for (columns, capacity, named) in [(0, 4, "columns"), (3, 0, "rows")] {
        assert!(matches!(Ring::newest(&gpu, columns, capacity), Err(Error::Spec { field, .. }) if field == named));
    }
    assert!(matches!(Ring::uniform(&gpu, usize::MAX / 8, 1 << 40), Err(Error::Limit { .. })));
    let refused = |rows: &[f32]| match ring.push(rows) {
        Err(Error::Data { place, found, .. }) => [place, found],
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[]), ["rows to push", "0 values"]);
    assert_eq!(refused(&[1.0; 4]), ["rows to push", "4 values"]);
    assert_eq!(refused(&[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]), ["rows to push: row 1, column 1", "NaN"]);
    let small = Buffer::adopt(host_buffer(&gpu, &rows(0, 2)));
    assert_eq!(
        ring.push_buffer(&small, 3).unwrap_err().to_string(),
        "3 rows to push out of the host's own buffer is 36 bytes from byte 0 on; allowed: what lies in a buffer of 24 bytes"
    );
    assert!(matches!(ring.push_buffer(&small, 0), Err(Error::Data { .. })));
    assert!(matches!(ring.push_buffer(&small, usize::MAX), Err(Error::Spec { .. })));
    let usage = wgpu::BufferUsages::STORAGE;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 48, usage, mapped_at_creation: false };
    let kept = Buffer::adopt(gpu.device().create_buffer(&descriptor));
    match ring.push_buffer(&kept, 2) {
        Err(Error::Spec { allowed, .. }) => assert_eq!(allowed, "one whose usages have COPY_SRC"),
        other => panic!("{other:?}"),
    }
    // One to train on is looked at when the ring is made of it.
    let lies = Buffer::adopt(host_buffer(&gpu, &rows(0, 32)));
    let unread = |usage| {
        let descriptor = wgpu::BufferDescriptor { label: None, size: 48, usage, mapped_at_creation: false };
        Buffer::adopt(gpu.device().create_buffer(&descriptor))
    };
    for (buffer, what) in [
        (lies.slice(16, 48).unwrap(), "a start at a multiple of 256"),
        (unread(wgpu::BufferUsages::STORAGE), "one whose usages have COPY_SRC"),
        (unread(wgpu::BufferUsages::COPY_SRC), "one whose usages have STORAGE"),
    ] {
        match Ring::of_buffer(&gpu, buffer, COLUMNS, 4) {
            Err(Error::Spec { field, allowed, .. }) => {
                assert_eq!((&field[..], &allowed[..]), ("buffer of rows to train on", what));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ring.rows(), 0, "nothing was pushed");
    // Nothing to train on, rows of another width, none to hold out.
    let spec = Spec::symmetric(&[COLUMNS, 2], Activation::Tanh);
    let mut session = Session::new(&gpu, &spec, Training::default()).unwrap();
    assert!(matches!(session.load(&ring), Err(Error::Data { found, .. }) if found == "0"));
    let wide = Ring::uniform(&gpu, 4, 4).unwrap();
    wide.push(&[0.5; 8]).unwrap();
    assert!(matches!(session.load(&wide), Err(Error::Data { found, .. }) if found == "4"));
    ring.push(&rows(0, 3)).unwrap();
    let early = EarlyStopping { validation: 0.2, patience: 3, min_delta: 0.0 };
    let training = Training { early_stopping: Some(early), epochs: 3, ..Training::default() };
    session.set_training(training).unwrap();
    assert!(matches!(session.load(&ring), Err(Error::Spec { field, .. }) if field == "early_stopping"));
    session.set_validation(Some(Data::from_rows(COLUMNS, rows(0, 2)).unwrap().into()));
    let fit = session.fit(&ring).unwrap();
    assert_eq!(fit.history.iter().filter(|progress| progress.validation.is_some()).count(), 3);
    // A trainer's graphs gather as the ring has its rows.
    let mut trainer = Trainer::new(&gpu, looking(false, 4)).unwrap();
    assert!(matches!(trainer.load(&ring), Err(Error::Spec { field, .. }) if field == "shuffled"));
    // What is not finite in a buffer ends the run, as anywhere.
    let bad = Buffer::adopt(host_buffer(&gpu, &[f32::INFINITY; 12]));
    let mut session = Session::new(&gpu, &spec, Training { epochs: 50, ..Training::default() }).unwrap();
    session.load(&ring).unwrap();
    ring.push_buffer(&bad, 4).unwrap();
    session.step(1).unwrap();
    gpu.wait().unwrap();
    assert!(matches!(session.progress(), Err(Error::Diverged { step: 0, .. })));
    assert!(matches!(session.load(&ring), Err(Error::Data { found, .. }) if found == "inf"));
    ring.push(&rows(0, 4)).unwrap();
    session.load(&ring).unwrap();
}
