//! Sharing a device: the host's handlers stay its own, a lost device is an error, memory is not touched out of bounds,
//! and in the steady state nothing is made.

use std::sync::{Arc, Mutex};

use super::*;
use crate::common::host_device;
use strait::{EarlyStopping, Error, wgpu};

/// Makes wgpu report an error that belongs to no call of strait's.
fn provoke(device: &wgpu::Device) {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::MAP_WRITE;
    let size = u64::MAX - 7;
    drop(device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false }));
}

#[test]
fn an_adopted_device_keeps_its_handlers() {
    let (device, queue) = host_device(wgpu::Features::empty()).unwrap();
    let (errors, losses) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (seen, lost) = (errors.clone(), losses.clone());
    device.on_uncaptured_error(Arc::new(move |_| *seen.lock().unwrap() += 1));
    device.set_device_lost_callback(move |_, _| *lost.lock().unwrap() += 1);
    let gpu = Gpu::adopt(device.clone(), queue);
    let mut session = session(&gpu, &tiny(), Training { batch: 4, epochs: 2, ..Training::default() });
    session.fit(rows(9)).unwrap();
    session.encode(rows(9).values()).unwrap();
    // An error in a call of strait's is strait's to report.
    let refused = gpu.write(&gpu.buffer("small", 16).unwrap(), 0, &[0; 64]).unwrap_err();
    assert!(matches!(refused, Error::Spec { .. }));
    let unmapped = session.attach(
        strait::model::Purpose::Encode,
        strait::gpu::Buffer::adopt(device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 64,
            usage: wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })),
        gpu.buffer("codes", 64).unwrap(),
        4,
    );
    assert!(matches!(unmapped, Err(Error::Spec { .. })));
    assert_eq!(*errors.lock().unwrap(), 0);
    // An error of the host's own goes to the host, and strait goes on.
    provoke(&device);
    assert_eq!(*errors.lock().unwrap(), 1);
    session.encode(rows(9).values()).unwrap();
    device.destroy();
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
    assert_eq!(*losses.lock().unwrap(), 1);
    // Strait was not told; it finds out.
    assert!(matches!(session.encode(rows(9).values()), Err(Error::DeviceLost { .. })));
    gpu.device_lost("the host said so");
    let error = session.encode(rows(9).values()).unwrap_err();
    assert!(matches!(&error, Error::DeviceLost { reason } if reason == "the host said so"), "{error}");
}

#[test]
fn every_call_on_a_lost_device_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = crate::common::own_gpu();
    let mut session = session(&gpu, &tiny(), Training { batch: 4, ..Training::default() });
    session.load(rows(9)).unwrap();
    session.step(1).unwrap();
    gpu.device_lost("unplugged");
    gpu.device_lost("the first reason counts");
    let path = folder.path().join("model");
    let data = rows(9);
    let results = [
        ("step", session.step(1).map(|_| ())),
        ("progress", session.progress().map(|_| ())),
        ("tune", session.tune(std::time::Duration::from_secs(1)).map(|_| ())),
        ("encode", session.encode(data.values()).map(|_| ())),
        ("decode", session.decode(&[0.0; 2]).map(|_| ())),
        ("reconstruct", session.reconstruct(data.values()).map(|_| ())),
        ("score", session.score(data.values()).map(|_| ())),
        ("score_async", pollster::block_on(session.score_async(data.values())).map(|_| ())),
        ("evaluate", session.evaluate(&data).map(|_| ())),
        ("parameters", session.parameters().map(|_| ())),
        ("set_parameters", session.set_parameters(&[]).map(|_| ())),
        ("save", session.save(&path)),
        ("checkpoint", session.checkpoint(&path)),
        ("fit", session.fit(&data).map(|_| ())),
        ("load", session.load(&data)),
        ("new", Session::new(&gpu, &tiny(), Training::default()).map(|_| ())),
        ("buffer", gpu.buffer("any", 16).map(|_| ())),
        ("wait", gpu.wait()),
    ];
    for (call, result) in results {
        if call == "set_parameters" {
            assert!(matches!(result, Err(Error::Data { .. })), "what is wrong in any case comes first: {result:?}");
        } else {
            assert!(
                matches!(&result, Err(Error::DeviceLost { reason }) if reason == "unplugged"),
                "{call}: {result:?}"
            );
        }
    }
    assert!(!path.exists());
}

/// An error in the call that submits steps may be of something else: here wgpu calls back in it, and what is provoked
/// there is taken for an error of the call.
#[test]
fn steps_that_cannot_be_reported_are_counted_all_the_same() {
    let gpu = crate::common::own_gpu();
    let training = Training { batch: 4, epochs: 3, optimizer: MOMENTUM, ..Training::default() };
    let mut whole = session(&gpu, &tiny(), training);
    whole.fit(rows(23)).unwrap();
    let mut session = session(&gpu, &tiny(), training);
    session.load(rows(23)).unwrap();
    take(&mut session, 2, 1);
    let device = gpu.device().clone();
    gpu.queue().on_submitted_work_done(move || provoke(&device));
    let error = session.step(3).unwrap_err();
    assert!(matches!(&error, Error::Device { op, .. } if op == "read"), "{error}");
    assert_eq!(session.steps(), 5, "the GPU has taken them");
    assert!(matches!(session.step(1), Err(Error::Data { .. })), "the data has to be loaded again");
    session.load(rows(23)).unwrap();
    take(&mut session, 13, 4);
    assert_eq!(bits(&session), bits(&whole));
}

#[test]
fn a_device_of_our_own_reports_its_loss_and_its_errors() {
    let gpu = crate::common::own_gpu();
    let session = session(&gpu, &tiny(), Training::default());
    // An error outside any call of strait's is nobody's but the device's.
    assert!(gpu.uncaptured_error().is_none());
    provoke(gpu.device());
    session.encode(&[0.0; 3]).unwrap();
    gpu.wait().unwrap();
    let error = gpu.uncaptured_error().unwrap();
    assert!(matches!(&error, Error::Device { op, .. } if op == "a call outside strait"), "{error}");
    assert!(gpu.uncaptured_error().is_none(), "told once");
    gpu.device().destroy();
    let _ = gpu.device().poll(wgpu::PollType::wait_indefinitely());
    let error = session.encode(&[0.0; 3]).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
}

#[test]
fn memory_is_touched_within_bounds_only() {
    let gpu = gpu();
    let buffer = gpu.buffer("32 bytes", 32).unwrap();
    gpu.write(&buffer, 0, bytemuck::cast_slice(&[1.0f32; 8])).unwrap();
    gpu.write(&buffer, 28, bytemuck::cast_slice(&[2.0f32])).unwrap();
    gpu.write(&buffer, 32, &[]).unwrap();
    for (offset, bytes) in [(0, 36), (32, 4), (4, 32), (2, 4), (0, 3), (u64::MAX, 4), (u64::MAX - 3, 4), (1 << 40, 4)] {
        let refused = gpu.write(&buffer, offset, &vec![0; bytes]);
        assert!(matches!(refused, Err(Error::Spec { .. })), "{offset} {bytes}: {refused:?}");
    }
    let mut expected = vec![1.0; 8];
    expected[7] = 2.0;
    assert_eq!(gpu.read(&buffer, 0, 8).unwrap(), expected);
    assert_eq!(gpu.read(&buffer, 7, 1).unwrap(), [2.0]);
    assert!(gpu.read(&buffer, 8, 0).unwrap().is_empty());
    for (first, count) in [(0, 9), (8, 1), (7, 2), (usize::MAX, 1), (0, usize::MAX), (usize::MAX / 4, 4), (0, 1 << 40)]
    {
        let refused = gpu.read(&buffer, first, count);
        assert!(matches!(refused, Err(Error::Spec { .. } | Error::Limit { .. })), "{first} {count}: {refused:?}");
    }
    assert!(matches!(gpu.buffer("huge", u64::MAX), Err(Error::Limit { .. })));
    assert_eq!(gpu.read(&buffer, 0, 8).unwrap(), expected);
}

/// What lies on a device, once it has nothing left to do.
fn made(gpu: &Gpu) -> [isize; 6] {
    gpu.wait().unwrap();
    let hal = gpu.device().get_internal_counters().hal;
    let counters = [
        hal.buffers,
        hal.bind_groups,
        hal.bind_group_layouts,
        hal.compute_pipelines,
        hal.shader_modules,
        hal.pipeline_layouts,
    ];
    counters.map(|c| c.read())
}

#[test]
fn in_the_steady_state_nothing_is_made() {
    let gpu = crate::common::own_gpu();
    let training = Training { batch: 4, epochs: 100, data_budget: 8 * 12, ..Training::default() };
    let mut stepping = session(&gpu, &tiny().gaussian_corruption(0.1), training);
    stepping.load(rows(23)).unwrap();
    take(&mut stepping, 50, 3);
    let before = made(&gpu);
    assert!(before.iter().all(|&count| count > 0), "the counters count: {before:?}");
    take(&mut stepping, 50, 3);
    assert_eq!(made(&gpu), before);

    let data = rows(40);
    let results = stepping.encode(data.values()).unwrap();
    let before = made(&gpu);
    assert_eq!(stepping.encode(data.values()).unwrap(), results);
    assert_eq!(stepping.encode(&data.values()[..30]).unwrap(), results[..20]);
    assert_eq!(made(&gpu), before);

    // With a look at validation rows after every epoch, too.
    let early = EarlyStopping { validation: 0.3, patience: 1000, min_delta: 0.0 };
    let training = Training { epochs: 6, data_budget: 1 << 20, early_stopping: Some(early), ..training };
    let mut stopping = session(&gpu, &tiny(), training);
    let mut counts = Vec::new();
    let counting = |p: &strait::Progress| {
        if p.validation.is_some() {
            counts.push(made(&gpu));
        }
        std::ops::ControlFlow::Continue(())
    };
    stopping.fit_with(rows(23), counting).unwrap();
    assert_eq!(counts, vec![counts[0]; 6]);
}

/// wgpu keeps a copy of what is written until it has been submitted and has run.
#[test]
fn copies_of_what_is_uploaded_do_not_pile_up() {
    let gpu = crate::common::own_gpu();
    const PIECE: usize = 8 << 20;
    let pieces = 24;
    let buffer = gpu.buffer("data", (pieces * PIECE) as u64).unwrap();
    let held = || gpu.device().get_internal_counters().hal.buffer_memory.read() as usize;
    let before = held();
    assert!(before >= pieces * PIECE, "the counter counts: {before}");
    let bytes = vec![7u8; pieces * PIECE];
    let mut most = 0;
    for (i, piece) in bytes.chunks(PIECE).enumerate() {
        gpu.write(&buffer, (i * PIECE) as u64, piece).unwrap();
        most = most.max(held().saturating_sub(before));
    }
    assert!(most > 0 && most <= 72 << 20, "piece by piece: {most} bytes held");
    gpu.write(&buffer, 0, &bytes).unwrap();
    let more = held().saturating_sub(before);
    assert!(more <= 72 << 20, "at once: {more} bytes held");
    let read = gpu.read(&buffer, pieces * PIECE / 4 - 5, 5).unwrap();
    assert_eq!(read, [f32::from_bits(0x0707_0707); 5]);
}

/// What a session says it holds is what the device says it gave, and no more than the plan needs.
#[test]
fn memory_is_what_the_device_says() {
    let gpu = crate::common::own_gpu();
    let held = || gpu.device().get_internal_counters().hal.buffer_memory.read() as u64;
    let spec = Spec::symmetric(&[784, 300, 150], Activation::Relu);
    let early = strait::EarlyStopping { validation: 0.1, patience: 9, min_delta: 0.0 };
    for early_stopping in [None, Some(early)] {
        let before = held();
        let training = Training { batch: 150, epochs: 2, early_stopping, ..Training::default() };
        let mut session = session(&gpu, &spec, training);
        let parameters = session.memory().arenas;
        let values: usize = session.tensors().iter().map(|tensor| tensor.shape.elements(1)).sum();
        let padding = parameters - 4 * values as u64;
        assert!(padding < parameters / 100, "{padding} bytes of padding in {parameters}");
        session.fit(Data::from_rows(784, crate::common::values(3, 784 * 600, (0.0, 1.0))).unwrap()).unwrap();
        session.encode(&vec![0.5; 784 * 10]).unwrap();
        gpu.wait().unwrap();
        let memory = session.memory();
        // Parameters, gradients and Adam's two moments; the best parameters.
        assert_eq!(memory.arenas, parameters * if early_stopping.is_some() { 5 } else { 4 });
        assert_eq!(memory.data, 4 * 784 * 600, "{memory}");
        assert!(memory.other < 1 << 20, "{memory}");
        let given = held() - before;
        // Drivers round every buffer up, some to 256 bytes; there are fewer than 64.
        assert!(given <= memory.total() + (64 << 8), "the device gave {given} bytes; {memory}");
        assert!(given > memory.total() / 2, "the counter counts: {given} of {memory}");
        drop(session);
        gpu.wait().unwrap();
    }
}
