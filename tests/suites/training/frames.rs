//! Training beside a host's frames: as many steps as a time holds, answers that say why none were taken, runs that
//! another thread cancels, and devices whose queue is shared.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{MOMENTUM, bits, rows, session, take, tiny};
use crate::common::{gpu, host_device, report, until_pending};
use strait::{Error, Gpu, Progress, Session, Stop, Taken, Training, wgpu};

fn training() -> Training {
    Training { batch: 4, epochs: 30, optimizer: MOMENTUM, ..Training::default() }
}

/// A device of the host's, with timestamps or without.
fn shared(timestamps: bool) -> Option<Gpu> {
    let wanted = if timestamps { wgpu::Features::TIMESTAMP_QUERY } else { wgpu::Features::empty() };
    host_device(wanted).map(|(device, queue)| Gpu::adopt(device, queue))
}

/// Runs to the end within a budget a call, as a host does frame by frame: how many steps each call took, 0 where it
/// took a part of one.
fn by_frames(session: &mut Session, budget: Duration) -> Vec<u64> {
    let (mut calls, begun) = (Vec::new(), Instant::now());
    let mut read = session.steps();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(240), "it comes to an end");
        while let Some(progress) = session.progress().unwrap() {
            read = progress.step;
        }
        match session.step_for(budget).unwrap() {
            Taken::Steps(steps) => {
                assert!(steps > 0, "none are taken for a reason");
                calls.push(steps);
            }
            Taken::Part => calls.push(0),
            Taken::Busy => std::thread::sleep(Duration::from_micros(200)),
            Taken::Over => break,
            other => panic!("{other:?}"),
        }
    }
    while read < session.steps() {
        read = report(session).step;
    }
    calls
}

/// With a clock on the device and without one, a run in frames ends as any other: a step is spread over several where a
/// clock says that it takes longer than there is time for.
#[test]
fn as_many_steps_as_a_time_holds() {
    let mut whole = session(&gpu(), &tiny(), training());
    let total = whole.fit(rows(23)).unwrap().steps;
    for gpu in [Some(gpu()), shared(true), shared(false)].into_iter().flatten() {
        for (budget, most) in [(Duration::from_nanos(1), Some(1)), (Duration::from_secs(5), None)] {
            let mut framed = session(&gpu, &tiny(), training());
            framed.load(rows(23)).unwrap();
            let calls = by_frames(&mut framed, budget);
            let clock = gpu.has_timestamps();
            let dispatches = framed.dispatches_per_step().unwrap() as u64;
            assert_eq!(calls.iter().sum::<u64>(), total);
            assert_eq!(calls[0], u64::from(!clock), "nothing is known before the first one");
            match most {
                Some(most) => {
                    assert!(calls.iter().all(|&steps| steps <= most), "{calls:?}");
                    // The end of a step and its update come together.
                    let parts = if clock { dispatches - 1 } else { 1 };
                    assert_eq!(calls.len() as u64, total * parts, "a dispatch a call, or a step");
                }
                None => assert!((calls.len() as u64) < 12 + dispatches, "what a step takes was measured: {calls:?}"),
            }
            assert_eq!(bits(&framed), bits(&whole));
        }
        let mut none = session(&gpu, &tiny(), training());
        assert!(matches!(none.step_for(Duration::from_millis(1)), Err(Error::Data { .. })), "nothing is loaded");
        none.load(rows(23)).unwrap();
        match none.step_for(Duration::ZERO) {
            Err(Error::Spec { field, .. }) => assert_eq!(field, "budget"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_answer_says_why_no_step_was_taken() {
    let mut by_hand = session(&gpu(), &tiny(), training());
    by_hand.load(rows(23)).unwrap();
    assert_eq!(by_hand.step(0).unwrap(), Taken::Steps(0));
    assert_eq!([by_hand.step(2).unwrap(), by_hand.step(3).unwrap()], [Taken::Steps(2), Taken::Steps(3)]);
    assert_eq!(by_hand.step(1).unwrap(), Taken::Busy, "two reports were not read");
    assert_eq!((report(&mut by_hand).step, report(&mut by_hand).step), (2, 5));
    let cancel = by_hand.cancel_handle();
    cancel.cancel();
    assert_eq!(by_hand.step(1).unwrap(), Taken::Cancelled);
    assert_eq!(by_hand.step_for(Duration::from_millis(1)).unwrap(), Taken::Cancelled);
    by_hand.load(rows(23)).unwrap();
    assert!(!cancel.is_cancelled(), "it goes on");
    take(&mut by_hand, 175, 9);
    assert_eq!(by_hand.step(1).unwrap(), Taken::Over);
    assert_eq!(by_hand.step_for(Duration::from_millis(1)).unwrap(), Taken::Over);
}

/// Cancelled from another thread and taken up again, a run ends as one that nobody cancelled.
#[test]
fn another_thread_cancels_a_run() {
    let long = Training { epochs: 400, ..training() };
    let mut whole = session(&gpu(), &tiny(), long);
    whole.fit(rows(23)).unwrap();
    let mut broken = session(&gpu(), &tiny(), long);
    let cancel = broken.cancel_handle();
    let mut times = 0;
    loop {
        let fit = std::thread::scope(|scope| {
            let (sender, begun) = std::sync::mpsc::channel();
            let canceller = cancel.clone();
            scope.spawn(move || {
                if begun.recv().is_ok() {
                    canceller.cancel();
                }
            });
            let told = broken.fit_with(rows(23), |_| {
                let _ = sender.send(());
                ControlFlow::Continue(())
            });
            drop(sender);
            told.unwrap()
        });
        match fit.stop {
            Stop::Cancelled => times += 1,
            Stop::Done => break,
            other => panic!("{other:?}"),
        }
        assert!(times < 3000);
    }
    assert!(times > 0, "it was cancelled");
    // Before it begins, too, and only once.
    let mut early = session(&gpu(), &tiny(), training());
    early.cancel_handle().cancel();
    let fit = early.fit(rows(23)).unwrap();
    assert_eq!((fit.stop, fit.steps), (Stop::Cancelled, 0));
    assert_eq!(early.fit(rows(23)).unwrap().stop, Stop::Done);
    assert_eq!(bits(&broken), bits(&whole));
}

/// On the host's device a run leaves the queue to the host between two submits, and ends as on one of strait's own.
#[test]
fn a_shared_device_gives_the_same_run() {
    let mut whole = session(&gpu(), &tiny(), training());
    whole.fit(rows(23)).unwrap();
    let gpu = shared(false).unwrap();
    let mut alike = session(&gpu, &tiny(), training());
    let fit = alike.fit(rows(23)).unwrap();
    assert_eq!(fit.stop, Stop::Done);
    assert_eq!(bits(&alike), bits(&whole));
}

/// Submits the beginning of a step, and waits for it.
fn part(session: &mut Session) {
    let begun = Instant::now();
    loop {
        match session.step_for(Duration::from_nanos(1)).unwrap() {
            Taken::Part => break,
            // Another test's thread polled the device, and has not told yet that the part before has run.
            Taken::Busy if begun.elapsed() < Duration::from_secs(20) => std::thread::sleep(Duration::from_millis(1)),
            other => panic!("{other:?}"),
        }
    }
    session.gpu().wait().unwrap();
}

/// What comes between two parts of a step sees whole steps only, and the step ends as if it had not been parted; or it
/// begins anew where what it was computed from is replaced.
#[test]
fn between_the_parts_of_a_step() {
    let gpu = gpu();
    if !gpu.has_timestamps() {
        return;
    }
    let begun = || {
        let mut session = session(&gpu, &tiny(), training());
        session.load(rows(23)).unwrap();
        take(&mut session, 3, 2);
        session
    };
    type Between = fn(&mut Session);
    let cases: [(&str, Between); 10] = [
        ("nothing", |_| {}),
        ("more parts", |s| (0..3).for_each(|_| part(s))),
        ("use", |s| {
            let before = bits(s);
            s.encode(rows(5).values()).unwrap();
            s.evaluate(rows(9)).unwrap();
            assert_eq!((s.steps(), bits(s)), (3, before));
        }),
        ("steps", |s| drop(take(s, 4, 3))),
        ("two halves", |s| {
            assert!(s.backward().unwrap());
            s.apply().unwrap();
            report(s);
        }),
        ("a profile", |s| drop(s.profile(2).unwrap())),
        ("a tuning", |s| s.use_tuning(Default::default()).unwrap()),
        ("loading", |s| s.load(rows(23)).unwrap()),
        ("a file", |s| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("middle");
            s.checkpoint(&path).unwrap();
            let mut resumed = Session::resume(s.gpu(), &path).unwrap();
            resumed.load(rows(23)).unwrap();
            assert_eq!(resumed.steps(), 3);
            *s = resumed;
        }),
        ("other parameters", |s| {
            let doubled: Vec<Vec<f32>> =
                s.parameters().unwrap().iter().map(|values| values.iter().map(|v| v * 2.0).collect()).collect();
            s.set_parameters(&doubled).unwrap();
        }),
    ];
    for (name, between) in cases {
        let (mut parted, mut whole) = (begun(), begun());
        for _ in 0..2 {
            part(&mut parted);
        }
        if name != "more parts" {
            between(&mut whole);
        }
        between(&mut parted);
        for session in [&mut parted, &mut whole] {
            let left = 12 - session.steps();
            take(session, left, 4);
        }
        assert_eq!(bits(&parted), bits(&whole), "{name}");
    }
}

/// A step whose beginning was bad is forgotten with the parameters that made it so.
#[test]
fn a_bad_part_goes_with_its_parameters() {
    let gpu = gpu();
    if !gpu.has_timestamps() {
        return;
    }
    let mut found = session(&gpu, &tiny(), training());
    found.load(rows(23)).unwrap();
    let good = found.parameters().unwrap();
    let huge: Vec<Vec<f32>> = good.iter().map(|values| vec![3e38; values.len()]).collect();
    found.set_parameters(&huge).unwrap();
    // Up to the end of the step, which is one part with its update.
    let begin = |session: &mut Session| (0..session.dispatches_per_step().unwrap() - 2).for_each(|_| part(session));
    begin(&mut found);
    // Kept, they end the run.
    let mut kept = session(&gpu, &tiny(), training());
    kept.load(rows(23)).unwrap();
    kept.set_parameters(&huge).unwrap();
    begin(&mut kept);
    assert_eq!(kept.step(1).unwrap(), Taken::Steps(1));
    kept.gpu().wait().unwrap();
    assert!(matches!(kept.load(rows(23)), Err(Error::Diverged { step: 0, .. })));
    // Other kernels forget the step, too, before the parameters are others.
    found.use_tuning(Default::default()).unwrap();
    found.set_parameters(&good).unwrap();
    take(&mut found, 5, 2);
    let mut expected = session(&gpu, &tiny(), training());
    expected.load(rows(23)).unwrap();
    take(&mut expected, 5, 2);
    assert_eq!(bits(&found), bits(&expected));
}

/// On the host's device whole runs are parted, too, and may be dropped between two parts.
#[test]
fn a_run_that_is_parted_may_be_dropped_anywhere() {
    let Some(gpu) = shared(true) else { return };
    let short = Training { epochs: 2, ..training() };
    let mut whole = session(&crate::common::gpu(), &tiny(), short);
    whole.fit(rows(23)).unwrap();
    let mut dropped = session(&gpu, &tiny(), short);
    let mut reported = 0;
    for pending in (1..60).cycle().take(240) {
        let report = |_: &Progress| {
            reported += 1;
            ControlFlow::Continue(())
        };
        if until_pending(dropped.fit_async(rows(23), report), pending).is_some() {
            break;
        }
    }
    assert!(reported > 0, "some come as far as that");
    while dropped.steps() < whole.steps() {
        dropped.fit(rows(23)).unwrap();
    }
    assert_eq!((dropped.steps(), bits(&dropped)), (whole.steps(), bits(&whole)));
}

/// Halves of a step say nothing of what a whole one takes, so that a frame after them gets no more than there is time
/// for.
#[test]
fn halves_are_not_taken_for_steps() {
    for gpu in [shared(true), shared(false)].into_iter().flatten() {
        let mut session = session(&gpu, &tiny(), Training { epochs: 1000, ..training() });
        session.load(rows(23)).unwrap();
        take(&mut session, 1, 1);
        let begun = Instant::now();
        take(&mut session, 20, 20);
        let each = begun.elapsed() / 20;
        for _ in 0..20 {
            assert!(session.backward().unwrap());
            session.gpu().wait().unwrap();
            session.apply().unwrap();
            report(&mut session);
        }
        // Many times what a step took, by the host's watch, holds about as many steps.
        match session.step_for(each * 4).unwrap() {
            Taken::Steps(steps) => assert!(steps <= 40, "{steps}"),
            other => assert_eq!(other, Taken::Part),
        }
        take(&mut session, 1, 1);
    }
}
